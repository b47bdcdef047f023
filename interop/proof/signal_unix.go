//go:build unix

package main

import "syscall"

// freeze stops a server without ending it: its port is open, and nobody answers.
func (p *process) freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
