package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/storage"
)

const (
	session = "fleet"
	profile = "/api/users/me/profile" // of the protected API
)

// A task is what a worker is told.
type task struct {
	Store  string        `json:"store"`
	Server string        `json:"server"` // with a path that is the worker's own
	Grace  time.Duration `json:"grace"`
	Pause  time.Duration `json:"pause"` // between two requests
}

// A report is a line that a worker prints: what it has done since it began.
type report struct {
	Kind     evertoken.Kind `json:"kind,omitempty"` // of the event that made it; empty: time has passed
	Requests int            `json:"requests"`
	Failed   int            `json:"failed"`  // did not get a 200
	Wronged  int            `json:"wronged"` // of those: although the store had a valid token
	Slowest  time.Duration  `json:"slowest"`
	Err      string         `json:"err,omitempty"` // of the last that failed
}

// graceful is LightNap's issuer for a server whose grace is known.
type graceful struct {
	*lightnap.Issuer
	grace time.Duration
}

// ReuseGrace tells the client how soon a lost answer has to be asked for again.
func (g graceful) ReuseGrace() time.Duration { return g.grace }

// config is how all processes of the fleet reach the session.
func (t task) config(o opened) evertoken.Config {
	return evertoken.Config{
		Issuer:  graceful{&lightnap.Issuer{BaseURL: t.Server}, t.Grace},
		Store:   o.Store,
		Session: session,
		// Tokens of a few seconds live within the window of five minutes: renew at half their life.
		WindowFraction: 0.5,
	}
}

// A worker is one process of the fleet.
type worker struct {
	out *json.Encoder
	mu  sync.Mutex // guards what follows, and out
	sum report
}

// work sends requests until its standard input ends, which it does when the
// parent wishes or dies.
func work(ctx context.Context, told string, in io.Reader, out io.Writer) error {
	var t task
	err := json.Unmarshal([]byte(told), &t)
	if err != nil {
		return fmt.Errorf("worker: bad task: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, in)
	}()
	w := &worker{out: json.NewEncoder(out)}
	for ctx.Err() == nil {
		if err = w.live(ctx, t); err == nil || !errors.Is(err, errStart) {
			return err
		}
		select { // the store may be on its way up
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// errStart is what keeps a worker from beginning.
var errStart = errors.New("worker: cannot start")

// live sends requests until ctx ends.
func (w *worker) live(ctx context.Context, t task) error {
	store, err := open(ctx, t.Store)
	if err != nil {
		return fmt.Errorf("%w: %w", errStart, err)
	}
	defer store.close()
	cfg := t.config(store)
	cfg.OnEvent = func(e evertoken.Event) {
		if e.Kind != evertoken.Checked { // time is told anyway
			w.say(e.Kind)
		}
	}
	client, err := evertoken.New(ctx, cfg)
	if err != nil {
		return fmt.Errorf("%w: %w", errStart, err)
	}
	w.visit(ctx, client.HTTP(), store, t)
	err = client.Close()
	w.say("")
	return err
}

// visit sends steady traffic and reports it a few times a second.
func (w *worker) visit(ctx context.Context, browser *http.Client, store storage.Store, t task) {
	next, tell := time.NewTicker(t.Pause), time.NewTicker(250*time.Millisecond)
	defer next.Stop()
	defer tell.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tell.C:
			w.say("")
		case <-next.C:
			began := time.Now()
			err := request(ctx, browser, t.Server+profile)
			if ctx.Err() != nil {
				return
			}
			w.count(err, time.Since(began), err != nil && !t.lost(err) && wronged(ctx, browser, store, t))
		}
	}
}

func request(ctx context.Context, browser *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := browser.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// lost says that a request failed because the session was lost, as it may be without a
// grace. Of the next sign-in, which is somebody else's, a client learns by its next
// check.
func (t task) lost(err error) bool { return t.Grace == 0 && errors.Is(err, evertoken.ErrSignedOut) }

// wronged says that requests fail although the store has a token: one that is made
// while it is known to be there fails as well.
func wronged(ctx context.Context, browser *http.Client, store storage.Store, t task) bool {
	return valid(ctx, store) && request(ctx, browser, t.Server+profile) != nil && valid(ctx, store)
}

// valid says that the store has a token that can be sent: in its last second, or
// quarter, the client lets it be.
func valid(ctx context.Context, store storage.Store) bool {
	item, err := store.Load(ctx, session)
	if err != nil {
		return false
	}
	r, err := record.Decode(session, item.Data)
	spared := min(time.Second, r.Lifetime/4)
	return err == nil && !r.Over && r.Tokens.Expiry.Add(-spared).After(time.Now())
}

func (w *worker) count(err error, took time.Duration, wronged bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum.Requests++
	w.sum.Slowest = max(w.sum.Slowest, took)
	if err != nil {
		w.sum.Failed++
		w.sum.Err = err.Error()
	}
	if wronged {
		w.sum.Wronged++
	}
}

func (w *worker) say(kind evertoken.Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	line := w.sum
	line.Kind = kind
	_ = w.out.Encode(line) // the parent may be gone
}
