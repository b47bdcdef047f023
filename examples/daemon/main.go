// Command daemon is a worker that runs for months: it keeps its session in a
// folder, starts while the server is down, recovers by itself and ends cleanly
// on SIGINT and SIGTERM. The password comes from EVERTOKEN_PASSWORD, not from
// the command line, where every user of the machine could read it; it is not
// needed while the folder holds a session.
//
//	EVERTOKEN_PASSWORD=... go run ./examples/daemon -server http://127.0.0.1:8080 -login NAME -status :8081
//
// and look at http://127.0.0.1:8081.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/storage"
)

// main only connects run to the process.
func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Getenv("EVERTOKEN_PASSWORD"), log)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Error("daemon failed", "error", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	server, login, dir, status string
	every, check               time.Duration
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("daemon", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a fault is told once, by main
	flags.StringVar(&o.server, "server", "http://127.0.0.1:8080", "base `URL` of the server")
	flags.StringVar(&o.login, "login", "demo@evertoken.dev", "who signs in")
	if config, err := os.UserConfigDir(); err == nil { // a folder for temporary files may be empty after a reboot
		o.dir = filepath.Join(config, "evertoken-daemon")
	}
	flags.StringVar(&o.dir, "dir", o.dir, "`folder` that keeps the session")
	flags.DurationVar(&o.every, "every", 5*time.Second, "how often there is work to do")
	flags.DurationVar(&o.check, "check", 10*time.Second, "how often to look after the token, and to knock at a server that is down")
	flags.StringVar(&o.status, "status", "", "`address` of the status page, such as :8081; a port alone is for this machine only")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(os.Stderr)
			flags.PrintDefaults()
		}
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.dir == "":
		return o, errors.New("-dir is missing: this login has no folder for configuration")
	case o.every <= 0:
		return o, fmt.Errorf("-every is %v: must be more than 0s", o.every)
	}
	return o, nil
}

// run works until ctx ends. The client is closed last, so that a renewal that
// is under way is finished and saved.
func run(ctx context.Context, args []string, password string, log *slog.Logger) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	client, err := open(ctx, o, password, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if password == "" && client.Status().State == evertoken.SignedOut {
		return errors.New("nobody is signed in, and EVERTOKEN_PASSWORD is not set")
	}
	if o.status != "" {
		page, err := servePage(o.status, client)
		if err != nil {
			return err
		}
		defer page.stop()
		log.Info("status page", "url", page.url)
	}
	work(ctx, o, client, log)
	log.Info("stopping")
	return nil
}

// open needs no server: it finds the session in the folder, or else the client
// signs in by itself, as soon as it can.
func open(ctx context.Context, o options, password string, log *slog.Logger) (*evertoken.Client, error) {
	issuer := &lightnap.Issuer{BaseURL: o.server, DeviceDetails: "evertoken daemon"}
	cfg := evertoken.Config{
		Issuer:        issuer,
		Store:         storage.NewFile(o.dir),
		Session:       o.login + "@" + o.server, // another account or server has another session
		Logger:        log,
		CheckInterval: o.check,
	}
	if password != "" {
		cfg.Login = func(ctx context.Context) (evertoken.Token, error) {
			return issuer.Login(ctx, lightnap.Credentials{Login: o.login, Password: password, RememberMe: true})
		}
	}
	return evertoken.New(ctx, cfg)
}

// work does a piece of work at once and then at every tick. One that fails is
// left to the next: the client is busy recovering.
func work(ctx context.Context, o options, client *evertoken.Client, log *slog.Logger) {
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	browser := client.HTTP()
	browser.Timeout = 30 * time.Second
	for ctx.Err() == nil {
		err := fetchProfile(ctx, browser, o.server)
		switch {
		case err == nil:
			log.Info("work done", "token expires", client.Status().Expiry)
		case ctx.Err() == nil:
			log.Warn("no work done", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// fetchProfile stands for the work: any request that needs a token.
func fetchProfile(ctx context.Context, browser *http.Client, server string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/api/users/me/profile", nil)
	if err != nil {
		return err
	}
	resp, err := browser.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("server answered %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
