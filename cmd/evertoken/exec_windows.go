package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
)

// replace runs the command as a child, for there is no other way, and ends as it
// does. Ctrl-C reaches all processes of a console; what it means is the child's to
// say.
func replace(path string, args, env []string) error {
	signal.Reset()
	signal.Ignore(os.Interrupt)
	cmd := &exec.Cmd{Path: path, Args: args, Env: env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ended):
		return &exitError{ended.ExitCode(), nil}
	}
	return notRun(err)
}
