//go:build !windows

package main

import (
	"os"
	"syscall"
)

// freeze stops a process as a machine that sleeps does; false if it cannot.
func freeze(p *os.Process) bool { return p.Signal(syscall.SIGSTOP) == nil }

func thaw(p *os.Process) { _ = p.Signal(syscall.SIGCONT) }
