package evertoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// told is a snapshot as a board is told of it.
func told(sid string, gen uint64, over bool) *snapshot {
	r := record.Record{SID: sid, Gen: gen, Over: over, Cause: causeDue}
	r.Tokens = record.Tokens{AccessToken: "a", IssuedAt: epoch, Expiry: epoch.Add(time.Hour)}
	return newSnapshot(r, 0)
}

// boardOf is a board that was told of last before.
func boardOf(c Clock, onEvent func(Event), last *snapshot) *board {
	b := &board{session: &session{common: &common{clock: c, log: slog.New(slog.DiscardHandler), herald: newHerald(onEvent), began: wall(c)}}, last: last}
	b.show(last, true, 0, nil)
	return b
}

func TestStates(t *testing.T) {
	boom, none := errors.New("boom"), &snapshot{err: ErrSignedOut}
	for _, tt := range []struct {
		name  string
		s     *snapshot
		age   time.Duration
		saved bool
		err   error
		want  State
	}{
		{"no session", none, 0, true, nil, SignedOut},
		{"no session, and a failure", none, 0, true, boom, SignedOut},
		{"all is well", told("a", 1, false), 0, true, nil, SignedIn},
		{"the last attempt failed", told("a", 1, false), 0, true, boom, Degraded},
		{"not saved", told("a", 1, false), 0, false, nil, Degraded},
		{"expired", told("a", 1, false), time.Hour, true, nil, Degraded},
		{"over, but the token is good", told("a", 1, true), 0, true, nil, Degraded},
		{"over", told("a", 1, true), time.Hour, true, nil, SignedOut},
	} {
		mock := clock.NewMock()
		mock.Set(epoch.Add(tt.age))
		b := boardOf(mock, nil, none)
		b.show(tt.s, tt.saved, 3, tt.err)
		got := b.read()
		if got.State != tt.want || got.PersistPending == tt.saved || got.Failures != 3 || !errors.Is(got.Err, tt.err) {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
		}
		if tt.s.exists() && (got.Expiry != epoch.Add(time.Hour) || got.LastRefresh != epoch || got.Reason != causeDue) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

// Since is when the state began, not when it was last confirmed.
func TestSince(t *testing.T) {
	mock := clock.NewMock()
	mock.Set(epoch)
	b := boardOf(mock, nil, &snapshot{err: ErrSignedOut})
	for at, step := range []struct {
		s    *snapshot
		want int // minutes
	}{{&snapshot{err: ErrSignedOut}, 0}, {told("a", 1, false), 1}, {told("a", 2, false), 1}, {&snapshot{err: ErrSignedOut}, 3}} {
		mock.Set(epoch.Add(time.Duration(at) * time.Minute))
		b.show(step.s, true, 0, nil)
		if got := b.read().Since; got != epoch.Add(time.Duration(step.want)*time.Minute) {
			t.Errorf("minute %d: since %v", at, got)
		}
	}
}

// A piece of news is told once, by whoever comes first.
func TestNews(t *testing.T) {
	none := &snapshot{err: ErrSignedOut}
	for _, tt := range []struct {
		name     string
		old, new *snapshot
		want     Kind
	}{
		{"nothing", none, &snapshot{err: errDisk}, ""},
		{"a sign-in", none, told("a", 1, false), SessionStarted},
		{"a note", told("a", 1, false), told("a", 1, false), ""},
		{"a newer token", told("a", 1, false), told("a", 2, false), Adopted},
		{"another sign-in", told("a", 1, false), told("b", 1, false), SessionStarted},
		{"a sign-out", told("a", 1, false), none, SessionEnded},
		{"a verdict", told("a", 1, false), told("a", 1, true), SessionEnded},
		{"the same verdict", told("a", 1, true), told("a", 1, true), ""},
		{"over, and deleted", told("a", 1, true), none, SessionEnded},
		{"a pair after the verdict", told("a", 1, true), told("a", 2, false), Adopted},
	} {
		synctest.Test(t, func(t *testing.T) {
			mock := clock.NewMock()
			mock.Set(epoch)
			var events []Event
			b := boardOf(mock, func(e Event) { events = append(events, e) }, tt.old)
			first, second := b.report(tt.new, Event{}), b.report(tt.new, Event{})
			b.herald.close()
			if first != tt.want || second != "" {
				t.Errorf("%s: told %q, then %q", tt.name, first, second)
			}
			if told := len(events); told > 1 || (told == 1) != (tt.want != "") {
				t.Errorf("%s: events %+v", tt.name, events)
			}
			for _, e := range events {
				if e.Time != epoch || e.Kind != tt.want || e.Reason != tt.new.Cause || e.Expiry != tt.new.life.expiry {
					t.Errorf("%s: %+v", tt.name, e)
				}
			}
		})
	}
}

// A callback that hangs holds up nobody; what finds no room is dropped, what found
// some is seen before Close returns.
func TestSlowCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed, seen := make(chan struct{}), 0
		b := boardOf(clock.NewMock(), func(Event) { <-proceed; seen++ }, &snapshot{err: ErrSignedOut})
		b.tell(Event{})
		synctest.Wait() // the callback has it
		for range 100 {
			b.tell(Event{})
		}
		closed := make(chan struct{})
		go func() { defer close(closed); b.herald.close() }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close did not wait for the callback")
		default:
		}
		close(proceed)
		<-closed
		if seen != 65 {
			t.Errorf("%d events, want one and 64 that waited", seen)
		}
		b.tell(Event{})
		b.herald.close()
	})
}

// The callback may call anything but Close.
func TestCallbackThatCalls(t *testing.T) {
	var w *world
	done := make(chan error, 1)
	inWorld(t, time.Hour, func(c *Config) {
		plain := c.OnEvent
		c.OnEvent = func(e Event) {
			plain(e)
			if e.Kind == SessionStarted {
				_ = w.client.Status()
				done <- w.client.Refresh(context.Background())
			}
		}
	}, func(t *testing.T, in *world) {
		w = in
		w.signIn()
		if err := <-done; err != nil || w.told() != "session started, renewed" {
			t.Errorf("Refresh = %v; told %s", err, w.told())
		}
	})
}

// Tokens that every check renews are pointed out, once, to those who have not
// chosen a window.
func TestWarningOfShortLives(t *testing.T) {
	for _, tt := range []struct {
		lifetime time.Duration
		fraction float64
		want     int
	}{{5 * time.Minute, 0, 1}, {5*time.Minute + time.Second, 0, 0}, {5 * time.Minute, 0.25, 0}} {
		var log strings.Builder
		inWorld(t, tt.lifetime, func(c *Config) {
			c.Logger, c.WindowFraction = slog.New(slog.NewTextHandler(&log, nil)), tt.fraction
		}, func(_ *testing.T, w *world) {
			w.signIn()
			w.pass(20 * time.Minute)
		})
		if got := strings.Count(log.String(), "WindowFraction"); got != tt.want {
			t.Errorf("%v, fraction %v: warned %d times\n%s", tt.lifetime, tt.fraction, got, log.String())
		}
	}
	inWorld(t, 0, nil, func(_ *testing.T, w *world) { // of an unknown expiry nothing can be said
		var log strings.Builder
		w.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		w.restart()
		w.issuer.then(func(context.Context, Token) (Token, error) { return Token{AccessToken: "opaque"}, nil })
		_ = w.client.SignIn(w.t.Context(), Token{RefreshToken: "r"})
		synctest.Wait()
		if w.issuer.calls() != 1 || strings.Contains(log.String(), "WindowFraction") {
			w.t.Error(log.String())
		}
	})
}

// Machines sleep, and then the monotonic clock has stood still.
func TestWall(t *testing.T) {
	if now := wall(clock.New()); now != now.Round(0) {
		t.Error("it has a monotonic reading")
	}
}

// The last events are kept, oldest first, and the caller's slice is a copy.
func TestHistory(t *testing.T) {
	b := boardOf(clock.NewMock(), nil, &snapshot{err: ErrSignedOut})
	if got := b.herald.history(); len(got) != 0 {
		t.Errorf("before anything was told: %v", got)
	}
	b.herald.most = history
	for n := 1; n <= 3*history+5; n++ {
		b.tell(Event{Took: time.Duration(n)})
		got := b.herald.history()
		if want := min(n, history); len(got) != want || got[0].Took != time.Duration(n-want+1) || got[want-1].Took != time.Duration(n) {
			t.Fatalf("after %d: %d events, from %d to %d", n, len(got), got[0].Took, got[len(got)-1].Took)
		}
		got[0] = Event{}
	}
}

// Events tell of what was sent how long it took, and who waited for it.
func TestEventsOfAnOutage(t *testing.T) {
	store := newHookedStore()
	inWorld(t, 10*time.Minute, func(c *Config) { c.Store = store }, func(t *testing.T, w *world) {
		slow := func(err error) func(context.Context, Token) (Token, error) {
			return func(context.Context, Token) (Token, error) {
				timer := w.clock.Timer(2 * time.Second)
				<-timer.C
				if err != nil {
					return Token{}, err
				}
				return w.issuer.mint(), nil
			}
		}
		w.signIn()
		w.pass(time.Minute)
		w.issuer.then(slow(&RefreshError{Outcome: Unavailable}), slow(&RefreshError{Outcome: NotSent}), slow(nil))
		for n := range 3 {
			done := w.refreshing()
			synctest.Wait()
			if s := w.client.Status(); s.Waiting != 1 || s.Lease != "here" {
				t.Errorf("during the exchange: %d wait, lease %q", s.Waiting, s.Lease)
			}
			w.pass(2 * time.Second)
			if err := <-done; (err == nil) != (n == 2) {
				t.Errorf("exchange %d: %v", n, err)
			}
			w.pass(3 * time.Second)
		}
		if s := w.client.Status(); s.Waiting != 0 || s.Lease != "" {
			t.Errorf("afterwards: %d wait, lease %q", s.Waiting, s.Lease)
		}
		store.breaks("lease")
		_ = w.client.Refresh(t.Context())
		var got []string
		for _, e := range w.client.Events() {
			got = append(got, fmt.Sprintf("%s %v %d", e.Kind, e.Took, e.Waiting))
		}
		want := []string{"session started 0s 0", "checked 0s 0", "failed 2s 1", "failed 0s 1", "renewed 2s 1", "failed 0s 1"}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%q, want\n%q", got, want)
		}
	})
}

// A login and a verdict are exchanges as well.
func TestTook(t *testing.T) {
	inWorld(t, time.Hour, func(c *Config) {
		c.Login = func(context.Context) (Token, error) {
			<-c.Clock.Timer(time.Second).C
			return c.Issuer.(*farIssuer).mint(), nil
		}
	}, func(t *testing.T, w *world) {
		w.pass(time.Minute)
		w.pass(time.Second)
		if e := w.last(SessionStarted); e.Took != time.Second {
			t.Errorf("the login took %v", e.Took)
		}
		w.issuer.then(func(context.Context, Token) (Token, error) {
			<-w.clock.Timer(3 * time.Second).C
			return Token{}, &RefreshError{Outcome: Rejected}
		})
		done := w.refreshing()
		w.pass(3 * time.Second)
		w.pass(time.Minute)
		if err := <-done; err != nil {
			t.Errorf("Login did not mend it: %v", err)
		}
		if e := w.last(SessionEnded); e.Took != 3*time.Second {
			t.Errorf("the verdict took %v", e.Took)
		}
	})
}

// What the store failed at is told until it works, whatever the issuer does.
func TestStoreErr(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		for _, step := range []string{"load", "save", "lease"} {
			s.breaks(step)
			err := w.client.Refresh(t.Context())
			if got := w.client.Status().StoreErr; err == nil || !errors.Is(got, errDisk) {
				t.Errorf("%s: Refresh = %v, StoreErr = %v", step, err, got)
			}
			s.meet(nil)
			w.pass(2 * time.Minute)
			if err := w.client.Refresh(t.Context()); err != nil || w.client.Status().StoreErr != nil {
				t.Errorf("%s: afterwards Refresh = %v, %+v", step, err, w.client.Status())
			}
		}
		w.issuer.then(fails(&RefreshError{Outcome: Unavailable}))
		if err := w.client.Refresh(t.Context()); err == nil || w.client.Status().StoreErr != nil {
			t.Errorf("Refresh = %v; that is not the store's fault: %v", err, w.client.Status().StoreErr)
		}
	})
}

// An attempt that another process has left open is told, and a lease that it keeps
// for long is no failure of the store.
func TestLeaseElsewhere(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		lease, err := w.store.(storage.Leaser).Acquire(t.Context(), "default", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		w.change(func(r record.Record) record.Record { return r.Announced("other", causeDue, wall(w.clock)) })
		done := w.refreshing()
		synctest.Wait()
		if s := w.client.Status(); s.Lease != "elsewhere" {
			t.Errorf("while it is waited for: lease %q", s.Lease)
		}
		w.pass(time.Minute)
		err = <-done
		if s := w.client.Status(); err == nil || s.StoreErr != nil || s.Err == nil || s.Lease != "elsewhere" {
			t.Errorf("Refresh = %v, status %+v", err, s)
		}
		lease.Release()
		w.change(renewedElsewhere(wall(w.clock), time.Hour))
		w.pass(time.Minute)
		if s := w.client.Status(); s.Lease != "" || s.Err != nil {
			t.Errorf("when it has ended: %+v", s)
		}
	})
}

// A check that cannot read the record has found nothing out.
func TestChecked(t *testing.T) {
	s := newHookedStore()
	inWorld(t, 2*time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.pass(time.Minute)
		w.signIn()
		w.pass(time.Minute)
		if n, e := w.count(Checked), w.last(Checked); n != 2 || e.Expiry != epoch.Add(time.Minute).Add(2*time.Hour) {
			t.Errorf("%d checks, the last %+v", n, e)
		}
		s.breaks("load")
		w.pass(time.Minute)
		if n := w.count(Checked); n != 2 {
			t.Errorf("%d checks; the last could not read", n)
		}
	})
}
