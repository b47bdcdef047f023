package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/evertoken/evertoken"
)

// Exit statuses. Those of exec are env's: they leave the small numbers to the
// command that it runs.
const (
	exitFailed      = 1
	exitMisused     = 2
	exitSignedOut   = 3
	exitNotStarted  = 125
	exitNotRunnable = 126
	exitNotFound    = 127
)

// An exitError has an exit status of its own. Without err all has been said.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// misused is a command line that makes no sense.
func misused(format string, args ...any) error {
	return &exitError{exitMisused, fmt.Errorf(format, args...)}
}

// main only connects run to the process.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), ends()...)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(report(os.Stderr, run(ctx, os.Args[1:])))
}

// ends are the signals that end us, if a renewal is under way once it is saved. One
// that is ignored, as nohup and jobs in the background have it, stays ignored.
func ends() []os.Signal {
	signals := []os.Signal{syscall.SIGTERM}
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signals = append(signals, s)
		}
	}
	return signals
}

// run finds the command and what it is to do.
func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		overview(os.Stderr)
		return &exitError{exitMisused, nil}
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return help(os.Stdout, args)
	case "version", "-version", "--version":
		return version(os.Stdout)
	}
	c, ok := find(name)
	if !ok {
		return misused("there is no command %q: evertoken help lists them", name)
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	do := c.setup(flags)
	rest, err := c.parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		return c.page(os.Stdout)
	}
	if err == nil {
		err = do(ctx, rest)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// report tells of the error, if there is one, and returns the exit status.
func report(w io.Writer, err error) int {
	var own *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &own) && own.err == nil:
		return own.status
	}
	_, _ = fmt.Fprintln(w, message(err))
	switch {
	case own != nil:
		return own.status
	case errors.Is(err, evertoken.ErrSignedOut):
		return exitSignedOut
	}
	return exitFailed
}

// message is the text of an error, which says once whose it is.
func message(err error) string {
	return "evertoken: " + strings.ReplaceAll(err.Error(), "evertoken: ", "")
}
