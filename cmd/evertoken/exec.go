package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

const execHelp = `Runs a command with an access token in its environment, and nowhere else. The
token is renewed before if it is about to end, but not while the command runs:
for one that runs for longer, or has no use for a variable, see evertoken proxy.

  evertoken exec --env TF_TOKEN_app_terraform_io -- terraform plan

On Unix the command takes the place of evertoken, with its process id: signals,
terminal and exit status are its own. The status is 125 if there is no token,
126 if the command cannot be run, 127 if it is not found.
`

func execCommand(flags *flag.FlagSet) action {
	s := sessionFlags(flags)
	name := flags.String("env", "ACCESS_TOKEN", "`NAME` of the variable")
	id := flags.Bool("id-token", false, "the id token in place of the access token")
	return func(ctx context.Context, args []string) error {
		switch {
		case len(args) == 0:
			return misused("there is no command to run")
		case *name == "" || strings.ContainsAny(*name, "=\x00"):
			return misused("--env %q is no name of a variable", *name)
		}
		path, err := exec.LookPath(args[0])
		if err != nil {
			return notRun(err)
		}
		c, err := s.credential(ctx, *id, false)
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return &exitError{exitNotStarted, err}
		}
		return replace(path, args, environ(*name, c.secret))
	}
}

// notRun gives an error of a command that could not be started env's status.
func notRun(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return &exitError{exitNotFound, err}
	}
	return &exitError{exitNotRunnable, err}
}

// environ is the environment for a child: ours with the variable, if it has a
// name, and without the client's secret, which is not for it.
func environ(name, value string) []string {
	var vars []string
	for _, v := range os.Environ() {
		if n, _, _ := strings.Cut(v, "="); n != envSecret && (n != name || name == "") {
			vars = append(vars, v)
		}
	}
	if name == "" {
		return vars
	}
	return append(vars, fmt.Sprintf("%s=%s", name, value))
}
