package evertest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/identity"
	"github.com/evertoken/evertoken/issuer/lightnap"
)

// The account that every server has.
const (
	Login    = "demo@example.com"
	Password = "Passw0rd!demo"
)

// Options are what a test may want of a server from the start. The zero value
// is what NewServer uses.
type Options struct {
	// Lifetime of access tokens. Those count in whole seconds, so that one of two
	// may be dead after one; with a fraction, in milliseconds. Zero means 120
	// minutes.
	Lifetime time.Duration

	// Rotate replaces the refresh token with each renewal and ends the session
	// when a spent one comes back (RFC 9700, section 4.14.2).
	Rotate bool

	// ReuseGrace is how long the refresh token that was spent last is still
	// accepted. Zero means not at all.
	ReuseGrace time.Duration

	// Now is the server's clock, such as a mock's. Nil means time.Now.
	Now func() time.Time

	// Handler is the API to protect, at every path that is not the issuer's own:
	// it sees the requests with a valid access token, the others get 401. Nil
	// answers 404; /api/users/me/profile is there in any case.
	Handler http.Handler
}

// A Server is an issuer and a protected API. Its methods are safe for concurrent
// use. It ends with the test.
type Server struct {
	// URL is where the server answers, for clients that use [Server.Transport].
	URL string

	t        testing.TB
	identity *identity.Server
	http     *http.Server
	pipes    *pipeListener
	base     *http.Transport

	now func() time.Time

	mu     sync.Mutex
	faults []Fault
	back   time.Time // when the last outage ends
}

// NewServer starts a server that stops when t ends. At most one Options counts.
func NewServer(t testing.TB, options ...Options) *Server {
	t.Helper()
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	id, err := identity.New(identity.Config{
		AccessLifetime:     o.Lifetime,
		SessionLifetime:    30 * 24 * time.Hour,
		Rotate:             o.Rotate,
		DetectReuse:        true, // nothing is spent without rotation
		ReuseGrace:         o.ReuseGrace,
		Now:                o.Now,
		PasswordIterations: 1, // the password is in this file
		Accounts:           []identity.Account{{Email: Login, UserName: "demo", Password: Password, Roles: []string{"User"}}},
	})
	if err != nil {
		t.Fatalf("evertest: %v", err)
	}
	s := &Server{URL: "http://localhost", t: t, identity: id, pipes: newPipeListener(), now: o.Now}
	if s.now == nil {
		s.now = time.Now
	}
	s.base = &http.Transport{DialContext: s.dial}
	s.http = &http.Server{Handler: s.handler(o.Handler), ReadHeaderTimeout: time.Minute}
	s.serve(s.pipes)
	t.Cleanup(func() {
		s.base.CloseIdleConnections()
		if err := s.http.Close(); err != nil {
			t.Errorf("evertest: %v", err)
		}
	})
	return s
}

// serve runs the server on l until the test ends; the test waits for it.
func (s *Server) serve(l net.Listener) {
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(l) }()
	s.t.Cleanup(func() {
		_ = s.http.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			s.t.Errorf("evertest: %v", err)
		}
	})
}

func (s *Server) handler(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	if api != nil {
		mux.Handle("/", s.identity.Require(api))
	}
	for _, path := range []string{"/api/Identity/", "/api/users/me/profile", "/oauth/"} {
		mux.Handle(path, s.identity)
	}
	mux.Handle("/api/Identity/access-token", s.faulty(s.identity))
	mux.Handle("/oauth/token", s.faulty(s.identity))
	return s.reachable(mux)
}

// Listen serves on a free loopback port as well, and returns its URL: for what
// needs a real socket. Not inside a bubble.
func (s *Server) Listen() string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatalf("evertest: %v", err)
	}
	s.serve(l)
	return "http://" + l.Addr().String()
}

// Transport returns the transport that reaches the server at URL.
func (s *Server) Transport() *http.Transport { return s.base }

// Issuer returns the client's side of the server.
func (s *Server) Issuer() *lightnap.Issuer {
	return &lightnap.Issuer{BaseURL: s.URL, Transport: s.base}
}

// Config returns a configuration with which evertoken.New just works: it signs
// in by itself, to this server, and keeps the session in memory. Change what the
// test is about, such as Store, Clock or OnEvent.
func (s *Server) Config() evertoken.Config {
	issuer := s.Issuer()
	return evertoken.Config{
		Issuer: issuer,
		Base:   s.base,
		Login: func(ctx context.Context) (evertoken.Token, error) {
			return issuer.Login(ctx, lightnap.Credentials{Login: Login, Password: Password, RememberMe: true})
		},
	}
}

// NewClient is evertoken.New for tests: an error ends the test, and the end of the
// test closes the client, unless the test has. As in production, clients whose
// Config.Store is the same share one session.
func (s *Server) NewClient(cfg evertoken.Config) *evertoken.Client {
	s.t.Helper()
	client, err := evertoken.New(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatalf("evertest: %v", err)
	}
	s.t.Cleanup(func() {
		if err := client.Close(); err != nil {
			s.t.Errorf("evertest: %v", err)
		}
	})
	return client
}

// ExpireAccessTokens makes the server refuse all access tokens issued so far
// with 401, although nothing in them has expired: a client cannot know before it
// has tried. Such requests are not counted as ExpiredSent.
func (s *Server) ExpireAccessTokens() { s.identity.ExpireAccessTokens() }

// RevokeSessions ends all sessions: their refresh tokens are dead. Access tokens
// live on until they expire.
func (s *Server) RevokeSessions() { s.identity.RevokeAll() }

// Rotate switches the rotation of refresh tokens on or off: see [Options].
func (s *Server) Rotate(on bool) { s.identity.SetRotate(on) }

// Counts is what a server has seen. A refresh that a [Fault] kept from the issuer
// is not in it.
type Counts struct {
	Refreshes   int // requests to renew, granted or not
	SpentTwice  int // of those, with a refresh token that was spent before, outside the grace
	ExpiredSent int // requests to the API with an access token past its expiry
}

// Counts returns what the server has seen so far.
func (s *Server) Counts() Counts { return Counts(s.identity.Counts()) }
