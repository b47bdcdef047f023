package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
)

// A command is a word that may follow evertoken.
type command struct {
	name     string
	synopsis []string // what may follow the name
	about    string   // its help, above the list of its flags
	setup    func(*flag.FlagSet) action
}

// An action is what a command does once its flags are read.
type action func(ctx context.Context, args []string) error

func commands() []command {
	return []command{
		{"login", []string{"ISSUER-URL --client-id ID", "--lightnap URL [LOGIN]", ""}, loginHelp, loginCommand},
		{"token", []string{""}, tokenHelp, tokenCommand},
		{"exec", []string{"-- COMMAND [ARG...]"}, execHelp, execCommand},
		{"proxy", []string{"--to URL"}, proxyHelp, proxyCommand},
		{"status", []string{""}, statusHelp, statusCommand},
		{"logout", []string{""}, logoutHelp, logoutCommand},
	}
}

func find(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

// parse reads flags and arguments in any order, unless the arguments are a
// command with flags of its own. After -- all are arguments.
func (c command) parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	flags.SetOutput(io.Discard) // a fault is told once, by report
	for {
		if err := flags.Parse(args); err != nil {
			return nil, c.misuse(err)
		}
		read := len(args) - flags.NArg()
		last := c.name == "exec" || read > 0 && args[read-1] == "--"
		args = args[read:]
		if last || len(args) == 0 {
			return append(rest, args...), nil
		}
		rest, args = append(rest, args[0]), args[1:]
	}
}

// misuse tells what package flag says, with a flag's name as the help has it.
func (c command) misuse(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	text := err.Error()
	for _, words := range []string{"defined: -", "an argument: -", `" for flag -`, `" for -`} {
		before, name, found := strings.Cut(text, words)
		if found && len(name) > 1 && name[1] != ':' {
			text = before + words + "-" + name
			break
		}
	}
	return misused("%s; see evertoken help %s", text, c.name)
}

// nothing refuses arguments where there are none to take.
func nothing(args []string) error {
	if len(args) > 0 {
		return misused("unexpected argument %q", args[0])
	}
	return nil
}

const overviewText = `evertoken keeps you signed in, for scripts and for programs in any language.

  evertoken login ISSUER-URL --client-id ID   sign in with OAuth 2.0
  evertoken login --lightnap URL [LOGIN]      sign in to a LightNap server
  evertoken login                             sign in again, as the last time
  evertoken token                             print a valid access token
  evertoken exec -- COMMAND [ARG...]          run a command with $ACCESS_TOKEN
  evertoken proxy --to URL                    add the token to what comes by
  evertoken status                            tell who is signed in, how long
  evertoken logout                            end the session, at the issuer too
  evertoken version                           tell which release this is

All of them take --session NAME, to have several, and --store FOLDER.
evertoken help COMMAND tells the rest.

Exit status: 0 done, 1 failed, 2 called wrongly, 3 nobody is signed in. exec
ends as its command does, or with 125 to 127, as env(1) does.
`

func overview(w io.Writer) { _, _ = io.WriteString(w, overviewText) }

func help(w io.Writer, args []string) error {
	if len(args) == 0 {
		overview(w)
		return nil
	}
	c, ok := find(args[0])
	if !ok {
		return misused("help: there is no command %q", args[0])
	}
	return c.page(w)
}

// page writes the help of one command. A newline in a flag's text begins a line.
func (c command) page(w io.Writer) error {
	var b strings.Builder
	for _, s := range c.synopsis {
		fmt.Fprintln(&b, strings.TrimSpace("evertoken "+c.name+" "+s))
	}
	fmt.Fprintf(&b, "\n%s\n", c.about)
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.setup(flags)
	flags.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		dashes := "--"
		if len(f.Name) == 1 {
			dashes = "-"
		}
		const indent = 27
		text = strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", indent))
		fmt.Fprintf(&b, "  %-*s%s\n", indent-2, dashes+f.Name+" "+value, text)
	})
	_, err := io.WriteString(w, b.String())
	return err
}

func version(w io.Writer) error {
	release := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		release = info.Main.Version
	}
	_, err := fmt.Fprintln(w, "evertoken "+release)
	return err
}
