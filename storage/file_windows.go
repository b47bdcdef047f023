package storage

import (
	"io/fs"
	"os"
)

// Windows guards folders by access control lists, which the mode does not show.
func writableByOthers(fs.FileInfo) bool { return false }

// syncDir does nothing: a folder cannot be synced here, and NTFS logs renames.
func syncDir(*os.Root) error { return nil }
