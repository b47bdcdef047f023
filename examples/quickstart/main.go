// Command quickstart shows the main job: it starts the matching server in this
// process, signs in, sends steady traffic while tokens of eight seconds come and
// go, and tells whether anybody noticed.
//
//	go run ./examples/quickstart
//
// Or against a server that runs already, with tokens short enough to be renewed
// while one watches:
//
//	go run ./examples/server -lifetime 8s
//	go run ./examples/quickstart -server http://127.0.0.1:8080
//
// With -status :8081 it can be watched at http://127.0.0.1:8081.
//
// Its exit status is 0 only if no request failed, no expired token was sent, and
// at least two refreshes happened.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/lightnap"
)

// main only connects run to the process: what it does is tested through run.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	err := run(ctx, os.Args[1:], &screen{out: os.Stdout, terminal: isTerminal(os.Stdout)}, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	server, login, password, status string
	duration, lifetime              time.Duration
	json                            bool
}

// shortest is the least that a token must live to be renewed in time for certain:
// servers count in whole seconds, so that it may lose one of them at once.
const shortest = 4 * time.Second

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a fault is told once, by main
	flags.StringVar(&o.server, "server", "", "base `URL` of a running server; empty starts one in this process")
	flags.StringVar(&o.login, "login", "demo@evertoken.dev", "who signs in")
	flags.StringVar(&o.password, "password", "Passw0rd!demo", "with which password")
	flags.DurationVar(&o.duration, "duration", 25*time.Second, "how long to send traffic")
	flags.DurationVar(&o.lifetime, "lifetime", 8*time.Second, "of access tokens, from 4s and in whole seconds; of the server in this process")
	flags.StringVar(&o.status, "status", "", "`address` of the status page, such as :8081; a port alone is for this machine only")
	flags.BoolVar(&o.json, "json", false, "print the summary as one JSON object on the last line")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.duration <= 0:
		return o, fmt.Errorf("-duration is %v: must be more than 0s", o.duration)
	case o.lifetime < shortest || o.lifetime%time.Second != 0:
		return o, fmt.Errorf("-lifetime is %v: must be whole seconds, at least %v", o.lifetime, shortest)
	}
	return o, nil
}

// run does the main job. Its error is what went wrong, or what somebody noticed.
func run(ctx context.Context, args []string, screen *screen, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	w := &watch{base: http.DefaultTransport}
	if o.server == "" {
		local, err := startServer(o)
		if err != nil {
			return err
		}
		defer local.stop()
		w.server, o.server = local.core, local.url
	}
	client, err := signIn(ctx, o, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if o.status != "" {
		page, err := servePage(o.status, client)
		if err != nil {
			return err
		}
		defer page.stop()
		screen.printf("status page at %s\n", page.url)
	}
	screen.title(o, client.Status())
	traffic(ctx, o, client, w, screen)
	sum := w.summary()
	verdict := sum.verdict()
	screen.summary(sum, verdict)
	if o.json {
		return errors.Join(verdict, json.NewEncoder(screen.out).Encode(sum))
	}
	return verdict
}

// signIn makes the client. The sign-in comes first because it needs none, and its
// error is the one that tells a wrong URL or password best.
func signIn(ctx context.Context, o options, w *watch) (*evertoken.Client, error) {
	issuer := &lightnap.Issuer{BaseURL: o.server}
	token, err := issuer.Login(ctx, lightnap.Credentials{Login: o.login, Password: o.password, RememberMe: true})
	if err != nil {
		return nil, fmt.Errorf("sign in to %s as %s: %w", o.server, o.login, err)
	}
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer: issuer,
		Base:   w,
		// Tokens of a few seconds live within the window of five minutes: renew at half their life.
		WindowFraction: 0.5,
		OnEvent:        w.event,
		Logger:         slog.New(slog.DiscardHandler), // the screen tells what fails
	})
	if err != nil {
		return nil, err
	}
	if err := client.SignIn(ctx, token); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// traffic sends a request every 25 ms and shows how it goes.
func traffic(ctx context.Context, o options, client *evertoken.Client, w *watch, screen *screen) {
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	next := time.NewTicker(25 * time.Millisecond)
	defer next.Stop()
	browser := client.HTTP()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		w.visit(ctx, browser, o.server+"/api/users/me/profile")
		screen.live(w.summary(), client.Status(), time.Now())
	}
}
