// Command quickstart shows the main job: it starts the matching server in this
// process, signs in, sends steady traffic while tokens of eight seconds come and
// go, and tells whether anybody noticed.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -server http://127.0.0.1:8080 -login NAME -password PASSWORD
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/identity"
	"github.com/evertoken/evertoken/issuer/lightnap"
)

type options struct {
	server, login, password string
	duration, lifetime      time.Duration
	json                    bool
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "", "base `URL` of a running server; empty starts one in this process")
	flag.StringVar(&o.login, "login", "demo@evertoken.dev", "who signs in")
	flag.StringVar(&o.password, "password", "Passw0rd!demo", "with which password")
	flag.DurationVar(&o.duration, "duration", 25*time.Second, "how long to send traffic")
	flag.DurationVar(&o.lifetime, "lifetime", 8*time.Second, "of access tokens, in whole seconds, of the server in this process")
	flag.BoolVar(&o.json, "json", false, "print the summary as one JSON object on the last line")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, o, newScreen(os.Stdout))
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// run does the main job and says whether it went well.
func run(ctx context.Context, o options, screen *screen) (bool, error) {
	var local *identity.Server
	if o.server == "" {
		srv, url, stop, err := startServer(o)
		if err != nil {
			return false, err
		}
		defer stop()
		local, o.server = srv, url
	}
	issuer := &lightnap.Issuer{BaseURL: o.server}
	watch := &watch{base: http.DefaultTransport}
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer: issuer,
		Base:   watch,
		// Tokens of a few seconds live within the window of five minutes: renew at half their life.
		WindowFraction: 0.5,
		OnEvent: func(e evertoken.Event) {
			if e.Kind == evertoken.Renewed {
				watch.renewed(e)
			}
		},
	})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	token, err := issuer.Login(ctx, lightnap.Credentials{Login: o.login, Password: o.password, RememberMe: true})
	if err != nil {
		return false, err
	}
	if err := client.SignIn(ctx, token); err != nil {
		return false, err
	}
	screen.title("signed in to %s as %s; sending requests for %v", o.server, o.login, o.duration)
	traffic(ctx, o, client, watch, screen)
	sum := watch.summary()
	if local != nil {
		sum.ExpiredSent = max(sum.ExpiredSent, local.Counts().ExpiredSent)
	}
	screen.summary(sum)
	if o.json {
		if err := json.NewEncoder(screen.out).Encode(sum); err != nil {
			return false, err
		}
	}
	return sum.Failed == 0 && sum.ExpiredSent == 0 && sum.Refreshes >= 2, nil
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
		screen.live(w.summary(), client)
	}
}

// startServer runs the matching server on a free loopback port. stop waits for it.
func startServer(o options) (*identity.Server, string, func(), error) {
	srv, err := identity.New(identity.Config{
		AccessLifetime:  o.lifetime,
		SessionLifetime: time.Hour,
		Rotate:          true,
		DetectReuse:     true,
		Accounts:        []identity.Account{{Email: o.login, Password: o.password, Roles: []string{"User"}}},
	})
	if err != nil {
		return nil, "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", nil, err
	}
	server := &http.Server{Handler: srv, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "quickstart: server:", err)
		}
	}()
	stop := func() {
		_ = server.Close()
		<-done
	}
	return srv, "http://" + l.Addr().String(), stop, nil
}
