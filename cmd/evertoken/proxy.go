package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/origin"
)

const proxyHelp = `Listens on this machine alone, and passes requests on to the API with the access
token, which it renews in the background. Its own URL is the first line that it
prints. It runs until it is interrupted.

  evertoken proxy --to https://api.example.com --listen 127.0.0.1:8400
  curl http://127.0.0.1:8400/things

The token goes to that one origin. An Authorization header that a program sends
is replaced; redirects within the API come back through the proxy.

Whatever runs on this machine can use it, other users included. Web pages can
not: requests for another host, and those that a browser sends for a page of
another origin, are refused.
`

func proxyCommand(flags *flag.FlagSet) action {
	s := sessionFlags(flags)
	to := flags.String("to", "", "`URL` of the API: https://HOST[:PORT]. It may be left\nout if the session is for one alone")
	listen := flags.String("listen", "127.0.0.1:0", "`ADDRESS` on loopback; port 0 is any that is free")
	return func(ctx context.Context, args []string) error {
		if err := nothing(args); err != nil {
			return err
		}
		p, _, err := s.profile(ctx)
		if err != nil {
			return err
		}
		target, err := p.target(*to)
		if err != nil {
			return err
		}
		return s.proxy(ctx, p, target, *listen)
	}
}

// target is the origin to pass requests on to: one of those that the session was
// begun for, or any if that was left open.
func (p profile) target(to string) (*url.URL, error) {
	allowed := p.origins()
	open := p.LightNap == "" && len(p.APIs) == 0
	if to == "" && !open && len(allowed) == 1 {
		to = allowed[0]
	}
	if to == "" {
		return nil, misused("--to is missing: which API is it for?")
	}
	if _, err := origin.Parse(to); err != nil {
		return nil, misused("--to %w", err)
	}
	u, err := url.Parse(to)
	if err != nil {
		return nil, misused("--to is not a URL")
	}
	within := func(s string) bool {
		o, err := origin.Parse(s)
		return err == nil && o.Matches(u)
	}
	if !open && !slices.ContainsFunc(allowed, within) {
		cure := "" // a LightNap server has one API, its own
		if p.LightNap == "" {
			cure = "; sign in again, with --api " + to + " as well"
		}
		return nil, misused("--to %s: the session is for %s%s", to, strings.Join(allowed, ", "), cure)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// proxy serves until ctx ends.
func (s *session) proxy(ctx context.Context, p profile, target *url.URL, address string) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})) // a renewal is no news
	client, err := s.open(ctx, p, evertoken.Config{
		Store: s.folder(), Origins: []string{target.String()}, Logger: log,
		CheckInterval: 5 * time.Second, // so that a new sign-in is noticed soon
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if client.Status().State == evertoken.SignedOut {
		return s.hint(evertoken.ErrSignedOut)
	}
	l, err := listenLoopback(ctx, address)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := printLine(os.Stdout, "http://"+l.Addr().String()); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "evertoken: proxy: to %s, as session %q at %s\n", target, s.name, p)
	pass := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { aim(r, target) },
		ModifyResponse: func(r *http.Response) error { stay(r, target); return nil },
		Transport:      client.Transport(),
		ErrorHandler:   s.failed,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return serve(ctx, l, guard{next: pass, here: l.Addr().String()})
}

// listenLoopback refuses addresses that other machines could reach.
func listenLoopback(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !origin.Secure(&url.URL{Scheme: "http", Host: net.JoinHostPort(host, "0")}) {
		return nil, misused("--listen %s is not HOST:PORT on loopback, such as 127.0.0.1:0", address)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() { // localhost is what the resolver says
		return nil, errors.Join(misused("--listen %s is not on loopback", address), l.Close())
	}
	return l, nil
}

// serve ends when ctx does. Requests that are under way get a few seconds.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if srv.Shutdown(end) != nil {
		_ = srv.Close() // whoever is still there has had the time
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// aim turns a request to us into one to the API. The transport adds the token; it
// would leave alone a request that has one of its own.
func aim(r *httputil.ProxyRequest, target *url.URL) {
	r.SetURL(target)
	r.Out.URL.User = nil
	r.Out.Header.Del("Authorization")
}

// stay makes redirects within the API come back to us: followed directly they
// would go without the token.
func stay(r *http.Response, target *url.URL) {
	u, err := url.Parse(r.Header.Get("Location"))
	o, bad := origin.Parse(target.String())
	if err != nil || bad != nil || !o.Matches(u) {
		return
	}
	path := strings.TrimLeft(u.EscapedPath(), "/") // two slashes would begin a host
	rest := url.URL{ForceQuery: u.ForceQuery, RawQuery: u.RawQuery, Fragment: u.Fragment, RawFragment: u.RawFragment}
	r.Header.Set("Location", "/"+path+rest.String())
}

// failed answers where the API could not be asked.
func (s *session) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		http.Error(w, message(s.hint(err)), http.StatusBadGateway)
	}
}

// A guard lets through what is meant for this proxy, and keeps web pages out. A
// page may have its own name resolve to this machine; then Host is that name (DNS
// rebinding). Or it sends requests here as they are; then the browser says whose
// they are.
type guard struct {
	next http.Handler
	here string // host:port
}

// ServeHTTP implements http.Handler.
func (g guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !g.names(r.Host):
		http.Error(w, "evertoken: this proxy is http://"+g.here, http.StatusMisdirectedRequest)
	case r.Method == http.MethodConnect || !strings.HasPrefix(r.URL.Path, "/"):
		http.Error(w, "evertoken: this proxy takes paths of its API", http.StatusBadRequest)
	case foreign(r):
		http.Error(w, "evertoken: this proxy is not for web pages", http.StatusForbidden)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// names says whether host is us: the address that is listened on, or localhost.
// For a request to a URL, as to a forward proxy, it is that URL's.
func (g guard) names(host string) bool {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host += ":80"
	}
	_, port, err := net.SplitHostPort(g.here)
	return err == nil && (host == g.here || strings.EqualFold(host, "localhost:"+port))
}

// foreign says that a browser sent a request for a page of another origin.
func foreign(r *http.Request) bool {
	site, from := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	return site != "" && site != "none" && site != "same-origin" || from != "" && !strings.EqualFold(from, "http://"+r.Host)
}
