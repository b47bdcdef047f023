// Command daemon is a worker that runs for months: it keeps its session in a
// folder, starts while the server is down, recovers by itself and ends cleanly
// on SIGINT and SIGTERM. The password comes from EVERTOKEN_PASSWORD, not from
// the command line, where every user of the machine could read it.
//
//	EVERTOKEN_PASSWORD=... go run ./examples/daemon -server http://127.0.0.1:8080 -login NAME
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

type options struct {
	server, login, password, dir string
	every                        time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "http://127.0.0.1:8080", "base `URL` of the server")
	flag.StringVar(&o.login, "login", "demo@evertoken.dev", "who signs in")
	flag.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "evertoken-daemon"), "`folder` that keeps the session")
	flag.DurationVar(&o.every, "every", 5*time.Second, "how often there is work to do")
	flag.Parse()
	o.password = os.Getenv("EVERTOKEN_PASSWORD")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, slog.Default())
	stop()
	if err != nil {
		slog.Error("daemon failed", "error", err)
		os.Exit(1)
	}
}

// run works until ctx ends. The client is closed last, so that a renewal that
// is under way is finished and saved.
func run(ctx context.Context, o options, log *slog.Logger) (err error) {
	issuer := &lightnap.Issuer{BaseURL: o.server}
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer: issuer,
		Store:  storage.NewFile(o.dir),
		Logger: log,
		Login: func(ctx context.Context) (evertoken.Token, error) {
			return issuer.Login(ctx, lightnap.Credentials{Login: o.login, Password: o.password, RememberMe: true})
		},
		CheckInterval: 10 * time.Second, // how soon it is back after the server is
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	work := time.NewTicker(o.every)
	defer work.Stop()
	browser := client.HTTP()
	browser.Timeout = 30 * time.Second
	for {
		if err := fetchProfile(ctx, browser, o.server); err != nil && ctx.Err() == nil {
			log.Warn("no work done", "error", err)
		} else if err == nil {
			log.Info("work done", "token expires", client.Status().Expiry)
		}
		select {
		case <-ctx.Done():
			log.Info("stopping")
			return nil
		case <-work.C:
		}
	}
}

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
