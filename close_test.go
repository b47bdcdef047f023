package evertoken

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// closing closes the client in a goroutine, and returns once that waits.
func (w *world) closing() <-chan error {
	closed := make(chan error, 1)
	go func() { closed <- w.client.Close() }()
	synctest.Wait()
	return closed
}

// refreshing does so with Refresh.
func (w *world) refreshing() <-chan error {
	done := make(chan error, 1)
	go func() { done <- w.client.Refresh(w.t.Context()) }()
	synctest.Wait()
	return done
}

// A request that is not written is cancelled; the note says that the refresh
// token was not spent.
func TestCloseWhileTheIssuerIsDialled(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(dials(nil, nil))
		done := w.refreshing()
		if err := <-w.closing(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Refresh = %v", err)
		}
		if note := w.stored().Note; note.Open() || note.N != 1 {
			t.Errorf("note %+v", note)
		}
		if s := w.client.Status(); w.count(Failed) != 0 || s.Failures != 0 {
			t.Errorf("told %s, status %+v", w.told(), s)
		}
	})
}

// A request that is written is given its time, whatever comes of it: nothing is
// sent again, and what was learned is in the store.
func TestCloseWhileAnAnswerIsAwaited(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer error
		check  func(record.Record) bool
	}{
		{"a new pair", nil, func(r record.Record) bool { return r.Tokens.AccessToken == "access-2" }},
		{"nothing was sent", &RefreshError{Outcome: NotSent}, func(r record.Record) bool { return !r.Note.Open() }},
		{"rejected", &RefreshError{Outcome: Rejected}, func(r record.Record) bool { return r.Over }},
		{"closed connection", &RefreshError{}, func(r record.Record) bool { return r.Note.Open() && r.Note.N == 1 }},
	} {
		once := func(t *testing.T) {
			inWorld(t, time.Hour, func(c *Config) { c.Store = unsharedStore{deafStore{c.Store}} }, func(t *testing.T, w *world) {
				w.signIn()
				written, answered := make(chan struct{}), make(chan struct{})
				close(written)
				w.issuer.then(dials(written, func() (Token, error) {
					<-answered
					if tt.answer != nil {
						return Token{}, tt.answer
					}
					return w.issuer.mint(), nil
				}), fails(errors.New("sent again")))
				done := w.refreshing()
				closed := w.closing()
				if len(closed) != 0 {
					t.Fatal("Close did not wait")
				}
				close(answered)
				if err := <-closed; err != nil {
					t.Errorf("Close: %v", err)
				}
				if err := <-done; (err == nil) != (tt.answer == nil) {
					t.Errorf("Refresh = %v", err)
				}
				w.wantCalls(1)
				if r := w.stored(); !tt.check(r) {
					t.Errorf("stored gen %d, over %t, note %+v", r.Gen, r.Over, r.Note)
				}
			})
		}
		t.Run(tt.name, func(t *testing.T) {
			for range 10 { // whether a step is begun after Close may be drawn
				once(t)
			}
		})
	}
}

// The last try of Close finds that the record is another than it knows: its own, saved
// although the store seemed to fail, or one that somebody else has put a note into.
func TestCloseAfterTheRecordHasChanged(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world, s *hookedStore){
		"saved, and the answer lost": func(_ *world, s *hookedStore) {
			s.once("saved", func(context.Context) error { return errDisk })
		},
		"somebody else's note": func(w *world, s *hookedStore) {
			w.change(func(r record.Record) record.Record { return r.Announced("other", causeDue, w.clock.Now()) })
			s.once("save", func(context.Context) error { return errDisk })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHookedStore()
			inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
				w.signIn()
				answered := make(chan struct{})
				w.issuer.then(func(context.Context, Token) (Token, error) {
					<-answered
					meanwhile(w, s)
					return w.issuer.mint(), nil
				})
				w.refreshing()
				closed := w.closing()
				close(answered)
				if err := <-closed; err != nil {
					t.Errorf("Close = %v", err)
				}
				if r := w.stored(); r.Tokens.RefreshToken != "refresh-2" {
					t.Errorf("stored %s, gen %d", r.Tokens.RefreshToken, r.Gen)
				}
			})
		})
	}
}

// Nothing is repeated once the client is closed, even where the store would not
// mind. Whether a step is begun then is drawn, hence the repetition.
func TestNoPromptRetryAfterClose(t *testing.T) {
	for range 30 {
		inWorld(t, time.Hour, func(c *Config) { c.Store = unsharedStore{deafStore{c.Store}} }, func(t *testing.T, w *world) {
			w.signIn()
			answered := make(chan struct{})
			w.issuer.then(func(context.Context, Token) (Token, error) {
				<-answered
				return Token{}, &RefreshError{}
			})
			w.refreshing()
			closed := w.closing()
			close(answered)
			if err := <-closed; err != nil {
				t.Errorf("Close: %v", err)
			}
			w.wantCalls(1)
		})
	}
}

// A deafStore does not look at its contexts.
type deafStore struct{ storage.Store }

func (s deafStore) Load(ctx context.Context, key string) (storage.Item, error) {
	return s.Store.Load(context.WithoutCancel(ctx), key)
}

func (s deafStore) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	return s.Store.Save(context.WithoutCancel(ctx), key, data, prev)
}

// Close does not wait for somebody else's lease, and that is no failure.
func TestCloseWhileWaitingForTheLease(t *testing.T) {
	var log strings.Builder
	inWorld(t, time.Hour, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) }, func(t *testing.T, w *world) {
		w.signIn()
		log.Reset()
		lease, err := w.store.(storage.Leaser).Acquire(t.Context(), "default", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer lease.Release()
		done := w.refreshing()
		if err := <-w.closing(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Refresh = %v", err)
		}
		if w.count(Failed) != 0 || log.Len() != 0 {
			t.Errorf("told %s, logged %s", w.told(), log.String())
		}
	})
}

// Nor does a look that Close has interrupted count as one.
func TestCloseWhileLooking(t *testing.T) {
	var log strings.Builder
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) {
		c.Store, c.Logger = s, slog.New(slog.NewTextHandler(&log, nil))
	}, func(t *testing.T, w *world) {
		w.signIn()
		log.Reset()
		s.once("load", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		w.pass(time.Minute)
		if err := <-w.closing(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if s := w.client.Status(); log.Len() != 0 || s.Err != nil {
			t.Errorf("status %+v, logged %s", s, log.String())
		}
	})
}

// While somebody else's attempt is waited for there is nothing to lose.
func TestCloseWhileWaitingForAPromptRetry(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.leave(signedInElsewhere(epoch.Add(-2*time.Hour), time.Hour).Announced("killed", causeDue, epoch.Add(-time.Minute)))
		w.restart()
		done := w.refreshing()
		if err := <-w.closing(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Refresh = %v", err)
		}
		w.wantCalls(0)
	})
}

// Login that does not dial any more, or cannot tell, is given its time.
func TestCloseDuringLogin(t *testing.T) {
	for _, dialling := range []bool{true, false} {
		inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
			proceed := make(chan struct{})
			var logins atomic.Int32
			w.cfg.Login = func(ctx context.Context) (Token, error) {
				logins.Add(1)
				if dialling {
					return dials(nil, nil)(ctx, Token{})
				}
				return w.issuer.after(proceed)(ctx, Token{})
			}
			w.restart()
			closed := w.closing()
			if len(closed) == 0 == dialling {
				t.Fatalf("dialling %t: Close waits: %t", dialling, len(closed) == 0)
			}
			close(proceed)
			if err := <-closed; err != nil {
				t.Errorf("Close: %v", err)
			}
			if w.absent() != dialling || logins.Load() != 1 {
				t.Errorf("dialling %t: stored %t after %d logins", dialling, !w.absent(), logins.Load())
			}
			if w.count(Failed) != 0 {
				t.Errorf("told %s", w.told())
			}
		})
	}
}

// A pair that is not saved yet gets one more try, with which nobody has to wait
// who asked for a token. The lease is released in any case.
func TestCloseWithAPairUnsaved(t *testing.T) {
	for _, mended := range []bool{true, false} {
		s := newHookedStore()
		inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
			w.signIn()
			answered, mend := make(chan struct{}), make(chan struct{})
			var saves atomic.Int32
			saving := func(_ context.Context, step, _ string) error {
				if step != "save" {
					return nil
				}
				if saves.Add(1) == 1 {
					return errDisk
				}
				<-mend
				return map[bool]error{false: errDisk}[mended]
			}
			w.issuer.then(func(context.Context, Token) (Token, error) {
				<-answered
				s.meet(saving)
				return w.issuer.mint(), nil
			})
			first, second := w.refreshing(), w.refreshing() // the second waits for a round that never comes
			closed := w.closing()
			close(answered)
			if err := <-first; err != nil {
				t.Errorf("Refresh: %v", err)
			}
			if err := <-second; !errors.Is(err, ErrClosed) {
				t.Errorf("the second Refresh = %v", err)
			}
			synctest.Wait()
			if len(closed) != 0 || w.leaseFree() {
				t.Error("Close did not wait for the last try, or let go of the lease")
			}
			close(mend)
			if err := <-closed; (err == nil) != mended || err != nil && !errors.Is(err, errDisk) {
				t.Errorf("mended %t: Close = %v", mended, err)
			}
			if !w.leaseFree() {
				t.Error("the lease was not released")
			}
			if got := w.stored().Tokens.AccessToken == "access-2"; got != mended {
				t.Errorf("mended %t: stored %q", mended, w.stored().Tokens.AccessToken)
			}
			s.meet(nil)
			w.open()
		})
	}
}

// Close meets a renewal at each of its steps with the store. Before the note is
// in place nothing is sent; after the answer the pair is saved. Whichever it
// was, the next client goes on with a refresh token that was never sent.
func TestCloseAtEveryStepWithTheStore(t *testing.T) {
	for i, name := range []string{"look", "lease", "load", "note", "save"} {
		t.Run(name, func(t *testing.T) {
			s := newHookedStore()
			inWorld(t, 10*time.Minute, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
				w.signIn()
				going := make(chan struct{})
				var steps atomic.Int32
				s.meet(func(ctx context.Context, step, _ string) error {
					if step == "loaded" || step == "saved" {
						return nil
					}
					if steps.Add(1) != int32(i+1) {
						return nil
					}
					select {
					case <-going:
						return nil
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				})
				w.refreshing()
				closed := w.closing()
				close(going)
				if err := <-closed; err != nil {
					t.Fatalf("Close: %v", err)
				}
				want := 0
				if name == "save" {
					want = 1
				}
				w.wantCalls(want)
				s.meet(nil)
				w.open()
				if err := w.client.Refresh(t.Context()); err != nil {
					t.Fatalf("Refresh by the next client: %v", err)
				}
				w.wantCalls(want + 1)
				w.wantNothingSpentTwice()
			})
		})
	}
}

// A sign-in that was being saved when Close came changes neither the state nor
// what is served; it is in the store for the next client.
func TestCloseDuringASignIn(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		proceed, signedIn := make(chan struct{}), make(chan error, 1)
		s.once("save", func(context.Context) error { <-proceed; return nil })
		go func() { signedIn <- w.client.SignIn(t.Context(), w.issuer.mint()) }()
		synctest.Wait()
		if err := <-w.closing(); err != nil {
			t.Errorf("Close: %v", err)
		}
		close(proceed)
		if err := <-signedIn; err != nil {
			t.Errorf("SignIn: %v", err)
		}
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrClosed) || w.client.Status().State != Closed {
			t.Errorf("Token = %v; status %+v", err, w.client.Status())
		}
		w.open()
		w.wantToken("access-1")
	})
}
