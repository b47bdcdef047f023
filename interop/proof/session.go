package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/interop/internal/tap"
	"github.com/evertoken/evertoken/issuer/oauth"
	"github.com/evertoken/evertoken/storage"
)

// A session is one client at a server, with everything that watches it.
type session struct {
	*evertoken.Client
	issuer *oauth.Issuer
	tap    *tap.Tap
	base   *counter
	seen   *events
	url    string // of the API
}

// options are what tells clients apart.
type options struct {
	clientID string
	secret   string // empty: as registered
	dpop     bool
	store    storage.Store
	interval time.Duration // of checks; zero: a minute
	window   time.Duration // zero: 5 min
}

// open makes a client.
func (s *server) open(ctx context.Context, o options) (*session, error) {
	if o.secret == "" {
		o.secret = s.secrets[o.clientID]
	}
	n := &session{tap: &tap.Tap{}, base: newCounter(), seen: newEvents(), url: s.api}
	var err error
	if n.issuer, err = s.newIssuer(ctx, o.clientID, o.secret, n.tap); err != nil {
		return nil, err
	}
	n.issuer.DPoP = o.dpop
	n.Client, err = evertoken.New(ctx, evertoken.Config{
		Issuer: n.issuer, Store: o.store, Base: n.base, OnEvent: n.seen.note,
		CheckInterval: o.interval, ExpiryWindow: o.window, Logger: slog.New(slog.DiscardHandler),
	})
	return n, err
}

// signedIn opens a client and signs a person in.
func (s *server) signedIn(ctx context.Context, o options) (*session, error) {
	n, err := s.open(ctx, o)
	if err != nil {
		return nil, err
	}
	t, err := n.issuer.Authorize(ctx, s.browser())
	if err == nil {
		err = n.SignIn(ctx, t)
	}
	if err == nil {
		err = n.get(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// get asks the API once.
func (n *session) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url, nil)
	if err != nil {
		return err
	}
	resp, err := n.HTTP().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the API says %s", resp.Status)
	}
	return nil
}

// A counter is the network under a client: it sees each request that goes out.
type counter struct {
	http    *http.Transport
	refused atomic.Int64 // answers with 401
}

func newCounter() *counter { return &counter{http: &http.Transport{MaxIdleConnsPerHost: loaders}} }

// RoundTrip implements http.RoundTripper.
func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.http.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		c.refused.Add(1)
	}
	return resp, err
}

// CloseIdleConnections is what http.Client.CloseIdleConnections looks for.
func (c *counter) CloseIdleConnections() { c.http.CloseIdleConnections() }

// events are those of one client, to count and to wait for.
type events struct {
	mu      sync.Mutex
	all     []evertoken.Event
	changed chan struct{} // closed when there is a new one
}

func newEvents() *events { return &events{changed: make(chan struct{})} }

// note is the OnEvent of a client.
func (l *events) note(e evertoken.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// count tells how many there were of a kind, the last of them, and when that
// will have changed.
func (l *events) count(k evertoken.Kind) (int, evertoken.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, last := 0, evertoken.Event{}
	for _, e := range l.all {
		if e.Kind == k {
			n, last = n+1, e
		}
	}
	return n, last, l.changed
}

// number is count for those who need no more.
func (l *events) number(k evertoken.Kind) int {
	n, _, _ := l.count(k)
	return n
}

// until waits until there have been n of a kind and returns the last.
func (l *events) until(ctx context.Context, k evertoken.Kind, n int) (evertoken.Event, error) {
	for {
		got, last, changed := l.count(k)
		if got >= n {
			return last, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return last, fmt.Errorf("waiting for %d times %q, have %d: %w", n, k, got, context.Cause(ctx))
		}
	}
}

// loaders send requests side by side, one every pace each.
const (
	loaders = 4
	pace    = 10 * time.Millisecond
)

// A load is traffic on a session.
type load struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	done     [loaders]int // requests of each
	Requests int
	Failed   int
	First    string        // what failed first
	Slowest  time.Duration // request
}

// load starts traffic, until end.
func (n *session) load(ctx context.Context) *load {
	l := &load{}
	ctx, l.stop = context.WithCancel(ctx)
	for i := range loaders {
		l.wg.Go(func() {
			for pause(ctx, pace) == nil {
				began := time.Now()
				l.note(n.get(context.WithoutCancel(ctx)), time.Since(began))
				l.mu.Lock()
				l.done[i]++
				l.mu.Unlock()
			}
		})
	}
	return l
}

// turnover waits until no request is under way that began before it was called,
// and each loader has made one since.
func (l *load) turnover(ctx context.Context) error {
	l.mu.Lock()
	before := l.done
	l.mu.Unlock()
	for i := range before {
		for {
			l.mu.Lock()
			now := l.done[i]
			l.mu.Unlock()
			if now >= before[i]+2 {
				break
			}
			if err := pause(ctx, pace); err != nil {
				return err
			}
		}
	}
	return nil
}

// note counts one request.
func (l *load) note(err error, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Requests++
	l.Slowest = max(l.Slowest, took)
	if err == nil {
		return
	}
	if l.Failed++; l.First == "" {
		l.First = err.Error()
	}
}

// end stops the traffic, waits for the requests under way, and judges them.
func (l *load) end() error {
	l.stop()
	l.wg.Wait()
	switch {
	case l.Requests == 0:
		return errors.New("no request was made")
	case l.Failed > 0:
		return fmt.Errorf("%d of %d requests failed, the first: %s", l.Failed, l.Requests, l.First)
	}
	return nil
}

// String tells the figures.
func (l *load) String() string {
	return fmt.Sprintf("%d requests, %d failed, slowest %v", l.Requests, l.Failed, l.Slowest.Round(time.Millisecond))
}
