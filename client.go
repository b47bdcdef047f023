package evertoken

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken/internal/origin"
	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

var (
	// ErrSignedOut means that there is no session: nobody has signed in, or
	// somebody signed out, or the issuer has ended it. An error that wraps it
	// may also wrap the [*RefreshError] that holds the issuer's verdict.
	ErrSignedOut = errors.New("evertoken: signed out")

	// ErrClosed means that the client was closed.
	ErrClosed = errors.New("evertoken: client is closed")
)

// A Clock tells the time and makes timers. clock.New() and *clock.Mock of
// github.com/benbjohnson/clock are Clocks as they stand.
type Clock interface {
	Now() time.Time
	Timer(d time.Duration) *clock.Timer
}

// Config configures a [Client]. Only Issuer is required.
type Config struct {
	// Issuer renews tokens. Required.
	Issuer Issuer

	// Origins are where access tokens may be sent: scheme://host[:port], https
	// or loopback http. Nil means the issuer's own, if it has an Origins method.
	Origins []string

	// Store keeps the session. Nil means memory: the session ends with the
	// process, or with the [Pool]. No step with it is waited for longer than 10 s.
	Store storage.Store

	// Session is the key of the session in Store. Empty means "default". Who
	// shares a store shares the sessions in it by their keys, so programs that talk
	// to different servers name server and account here.
	Session string

	// Login signs in unattended when there is no session, or the issuer has
	// ended it; nil means that only SignIn does. The refresher calls it, at most
	// once per CheckInterval, one process at a time. An error is retried like an
	// issuer that is down; one that is [Rejected] or [Misconfigured] after five
	// minutes, doubling up to an hour. It has a minute, and must not use the
	// client: what it would wait for there waits for it.
	Login func(context.Context) (Token, error)

	// CheckInterval is how often the refresher looks. Zero means 60 s.
	CheckInterval time.Duration

	// ExpiryWindow is how long before its expiry a token is renewed by the next
	// check. Zero means 5 min.
	ExpiryWindow time.Duration

	// WindowFraction caps ExpiryWindow at this share of a token's lifetime,
	// between 0 and 1: 0.25 renews a token when a quarter of it is left. Zero
	// means no cap, so that tokens that live no longer than ExpiryWindow are
	// renewed by every check.
	WindowFraction float64

	// Base sends requests. Nil means http.DefaultTransport.
	Base http.RoundTripper

	// Clock is for tests. Nil means the machine's.
	Clock Clock

	// Logger is told of decisions at debug level, of events at info, and of changes
	// for the worse, once each, and their end as warnings: docs/logs.md lists them.
	// Nil means slog.Default(), and only warnings. Its handler must not use the
	// client, which waits for it.
	Logger *slog.Logger

	// OnEvent is called with each event, in order, from one goroutine. It may
	// call anything but Close. Events that find 64 others waiting are dropped.
	OnEvent func(Event)
}

// complete checks the configuration, names all that is wrong with it at once,
// and fills in what was left out.
func (c *Config) complete() error { return c.settle(c.check()) }

func (c *Config) check() []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if c.Issuer == nil {
		fault("Issuer is missing")
	}
	if v, ok := c.Issuer.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			fault("Issuer: %v", err)
		}
	}
	bad := len(faults) > 0 // a faulty issuer may name no origins for that reason
	span := func(name string, d time.Duration) {
		switch {
		case d < 0:
			fault("%s is negative: %v", name, d)
		case d > 0 && d < time.Millisecond: // a number without its unit
			fault("%s is %v, less than a millisecond", name, d)
		}
	}
	span("CheckInterval", c.CheckInterval)
	span("ExpiryWindow", c.ExpiryWindow)
	if !(c.WindowFraction >= 0 && c.WindowFraction <= 1) {
		fault("WindowFraction is not between 0 and 1: %v", c.WindowFraction)
	}
	if own, ok := c.Issuer.(interface{ Origins() []string }); ok && c.Origins == nil {
		c.Origins = own.Origins()
	}
	if len(c.Origins) == 0 && !bad {
		fault("Origins is empty and the Issuer names none (an oauth.Issuer does with APIs)")
	}
	for i, o := range c.Origins {
		if _, err := origin.Parse(o); err != nil {
			fault("Origins[%d] %v", i, err)
		}
	}
	return faults
}

func (c *Config) settle(faults []string) error {
	if len(faults) > 0 {
		return errors.New("evertoken: bad Config: " + strings.Join(faults, "; "))
	}
	if c.Store == nil {
		c.Store = storage.NewMemory()
	}
	if c.Clock == nil {
		c.Clock = clock.New()
	}
	c.Session = cmp.Or(c.Session, "default")
	c.CheckInterval = cmp.Or(c.CheckInterval, time.Minute)
	c.ExpiryWindow = cmp.Or(c.ExpiryWindow, 5*time.Minute)
	return nil
}

// A Client holds one session and keeps it alive. It is safe for concurrent use.
type Client struct {
	session session
	loop    refresher
	board   board
}

// New returns a client for the session that the store holds, or for none yet,
// and starts its refresher. It fails on a bad configuration and on a store that
// cannot be read; it calls neither the issuer nor Login. A record that was read
// but is damaged does not fail New: Token tells of it, and SignIn or Login
// replaces it and keeps the damaged bytes aside under the session's key +
// ".corrupt". ctx serves New only. Close the client when it is not needed any
// more.
func New(ctx context.Context, cfg Config) (*Client, error) {
	return newClient(ctx, cfg, mathrand.Float64)
}

// newClient makes a client in a pool of its own, in which it waits for nobody.
func newClient(ctx context.Context, cfg Config, random func() float64) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	alone := PoolConfig{Config: cfg, MaxExchanges: 1 << 20}
	if cfg.Login != nil {
		alone.Login = func(ctx context.Context, _ string) (Token, error) { return cfg.Login(ctx) }
	}
	p := newPool(ctx, alone, random)
	p.single, p.herald.most = true, history
	c, err := p.client(ctx, cfg.Session)
	if err != nil {
		_ = p.Close()
		return nil, err
	}
	return c, nil
}

// HTTP returns an http.Client that signs its requests. Each call returns a new
// one, to which timeouts or a cookie jar may be added.
func (c *Client) HTTP() *http.Client { return &http.Client{Transport: c.Transport()} }

// Transport returns the transport of HTTP, for composing with others.
func (c *Client) Transport() *Transport {
	t := &Transport{Source: c, Origins: c.session.cfg.Origins, Base: c.session.cfg.Base}
	t.wrapper, _ = c.session.cfg.Issuer.(wrapper)
	return t
}

// Token returns a token that is valid now. It waits, until ctx ends, only if
// there is none but one can be had. The error is [ErrSignedOut], [ErrClosed],
// ctx's, the store's, or the [*RefreshError] of the last attempt.
func (c *Client) Token(ctx context.Context) (Token, error) {
	s, err := c.snapshot(ctx)
	if err != nil {
		return Token{}, err
	}
	return s.token(), nil
}

// snapshot is Token for the transport. The wait is for a wish that the loop
// fulfils; it is repeated only when a token came that ended before it was seen.
// A token that is there counts for more than the error of the wait, and so does
// one in its last moments, which while attempts fail is not waited with either.
func (c *Client) snapshot(ctx context.Context) (*snapshot, error) {
	c.loop.use()
	var err error
	for {
		s := c.session.served.Load()
		if s.alive(c.session.clock.Now()) { // no wall needed: the life has none but wall times
			return s, nil
		}
		if err == nil {
			err = c.hopeless(s)
		}
		failing := err != nil || c.board.read().Failures > 0
		if failing && s.lingers(wall(c.session.clock)) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		err = c.wait(ctx, "", nil)
	}
}

// hopeless says why no renewal can bring a token.
func (c *Client) hopeless(s *snapshot) error {
	switch {
	case errors.Is(s.err, ErrClosed):
		return s.err
	case s.asleep(), c.loop.mayLogin():
		return nil
	}
	return s.ending()
}

// wait asks for a renewal and waits for it. It counts as waiting before the loop can
// tell of what it waits for.
func (c *Client) wait(ctx context.Context, cause string, about *snapshot) error {
	c.board.waiting.Add(1)
	defer c.board.waiting.Add(-1)
	w := c.loop.ask(cause, about)
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return &waitError{context.Cause(ctx)}
	}
}

// A waitError is a context that ended while a token was waited for.
type waitError struct{ err error }

func (e *waitError) Error() string { return fmt.Sprintf("evertoken: waiting for a token: %v", e.err) }
func (e *waitError) Unwrap() error { return e.err }

// Timeout tells [net/url.Error.Timeout].
func (e *waitError) Timeout() bool { return errors.Is(e.err, context.DeadlineExceeded) }

// replace returns the token that takes the place of one that a server refused,
// or nil if there is none: somebody has signed in, it is too early for another
// renewal, or the renewal failed. Login continues the session that it replaces.
func (c *Client) replace(ctx context.Context, refused *snapshot) *snapshot {
	s := c.session.served.Load()
	if s.sameToken(refused) {
		cause := causeRefused
		if !s.alive(wall(c.session.clock)) {
			cause = "" // it came too late: that says nothing against the next one
		}
		if c.wait(ctx, cause, refused) != nil {
			return nil
		}
		s = c.session.served.Load()
	}
	if s.SID != refused.SID && s.before().replaces != refused.SID || s.sameToken(refused) || !s.alive(wall(c.session.clock)) {
		return nil
	}
	return s
}

// SignIn begins a session with t, in place of any other. It is saved before it
// is used: if the store fails, nothing has changed. Who waits for a token of the
// session before gets this one.
func (c *Client) SignIn(ctx context.Context, t Token) error {
	if t.AccessToken == "" && t.RefreshToken == "" {
		return errors.New("evertoken: sign in: the token has neither AccessToken nor RefreshToken")
	}
	if c.loop.isClosing() {
		return ErrClosed
	}
	t, err := t.normalize(wall(c.session.clock))
	if err != nil {
		return fmt.Errorf("evertoken: sign in: %w", err)
	}
	n := newSnapshot(record.First(record.Tokens(t), causeSignIn), 0)
	err = c.session.do(ctx, func(ctx context.Context) error {
		err := c.session.start(ctx, n)
		if err == nil {
			c.loop.leftOut.Store(false)
			c.board.report(n, Event{})
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("evertoken: sign in: %w", err)
	}
	c.board.show(c.session.known.Load(), c.session.settled(), 0, nil)
	c.loop.supersede(n)
	return nil
}

// SignOut ends the session: in the store first, then at the issuer, if it can
// revoke. The error tells which of the two failed. The client is signed out in
// any case, unless ctx ends while another step with the store is under way; a
// revocation that failed, or took longer than 10 s, is tried again by the checks,
// for an hour or until Close. Login is not called again before SignIn or a new client.
func (c *Client) SignOut(ctx context.Context) error {
	if c.loop.isClosing() {
		return ErrClosed
	}
	c.loop.leftOut.Store(true) // even if ctx ends before our turn
	c.board.leave()
	var last *snapshot
	err := c.session.do(ctx, func(ctx context.Context) (err error) {
		c.loop.leftOut.Store(true)
		last, err = c.session.end(ctx)
		c.board.report(c.session.known.Load(), Event{Err: err})
		return err
	})
	if err != nil {
		err = fmt.Errorf("evertoken: sign out: %w", err)
	}
	c.board.show(c.session.known.Load(), true, 0, err)
	if last == nil {
		return err
	}
	c.loop.supersede(c.session.known.Load())
	revoked := c.loop.revokeInTurn(ctx, last.token())
	if revoked != nil {
		c.loop.orphan(last)
	}
	return errors.Join(err, revoked)
}

// Refresh renews the token now. While a failed attempt is being waited out it
// returns that attempt's error: to send again earlier could cost the session.
// The others are those of Token. ctx bounds the wait, not the exchange.
func (c *Client) Refresh(ctx context.Context) error {
	s := c.session.served.Load()
	if s.asleep() {
		if err := c.wait(ctx, "", nil); err != nil {
			return err
		}
		s = c.session.served.Load()
	}
	if err := c.hopeless(s); err != nil {
		return err
	}
	return c.wait(ctx, causeAsked, s)
}

// Status returns what the client is doing, and why.
func (c *Client) Status() Status { return c.board.read() }

// Events returns the last 128 events, oldest first; for a client of a [Pool], those
// of its session among the last 1,024 of the pool. The slice is the caller's.
func (c *Client) Events() []Event {
	return slices.DeleteFunc(c.session.herald.history(), func(e Event) bool { return e.Session != c.session.key })
}

// Close stops the refresher and waits until it has ended. An exchange that is
// not written yet is cancelled; one that is written is left to finish and be
// saved. The error is of a token that could not be saved. Close may be called
// more than once and from several goroutines, but not from OnEvent, Login or the
// Issuer.
func (c *Client) Close() error {
	if c.session.single {
		return c.session.pool.Close()
	}
	c.session.pool.drop(c)
	return c.close()
}

// close waits until the client has ended.
func (c *Client) close() error {
	<-c.loop.done
	c.session.serve(&snapshot{err: ErrClosed})
	c.board.close()
	return c.loop.trouble
}
