package evertoken

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken/storage"
)

// closingIt closes in a goroutine, and returns once that waits.
func closingIt(c interface{ Close() error }) <-chan error {
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	synctest.Wait()
	return closed
}

// Closing one client ends that one, for all who have it, and no other.
func TestCloseOfOneClient(t *testing.T) {
	inTown(t, 10*time.Minute, nil, func(t *testing.T, w *town) {
		w.signIn("ann", "bob")
		ann := w.client("ann")
		proceed := w.blocked()
		refreshed := make(chan error, 1)
		go func() { refreshed <- ann.Refresh(t.Context()) }()
		synctest.Wait()
		closed := closingIt(ann)
		if len(closed) != 0 {
			t.Error("Close did not wait for what was sent")
		}
		next := w.client("ann")
		if next == ann {
			t.Error("a client that is closed is handed out")
		}
		close(proceed)
		if err := errors.Join(<-closed, <-refreshed, ann.Close()); err != nil {
			t.Error(err)
		}
		if _, err := ann.Token(t.Context()); !errors.Is(err, ErrClosed) || ann.Status().State != Closed {
			t.Errorf("Token = %v, status %+v", err, ann.Status())
		}
		if r, err := w.stored("ann"); err != nil || r.Tokens.AccessToken != "access-ann-2" {
			t.Errorf("stored %q, %v", r.Tokens.AccessToken, err)
		}
		w.pass(10 * time.Minute)
		w.want("ann", "access-ann-3")
		w.want("bob", "access-bob-2")
		if w.client("ann") != next {
			t.Error("the new client was forgotten")
		}
	})
}

// A pool that is closed has saved all that it sent for, has cancelled what was
// not sent, and answers everybody.
func TestCloseOfThePool(t *testing.T) {
	inTown(t, time.Hour, func(c *PoolConfig) { c.MaxExchanges, c.IdleAfter = 2, 10*time.Minute }, func(t *testing.T, w *town) {
		w.signIn("sleeps")
		sleeps := w.client("sleeps")
		w.pass(20 * time.Minute)
		w.signIn("rests")
		rests := w.client("rests")
		proceed := w.blocked()
		asking := make(map[string]<-chan error)
		for _, s := range []string{"a", "b", "c", "d"} {
			w.has(s, -time.Minute)
			asking[s] = w.asking(s)
		}
		closed, again := closingIt(w.pool), closingIt(w.pool)
		if len(closed)+len(again) != 0 {
			t.Error("Close did not wait for what was sent")
		}
		if _, err := w.pool.Client(t.Context(), "a"); !errors.Is(err, ErrClosed) {
			t.Errorf("Client = %v", err)
		}
		close(proceed)
		if err := errors.Join(<-closed, <-again, w.pool.Close()); err != nil {
			t.Errorf("Close = %v", err)
		}
		for s, got := range asking {
			sent := s < "c" // by a check, so that their callers may hear of the end first
			if err := <-got; !errors.Is(err, ErrClosed) && (err != nil || !sent) {
				t.Errorf("Token of %s = %v", s, err)
			}
			want := "access-" + s + "-1"
			if sent {
				want = "access-" + s + "-2"
			}
			if r, err := w.stored(s); err != nil || r.Tokens.AccessToken != want || r.Note.Open() {
				t.Errorf("stored for %s: %q, %+v, %v", s, r.Tokens.AccessToken, r.Note, err)
			}
		}
		for _, c := range []*Client{sleeps, rests} {
			if _, err := c.Token(t.Context()); !errors.Is(err, ErrClosed) || c.Status().State != Closed {
				t.Errorf("Token = %v, status %+v", err, c.Status())
			}
			if err := c.SignIn(t.Context(), w.crowd.mint("x", 1)); !errors.Is(err, ErrClosed) {
				t.Errorf("SignIn = %v", err)
			}
		}
		if len(w.crowd.sent) != 2 {
			t.Errorf("sent %q", w.crowd.sent)
		}
	})
}

// A pair that cannot be saved is told of by Close.
func TestCloseOfAPoolTellsWhatWasLost(t *testing.T) {
	inTown(t, time.Hour, nil, func(t *testing.T, w *town) {
		w.signIn("ann", "bob")
		w.crowd.meet(func(context.Context, string) error { w.store.breaks("save"); return nil })
		_ = w.client("ann").Refresh(t.Context())
		if err := w.pool.Close(); !errors.Is(err, errDisk) {
			t.Errorf("Close = %v", err)
		}
		w.store.meet(nil)
		if err := w.pool.Close(); !errors.Is(err, errDisk) {
			t.Errorf("Close again = %v", err)
		}
		w.pool, _ = NewPool(PoolConfig{Config: Config{Issuer: w.crowd, Clock: w.clock}}) // for the end of the test
	})
}

// Whoever closes what while somebody else is at the door, everybody is answered.
func TestCloseWhileAClientIsLoaded(t *testing.T) {
	for name, closes := range map[string]func(*town) error{
		"pool":   func(w *town) error { return w.pool.Close() },
		"client": func(w *town) error { return w.client("ann").Close() },
	} {
		t.Run(name, func(t *testing.T) {
			inTown(t, time.Hour, nil, func(t *testing.T, w *town) {
				w.has("ann", time.Hour)
				proceed := make(chan struct{})
				w.store.once("load", func(context.Context) error { <-proceed; return nil })
				opened := make(chan *Client, 1)
				go func() { opened <- w.client("ann") }()
				synctest.Wait()
				closed := make(chan error, 1)
				go func() { closed <- closes(w) }()
				synctest.Wait()
				close(proceed)
				if err := <-closed; err != nil {
					t.Errorf("Close = %v", err)
				}
				if _, err := (<-opened).Token(t.Context()); !errors.Is(err, ErrClosed) {
					t.Errorf("Token = %v", err)
				}
			})
		})
	}
}

func TestPoolLogin(t *testing.T) {
	inTown(t, time.Hour, func(c *PoolConfig) {
		c.Login = func(_ context.Context, session string) (Token, error) {
			return c.Issuer.(*crowd).mint(session, 1), nil
		}
	}, func(t *testing.T, w *town) {
		w.want("ann", "access-ann-1")
		w.want("bob", "access-bob-1")
		if err := w.client("ann").SignOut(t.Context()); err != nil {
			t.Error(err)
		}
		w.pass(time.Hour)
		if _, err := w.client("ann").Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("signed in again: %v", err)
		}
		w.want("bob", "access-bob-2")
	})
}

func TestBadPoolConfig(t *testing.T) {
	_, err := NewPool(PoolConfig{
		Config:       Config{Session: "me", Login: func(context.Context) (Token, error) { return Token{}, nil }, CheckInterval: -1},
		MaxExchanges: -1, IdleAfter: -1,
	})
	want := "evertoken: bad Config: Issuer is missing; CheckInterval is negative: -1ns; Session is set, but Pool.Client names sessions; " +
		"Config.Login is set, but PoolConfig.Login takes its place; MaxExchanges is negative: -1; IdleAfter is negative: -1ns"
	if err == nil || err.Error() != want {
		t.Errorf("NewPool = %v\nwant %s", err, want)
	}
	p, err := NewPool(PoolConfig{Config: Config{Issuer: &crowd{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if p.idle != 24*time.Hour || p.cfg.CheckInterval != time.Minute {
		t.Errorf("idle after %v, checks every %v", p.idle, p.cfg.CheckInterval)
	}
	for _, name := range []string{"", "ann.corrupt"} {
		if _, err := p.Client(t.Context(), name); err == nil || !strings.Contains(err.Error(), "name") {
			t.Errorf("Client(%q) = %v", name, err)
		}
	}
}

// All that a pool offers, at once, for the race detector; and nothing hangs.
func TestPoolInAHurry(t *testing.T) {
	store := storage.NewMemory()
	synctest.Test(t, func(t *testing.T) {
		far := &farIssuer{clock: clock.New(), lifetime: 3 * time.Second}
		p, err := NewPool(PoolConfig{
			Config: Config{
				Issuer: far, Store: store, Clock: clock.New(), CheckInterval: time.Second, ExpiryWindow: 2 * time.Second,
				OnEvent: func(Event) {},
			},
			MaxExchanges: 2, IdleAfter: 2 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		names := []string{"ann", "bob", "cid"}
		var all sync.WaitGroup
		for i := range 24 {
			all.Go(func() {
				for n := range 200 {
					hurry(t, p, far, names[(i+n)%len(names)], i+n)
				}
			})
		}
		all.Wait()
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// hurry does one thing with a client, or waits for a while.
func hurry(t *testing.T, p *Pool, far *farIssuer, name string, what int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c, err := p.Client(ctx, name)
	if err != nil {
		t.Errorf("Client: %v", err)
		return
	}
	switch what * 7919 % 97 % 12 {
	case 0:
		err = c.SignOut(ctx)
	case 1, 2:
		err = c.SignIn(ctx, far.mint())
	case 3:
		err = c.Refresh(ctx)
	case 4:
		err = c.Close()
	case 5:
		<-time.After(time.Duration(what%7) * time.Second)
	case 6:
		_ = c.Status()
	default:
		_, err = c.Token(ctx)
	}
	if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrSignedOut) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d: %v", what, err)
	}
}
