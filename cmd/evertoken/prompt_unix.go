//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// openTerminal opens the one that the process belongs to.
func openTerminal() (*terminal, error) {
	in, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &terminal{in: in, out: in}, nil
}

// silence switches the echo off. ISIG stays, so that Ctrl-C works.
func silence(tty *os.File) (restore func(), err error) {
	var before *unix.Termios
	err = control(tty, func(fd int) (err error) {
		if before, err = unix.IoctlGetTermios(fd, getTermios); err != nil {
			return err
		}
		quiet := *before
		quiet.Lflag &^= unix.ECHO
		return unix.IoctlSetTermios(fd, setTermios, &quiet)
	})
	return func() {
		_ = control(tty, func(fd int) error { return unix.IoctlSetTermios(fd, setTermios, before) })
	}, err
}

func control(tty *os.File, step func(fd int) error) error {
	conn, err := tty.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = step(int(fd)) }); err != nil {
		return err
	}
	return failed
}
