//go:build unix

package main

import (
	"fmt"
	"syscall"
)

// replace runs the command in place of this process. Signals that we catch are then
// as they were, for those that are ignored we do not catch.
func replace(path string, args, env []string) error {
	return notRun(fmt.Errorf("%s: %w", path, syscall.Exec(path, args, env)))
}
