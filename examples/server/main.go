// Command server is the matching server: LightNap's identity API and an OAuth
// 2.0 token endpoint over accounts in memory, for development and
// demonstrations. See README.md for its settings.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/evertoken/evertoken/internal/identity"
)

// main only connects run to the process: what it does is tested through run.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then lets the requests in progress finish. Where
// the server listens goes to stdout once it does, what happens goes to stderr.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	s, err := o.settings(environ)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	core, err := newCore(s, o.lifetime, log)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.addr)
	if err != nil {
		return fmt.Errorf("evertoken: %w", err)
	}
	_, _ = io.WriteString(stdout, greeting(listener.Addr(), s)) // nobody may be reading
	return serve(ctx, listener, core, drainTime, log)
}

// options are the command line.
type options struct {
	addr, config    string
	lifetime        time.Duration // 0 means as configured
	rotate, sliding bool
	given           map[string]bool
}

// parse reads the command line. Which switches were given matters, not only their
// values: -rotate=false covers a file that says true.
func parse(args []string, stderr io.Writer) (options, error) {
	o := options{given: make(map[string]bool)}
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a fault is told once, by main
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8080", "address to listen on; port 0 chooses a free one")
	flags.StringVar(&o.config, "config", "", "settings `file` instead of the default appsettings.json")
	flags.DurationVar(&o.lifetime, "lifetime", 0, "how long access tokens live, from 1s; "+
		"instead of Jwt.ExpirationMinutes and without its limits")
	flags.BoolVar(&o.rotate, "rotate", false, "replace the refresh token at every renewal; instead of Sessions.Rotate")
	flags.BoolVar(&o.sliding, "sliding", false, "prolong a session at every renewal; instead of Sessions.Sliding")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return o, fmt.Errorf("evertoken: %w", err)
	}
	flags.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("evertoken: unexpected argument %q", flags.Arg(0))
	case o.given["lifetime"] && o.lifetime < time.Second:
		return o, fmt.Errorf("evertoken: -lifetime is %v: must be at least 1s", o.lifetime)
	}
	return o, nil
}

// settings loads the configuration and puts the command line's switches on top.
func (o options) settings(environ []string) (settings, error) {
	var file []byte
	if o.config != "" {
		var err error
		if file, err = readFile(o.config); err != nil {
			return settings{}, err
		}
	}
	s, err := load(file, o.config, environ)
	if o.given["rotate"] {
		s.rotate = o.rotate
	}
	if o.given["sliding"] {
		s.sliding = o.sliding
	}
	return s, err
}

// readFile reads a settings file, whose size is bounded. It never returns nil
// beside no error: to load, nil is the default file.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("evertoken: -config: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	const largest = 1 << 20
	data, err := io.ReadAll(io.LimitReader(f, largest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("evertoken: -config: %w", err)
	case len(data) > largest:
		return nil, fmt.Errorf("evertoken: -config: %s has more than %d bytes", name, largest)
	}
	return data, nil
}

// newCore makes the identity server. A lifetime from the command line shortens
// access tokens alone.
func newCore(s settings, lifetime time.Duration, log *slog.Logger) (http.Handler, error) {
	cfg := s.identity()
	if lifetime != 0 {
		cfg.AccessLifetime = lifetime
	}
	cfg.Mail = func(email string, p identity.Purpose, code string) {
		if s.production { // a log is no place for a secret, and there is no other way
			log.Warn("a code was not delivered: this server sends no mail", "to", email, "for", p)
			return
		}
		log.Info("mail", "to", email, "for", p, "code", code)
	}
	return identity.New(cfg)
}

// greeting tells a person how to go on.
func greeting(addr net.Addr, s settings) string {
	text := fmt.Sprintf("serving http://%s (Ctrl-C ends it)\n", addr)
	if s.demo {
		for _, u := range s.users {
			text += fmt.Sprintf("sign in as %s with the password %s\n", u.Email, u.Password)
		}
	}
	return text
}

// drainTime is how long requests in progress have to finish at the end. None of
// this server's takes longer than a password's hash.
const drainTime = 10 * time.Second

// serve serves until ctx ends. It has waited for its goroutine when it returns;
// the error is nil after a shutdown within drain.
func serve(ctx context.Context, l net.Listener, h http.Handler, drain time.Duration, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	log.Info("serving", "addr", l.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("evertoken: serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("shutting down")
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := srv.Shutdown(limit)
	if err != nil { // the rest is cut off
		err = errors.Join(fmt.Errorf("evertoken: shut down: %w", err), srv.Close())
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) { // it had failed in the same instant
		err = errors.Join(err, end)
	}
	return err
}
