package evertoken

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// inIdleTown runs f with a pool of sessions that leave memory after ten minutes.
func inIdleTown(t *testing.T, lifetime time.Duration, change func(*PoolConfig), f func(*testing.T, *town)) {
	t.Helper()
	inTown(t, lifetime, func(c *PoolConfig) {
		c.IdleAfter = 10 * time.Minute
		if change != nil {
			change(c)
		}
	}, f)
}

// What had failed when a session left memory does not count any more if somebody else
// has renewed it since.
func TestFailureOfBeforeTheSleep(t *testing.T) {
	inIdleTown(t, time.Hour, func(c *PoolConfig) { c.ExpiryWindow = 55 * time.Minute }, func(t *testing.T, w *town) {
		w.signIn("ann")
		w.crowd.meet(func(context.Context, string) error { return &RefreshError{Outcome: Misconfigured} })
		ann := w.client("ann")
		w.pass(25 * time.Minute)
		if s := ann.Status(); s.Failures == 0 || !s.NextCheck.IsZero() {
			t.Fatalf("it is not asleep after failures: %+v", s)
		}
		w.crowd.meet(nil)
		r, err := w.stored("ann")
		if err != nil {
			t.Fatal(err)
		}
		w.put("ann", renewedElsewhere(w.clock.Now(), time.Hour)(r))
		if _, err := ann.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := ann.Status(); s.State != SignedIn || s.Failures != 0 || s.Err != nil {
			t.Errorf("Status = %+v", s)
		}
	})
}

// A session that nobody uses costs nothing after a while, and comes back when
// somebody uses it, be it through a client that they held all the time.
func TestUnusedSessionLeavesMemory(t *testing.T) {
	inIdleTown(t, 10*time.Minute, nil, func(t *testing.T, w *town) {
		w.signIn("ann")
		ann := w.client("ann")
		w.pass(9 * time.Minute)
		w.want("ann", "access-ann-2") // it is kept alive for ten minutes from here
		w.pass(9 * time.Minute)
		if n := w.crowd.sentBy("ann"); n != 3 {
			t.Errorf("renewed %d times", n)
		}
		w.pass(2 * time.Minute)
		loads := w.loads()
		w.pass(24 * time.Hour)
		if loads.Load() != 0 || w.crowd.sentBy("ann") != 3 {
			t.Errorf("%d looks and %d renewals in sleep", loads.Load(), w.crowd.sentBy("ann")-3)
		}
		if s := ann.session.served.Load(); s.Tokens.AccessToken != "" || s.Tokens.RefreshToken != "" || s.header[0] != "" {
			t.Error("its token is still in memory")
		}
		if s := ann.Status(); s.State != SignedIn || !s.NextCheck.IsZero() || s.Expiry.IsZero() || s.Reason != causeDue {
			t.Errorf("Status = %+v", s)
		}
		if r, err := w.stored("ann"); err != nil || r.Tokens.AccessToken != "access-ann-4" {
			t.Errorf("stored %q, %v", r.Tokens.AccessToken, err)
		}
		got, err := ann.Token(t.Context())
		if err != nil || got.AccessToken != "access-ann-5" {
			t.Errorf("Token = %q, %v", got.AccessToken, err)
		}
		synctest.Wait() // until its turn has ended
		if s := ann.Status(); s.State != SignedIn || s.NextCheck.IsZero() {
			t.Errorf("Status = %+v", s)
		}
		w.pass(6 * time.Minute)
		if n := w.crowd.sentBy("ann"); n != 5 {
			t.Errorf("renewed %d times, want 5", n)
		}
		if w.client("ann") != ann {
			t.Error("another client for a session that somebody holds")
		}
		if got := w.told(); got != "session started, renewed, renewed, renewed, renewed, renewed" {
			t.Errorf("told: %s", got)
		}
	})
}

// What can be done with a client can be done with one that sleeps.
func TestUseOfASleepingClient(t *testing.T) {
	for name, tt := range map[string]struct {
		use    func(context.Context, *Client) error
		err    error
		access string // afterwards; empty: signed out
		sent   int
	}{
		"Token":     {func(ctx context.Context, c *Client) error { _, err := c.Token(ctx); return err }, nil, "access-ann-1", 0},
		"transport": {func(ctx context.Context, c *Client) error { _, err := c.snapshot(ctx); return err }, nil, "access-ann-1", 0},
		"Refresh":   {func(ctx context.Context, c *Client) error { return c.Refresh(ctx) }, nil, "access-ann-2", 1},
		"SignIn": {func(ctx context.Context, c *Client) error {
			return c.SignIn(ctx, Token{AccessToken: "new", RefreshToken: "ann-9"})
		}, nil, "new", 0},
		"SignOut": {func(ctx context.Context, c *Client) error { return c.SignOut(ctx) }, nil, "", 0},
		"Close":   {func(_ context.Context, c *Client) error { return c.Close() }, nil, "access-ann-1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			inIdleTown(t, 10*time.Hour, nil, func(t *testing.T, w *town) {
				w.signIn("ann")
				ann := w.client("ann")
				w.pass(time.Hour)
				if !ann.session.known.Load().asleep() {
					t.Fatal("it does not sleep")
				}
				if err := tt.use(t.Context(), ann); !errors.Is(err, tt.err) {
					t.Errorf("%v, want %v", err, tt.err)
				}
				if tt.access == "" {
					if _, err := w.client("ann").Token(t.Context()); !errors.Is(err, ErrSignedOut) {
						t.Errorf("Token = %v", err)
					}
					if _, err := w.stored("ann"); !errors.Is(err, storage.ErrNotFound) || len(w.crowd.revocations()) != 1 {
						t.Errorf("stored: %v; revoked %q", err, w.crowd.revocations())
					}
				} else {
					w.want("ann", tt.access)
				}
				if n := w.crowd.sentBy("ann"); n != tt.sent {
					t.Errorf("%d renewals, want %d", n, tt.sent)
				}
			})
		})
	}
}

// What happened elsewhere meanwhile is told when the session comes back.
func TestNewsOfASleepingSession(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*town)
		want   Kind
		err    error
	}{
		"nothing":      {func(*town) {}, "", nil},
		"a sign-out":   {func(w *town) { _ = w.store.Memory.Delete(w.t.Context(), "ann", "") }, SessionEnded, ErrSignedOut},
		"a sign-in":    {func(w *town) { w.put("ann", signedInElsewhere(w.clock.Now(), time.Hour)) }, SessionStarted, nil},
		"damage":       {func(w *town) { w.damage("ann") }, "", storage.ErrCorrupt},
		"a store down": {func(w *town) { w.store.breaks("load") }, "", errDisk},
	} {
		t.Run(name, func(t *testing.T) {
			inIdleTown(t, 10*time.Hour, nil, func(t *testing.T, w *town) {
				w.signIn("ann")
				ann := w.client("ann") // held, or it might be collected
				w.pass(time.Hour)
				before := len(w.events)
				tt.change(w)
				if _, err := ann.Token(t.Context()); !errors.Is(err, tt.err) {
					t.Errorf("Token = %v, want %v", err, tt.err)
				}
				synctest.Wait()
				w.mu.Lock()
				defer w.mu.Unlock()
				var got Kind
				for _, e := range w.events[before:] {
					got += e.Kind
				}
				if got != tt.want {
					t.Errorf("told %q, want %q", got, tt.want)
				}
				w.store.meet(nil)
			})
		})
	}
}

func (w *town) damage(session string) {
	item, _ := w.store.Memory.Load(w.t.Context(), session)
	if _, err := w.store.Memory.Save(w.t.Context(), session, []byte("{"), item.Version); err != nil {
		w.t.Fatal(err)
	}
}

// What is not in the record does not leave memory: a pair that could not be saved,
// and a token that is still to be revoked.
func TestWhatOnlyMemoryHasStays(t *testing.T) {
	inIdleTown(t, time.Hour, nil, func(t *testing.T, w *town) {
		w.signIn("ann", "bob")
		held := []*Client{w.client("ann"), w.client("bob")} // else they might be collected
		defer runtime.KeepAlive(held)
		w.crowd.meet(func(_ context.Context, session string) error {
			if session == "bob" {
				return errors.New("cannot revoke")
			}
			w.store.breaks("save")
			return nil
		})
		if err := w.client("bob").SignOut(t.Context()); err == nil {
			t.Error("bob's session was revoked")
		}
		if err := w.client("ann").Refresh(t.Context()); err != nil {
			t.Errorf("Refresh = %v", err)
		}
		w.pass(30 * time.Minute)
		for _, s := range []string{"ann", "bob"} {
			if w.client(s).session.known.Load().asleep() {
				t.Errorf("%s sleeps", s)
			}
		}
		w.crowd.meet(nil)
		w.store.meet(nil)
		w.pass(30 * time.Minute)
		for _, s := range []string{"ann", "bob"} {
			if !w.client(s).session.known.Load().asleep() {
				t.Errorf("%s does not sleep", s)
			}
		}
		if r, err := w.stored("ann"); err != nil || r.Tokens.AccessToken != "access-ann-2" || len(w.crowd.revocations()) < 2 {
			t.Errorf("stored %q, %v; %d revocations", r.Tokens.AccessToken, err, len(w.crowd.revocations()))
		}
	})
}

// Where there is no session there is nothing to keep alive: names that somebody
// made up do not fill the memory. One with a Login stays, for it remembers who
// signed out.
func TestSignedOutSessionLeavesSoon(t *testing.T) {
	for name, login := range map[string]func(context.Context, string) (Token, error){
		"alone":      nil,
		"with Login": func(context.Context, string) (Token, error) { return Token{AccessToken: "a"}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			inIdleTown(t, time.Hour, func(c *PoolConfig) { c.Login = login }, func(t *testing.T, w *town) {
				ann := w.client("ann")
				if err := ann.SignOut(t.Context()); err != nil {
					t.Error(err)
				}
				w.pass(2 * time.Minute)
				if got, want := ann.session.known.Load().asleep(), login == nil; got != want {
					t.Errorf("asleep %t, want %t", got, want)
				}
				for range 20 { // and stays so, however often the name is used
					if _, err := w.client("ann").Token(t.Context()); !errors.Is(err, ErrSignedOut) {
						t.Fatalf("Token = %v", err)
					}
					w.pass(time.Minute)
				}
			})
		})
	}
}

// Somebody else's renewal is left alone also by a session that has just come back,
// which begins as a new client does.
func TestWokenSessionIsChecked(t *testing.T) {
	inIdleTown(t, time.Hour, nil, func(t *testing.T, w *town) {
		w.signIn("ann")
		w.pass(56 * time.Minute) // it sleeps, 4 min are left
		w.want("ann", "access-ann-1")
		w.pass(time.Minute)
		if n := w.crowd.sentBy("ann"); n != 1 {
			t.Errorf("%d renewals with the first check, want one", n)
		}
	})
}

// A client that is not used and not held is gone, and so is its place in the pool.
func TestAbandonedClientsAreCollected(t *testing.T) {
	store := storage.NewMemory()
	c := clock.New()
	far := &crowd{clock: c, lifetime: 10 * time.Hour}
	p, err := NewPool(PoolConfig{
		Config:    Config{Issuer: far, Clock: c, Store: store, Logger: slog.New(slog.DiscardHandler), CheckInterval: time.Millisecond},
		IdleAfter: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	held, err := p.Client(t.Context(), "held")
	if err == nil {
		err = held.SignIn(t.Context(), far.mint("held", 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	var gone []weak.Pointer[Client]
	for _, s := range []string{"a", "b", "c", "held"} {
		c, err := p.Client(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		gone = append(gone, weak.Make(c))
	}
	size := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.clients)
	}
	for size() > 1 { // a cleanup runs some time after the collection
		runtime.GC()
	}
	for i, w := range gone[:3] {
		if w.Value() != nil {
			t.Errorf("client %d is still there", i)
		}
	}
	if again, err := p.Client(t.Context(), "held"); err != nil || again != held {
		t.Errorf("the client that is held was replaced, %v", err)
	}
	if got, err := held.Token(t.Context()); err != nil || got.AccessToken != "access-held-1" {
		t.Errorf("Token = %q, %v", got.AccessToken, err)
	}
}

// A record that could not be read the first time is no client: the next call tries
// again.
func TestPoolClientOfAnUnreadableRecord(t *testing.T) {
	inIdleTown(t, time.Hour, nil, func(t *testing.T, w *town) {
		w.has("ann", time.Hour)
		w.store.breaks("load")
		if _, err := w.pool.Client(t.Context(), "ann"); !errors.Is(err, errDisk) {
			t.Errorf("Client = %v", err)
		}
		w.store.meet(nil)
		w.want("ann", "access-ann-1")
		w.put("bob", record.Record{})
		w.damage("bob")
		if _, err := w.client("bob").Token(t.Context()); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("Token = %v", err)
		}
		if err := w.client("bob").SignIn(t.Context(), w.crowd.mint("bob", 1)); err != nil {
			t.Errorf("SignIn = %v", err)
		}
		w.want("bob", "access-bob-1")
	})
}

// Somebody who signs out while the store is down is signed out, also of a session
// that slept: its record is deleted as soon as it can be read, and ends at the issuer.
func TestSignOutInSleepWithoutTheStore(t *testing.T) {
	inIdleTown(t, 10*time.Hour, nil, func(t *testing.T, w *town) {
		w.signIn("ann")
		ann := w.client("ann")
		w.pass(time.Hour)
		w.store.breaks("load")
		if err := ann.SignOut(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("SignOut = %v", err)
		}
		w.store.meet(nil)
		if _, err := ann.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("Token = %v", err)
		}
		w.pass(2 * time.Minute)
		if _, err := w.stored("ann"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("stored: %v", err)
		}
		if got := w.crowd.revocations(); len(got) != 1 {
			t.Errorf("revoked at the issuer: %q", got)
		}
	})
}

// To ask the pool for a client is to use it.
func TestAskingForAClientKeepsItAwake(t *testing.T) {
	inIdleTown(t, 10*time.Hour, nil, func(t *testing.T, w *town) {
		w.signIn("ann")
		for range 6 {
			w.pass(9 * time.Minute)
			if w.client("ann").session.known.Load().asleep() {
				t.Fatal("it sleeps")
			}
		}
	})
}
