// Command interop finds out how an OAuth 2.0 server behaves that nobody has tried
// yet, and which dialect of package oauth speaks with it:
//
//	go run ./interop -token-url https://login.example.com/oauth2/token \
//		-client-id my-client -client-secret-env SECRET -refresh-token-file session.txt
//
// The session of that refresh token is renewed twice. README.md tells the rest.
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
	"time"

	"github.com/evertoken/evertoken/interop/internal/probe"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

// source is where the refresh token comes from, and where the newest one goes.
type source struct{ text, env, file string }

// run asks the server and prints the report to stdout. What may go wrong is said
// on stderr before it can.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, from, err := parse(args, stderr)
	if err != nil {
		return err
	}
	c.Warn = func(text string) { _, _ = fmt.Fprintln(stderr, "interop: warning:", text) }
	if c.Token, err = from.read(); err != nil {
		return err
	}
	c.Warn(from.fate())
	if from.file != "" {
		c.Keep = func(token string) error { return keep(from.file, token) }
	}
	report, err := probe.Run(ctx, c)
	_, written := report.WriteTo(stdout)
	return errors.Join(err, written)
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (probe.Config, source, error) {
	var c probe.Config
	var from source
	var secretEnv string
	f := flag.NewFlagSet("interop", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.TokenURL, "token-url", "", "the token endpoint; required")
	f.StringVar(&c.ClientID, "client-id", "", "the client whose session it is; empty sends none")
	f.StringVar(&secretEnv, "client-secret-env", "", "`name` of the environment variable that holds the client's secret")
	f.StringVar(&c.Auth, "client-auth", "", "how the client proves itself: basic, post or none; default: basic if there is a secret")
	f.StringVar(&from.file, "refresh-token-file", "", "`file` that holds the refresh token; each newer one is written there")
	f.StringVar(&from.env, "refresh-token-env", "", "`name` of the environment variable that holds the refresh token")
	f.StringVar(&from.text, "refresh-token", "", "the refresh token itself; others on this machine can see it, and a shell remembers it")
	f.StringVar(&c.ResourceURL, "resource-url", "", "an API that takes the access tokens, to see what it honours; asked with GET")
	f.StringVar(&c.Preset, "preset", "", "ask as this preset does, instead of finding out")
	f.BoolVar(&c.Reuse, "reuse", false, "spend a refresh token twice, to see what comes of it; may end the session")
	f.DurationVar(&c.Wait, "wait", 30*time.Second, "for a token or a grace to end")
	if err := f.Parse(args); err != nil {
		return c, from, err
	}
	if secretEnv != "" {
		if c.Secret = os.Getenv(secretEnv); c.Secret == "" {
			return c, from, fmt.Errorf("-client-secret-env: %s is not set", secretEnv)
		}
	}
	given := 0
	for _, s := range []string{from.text, from.env, from.file} {
		if s != "" {
			given++
		}
	}
	switch {
	case f.NArg() > 0:
		return c, from, errors.New("unexpected argument after the flags")
	case c.TokenURL == "":
		return c, from, errors.New("-token-url is missing")
	case given != 1:
		return c, from, errors.New("one of -refresh-token-file, -refresh-token-env and -refresh-token is needed")
	}
	return c, from, c.Validate()
}

// read returns the refresh token.
func (s source) read() (string, error) {
	token := s.text
	switch {
	case s.env != "":
		token = os.Getenv(s.env)
	case s.file != "":
		data, err := os.ReadFile(s.file)
		if err != nil {
			return "", fmt.Errorf("-refresh-token-file: %w", err)
		}
		token = string(data)
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", errors.New("the refresh token is empty")
	}
	return token, nil
}

// fate tells what will become of the session's refresh token.
func (s source) fate() string {
	if s.file != "" {
		return "a server may replace the refresh token with each renewal; the newest is always in " + s.file
	}
	return "a server may replace the refresh token with each renewal, and the new one is lost when this ends: " +
		"if somebody still needs the session, interrupt now and use -refresh-token-file"
}

// keep replaces the file, so that there is a good token in it at any moment.
func keep(file, token string) error {
	next := file + ".new"
	if err := os.WriteFile(next, []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(next, file)
}
