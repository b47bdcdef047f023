//go:build !windows

package storage

import (
	"fmt"
	"io/fs"
	"os"
)

func writableByOthers(dir fs.FileInfo) bool { return dir.Mode().Perm()&0o022 != 0 }

// syncDir makes a rename or a removal durable.
func syncDir(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("storage: file: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("storage: file: %w", err)
	}
	return nil
}
