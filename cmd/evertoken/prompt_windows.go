package main

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// openTerminal opens the console that the process belongs to.
func openTerminal() (*terminal, error) {
	in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return &terminal{in: in, out: out}, nil
}

// silence switches the echo off. Processed input stays, so that Ctrl-C works.
func silence(console *os.File) (restore func(), err error) {
	handle := windows.Handle(console.Fd())
	var before uint32
	if err := windows.GetConsoleMode(handle, &before); err != nil {
		return nil, err
	}
	err = windows.SetConsoleMode(handle, before&^windows.ENABLE_ECHO_INPUT)
	return func() { _ = windows.SetConsoleMode(handle, before) }, err
}
