package evertoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken/storage"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// farIssuer is the far end: each call is answered by the next of its scripted
// answers, and by a new token of a fixed lifetime when there is none.
type farIssuer struct {
	clock    Clock
	lifetime time.Duration
	met      func() // called first by each refresh; may be nil

	mu      sync.Mutex
	script  []func(ctx context.Context, t Token) (Token, error)
	sent    []string    // the refresh tokens, in order
	at      []time.Time // when
	revoked []string
	refusal error // what Revoke returns
	minted  int
}

func (f *farIssuer) Refresh(ctx context.Context, t Token) (Token, error) {
	if f.met != nil {
		f.met()
	}
	f.mu.Lock()
	f.sent = append(f.sent, t.RefreshToken)
	f.at = append(f.at, f.clock.Now())
	var answer func(context.Context, Token) (Token, error)
	if len(f.script) > 0 {
		answer, f.script = f.script[0], f.script[1:]
	}
	f.mu.Unlock()
	if answer != nil {
		return answer(ctx, t)
	}
	return f.mint(), nil
}

func (f *farIssuer) mint() Token {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.minted++
	return Token{
		AccessToken:  fmt.Sprintf("access-%d", f.minted),
		RefreshToken: fmt.Sprintf("refresh-%d", f.minted),
		Expiry:       f.clock.Now().Add(f.lifetime),
	}
}

func (f *farIssuer) Revoke(_ context.Context, t Token) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = append(f.revoked, t.RefreshToken)
	return f.refusal
}

// revocations lists the refresh tokens that were to be revoked, in order.
func (f *farIssuer) revocations() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.revoked, " ")
}

func (f *farIssuer) Origins() []string { return []string{"https://api.example.com"} }

func (f *farIssuer) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sent)
}

func (f *farIssuer) then(answers ...func(context.Context, Token) (Token, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = append(f.script, answers...)
}

// after answers with a new token once proceed is closed, whatever happens meanwhile.
func (f *farIssuer) after(proceed <-chan struct{}) func(context.Context, Token) (Token, error) {
	return func(context.Context, Token) (Token, error) {
		<-proceed
		return f.mint(), nil
	}
}

func fails(err error) func(context.Context, Token) (Token, error) {
	return func(context.Context, Token) (Token, error) { return Token{}, err }
}

// A world is one client in a bubble, with the far end and the clock in hand.
type world struct {
	t      *testing.T
	clock  movable
	issuer *farIssuer
	store  storage.Store
	client *Client
	cfg    Config
	draw   float64 // what the random source always draws
	events []Event
	mu     sync.Mutex
}

// A movable clock is what a test can move.
type movable interface {
	Clock
	Add(d time.Duration)
	Set(t time.Time)
}

// inWorld runs f in a bubble. The first check comes a full interval after the
// start, and backoff takes its ceiling, for the random source always draws zero.
func inWorld(t *testing.T, lifetime time.Duration, change func(*Config), f func(*testing.T, *world)) {
	t.Helper()
	inWorldOf(t, func() movable { return clock.NewMock() }, lifetime, change, f)
}

// inWorldOfMany is for several clients, who live on the time of the bubble: timers
// of a mock clock must not be made by many goroutines while it is moved.
func inWorldOfMany(t *testing.T, lifetime time.Duration, change func(*Config), f func(*testing.T, *world)) {
	t.Helper()
	inWorldOf(t, func() movable { return bubbleClock{clock.New()} }, lifetime, change, f)
}

func inWorldOf(t *testing.T, newClock func() movable, lifetime time.Duration, change func(*Config), f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, clock: newClock(), store: storage.NewMemory()}
		w.clock.Set(epoch)
		w.issuer = &farIssuer{clock: w.clock, lifetime: lifetime}
		w.cfg = Config{Issuer: w.issuer, Clock: w.clock, Store: w.store, Logger: slog.New(slog.DiscardHandler)}
		w.cfg.OnEvent = func(e Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		}
		if change != nil {
			change(&w.cfg)
		}
		w.store = w.cfg.Store
		w.open()
		synctest.Wait() // the loop sleeps; what wakes it is the test's doing
		defer func() {
			if err := w.client.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
		f(t, w)
	})
}

func (w *world) open() {
	w.t.Helper()
	c, err := newClient(w.t.Context(), w.cfg, func() float64 { return w.draw })
	if err != nil {
		w.t.Fatalf("New: %v", err)
	}
	w.client = c
}

func (w *world) signIn() {
	w.t.Helper()
	if err := w.client.SignIn(w.t.Context(), w.issuer.mint()); err != nil {
		w.t.Fatalf("SignIn: %v", err)
	}
	synctest.Wait()
}

// pass lets time go by. The mock clock goes from timer to timer and sleeps after
// each, which in a bubble means until what happened at that instant is done; unless
// two timers meet there, when it may leave somebody behind in mid-step. They meet at
// round instants, so it pauses at these.
func (w *world) pass(d time.Duration) {
	synctest.Wait()
	for end := w.clock.Now().Add(d); w.clock.Now().Before(end); synctest.Wait() {
		now := w.clock.Now()
		w.clock.Add(earliest(end, now.Truncate(10*time.Second).Add(10*time.Second)).Sub(now))
	}
}

func (w *world) count(k Kind) (n int) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// told lists the events so far but the checks, in order.
func (w *world) told() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var kinds []string
	for _, e := range w.events {
		if e.Kind != Checked {
			kinds = append(kinds, string(e.Kind))
		}
	}
	return strings.Join(kinds, ", ")
}

// last is the newest event of a kind.
func (w *world) last(k Kind) (last Event) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind == k {
			last = e
		}
	}
	return last
}

// wantToken asks for the token as a request does, for a minute at most.
func (w *world) wantToken(access string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	got, err := w.client.Token(ctx)
	if err != nil || got.AccessToken != access {
		w.t.Fatalf("Token = %q, %v; want %q", got.AccessToken, err, access)
	}
}

func (w *world) wantCalls(n int) {
	w.t.Helper()
	synctest.Wait()
	if got := w.issuer.calls(); got != n {
		w.t.Fatalf("the issuer saw %d refreshes, want %d", got, n)
	}
}

func (w *world) wantNothingSpentTwice() {
	w.t.Helper()
	w.issuer.mu.Lock()
	defer w.issuer.mu.Unlock()
	seen := map[string]bool{}
	for _, s := range w.issuer.sent {
		if seen[s] {
			w.t.Fatalf("refresh token %q was sent twice", s)
		}
		seen[s] = true
	}
}

// Every row is run for a day, or for as long as sixty renewals take.
func TestSchedule(t *testing.T) {
	for _, tt := range []struct {
		lifetime time.Duration
		fraction float64
		first    time.Duration // until the first renewal
		span     time.Duration
		want     int // renewals in it
	}{
		{120 * time.Minute, 0, 116 * time.Minute, 24 * time.Hour, 12}, // at 115 min exactly 5 min are left: not less
		{10 * time.Minute, 0, 6 * time.Minute, 6 * time.Hour, 60},
		{5 * time.Minute, 0, time.Minute, time.Hour, 60}, // every check
		{5 * time.Minute, 0.25, 4 * time.Minute, 4 * time.Hour, 60},
		{90 * time.Second, 0, time.Minute, time.Hour, 60},
		{20 * time.Second, 0, 10*time.Second + 1, 10*time.Minute + time.Second, 60},
	} {
		t.Run(fmt.Sprintf("%v/%v", tt.lifetime, tt.fraction), func(t *testing.T) {
			inWorld(t, tt.lifetime, func(c *Config) { c.WindowFraction = tt.fraction }, func(t *testing.T, w *world) {
				w.signIn()
				w.issuer.met = func() {
					if !w.client.session.served.Load().alive(w.clock.Now()) {
						t.Errorf("token had expired before it was renewed at %v", w.clock.Now().Sub(epoch))
					}
				}
				w.pass(tt.span)
				w.wantCalls(tt.want)
				if got := w.issuer.at[0].Sub(epoch); got != tt.first {
					t.Errorf("first refresh after %v, want %v", got, tt.first)
				}
				w.wantNothingSpentTwice()
			})
		})
	}
}

// What a failed attempt means while the old token is valid, and once it is not.
func TestOutcomes(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name  string
		err   error
		calls int           // straight away, with the retry that is allowed at once
		wait  time.Duration // until the next attempt
	}{
		{"ambiguous, closed: one prompt retry, then 30 s before the end", &RefreshError{Err: boom}, 2, 8*time.Minute + 29*time.Second - 6*time.Minute},
		{"a foreign error is ambiguous", boom, 2, 8*time.Minute + 29*time.Second - 6*time.Minute},
		{"not sent: backoff", &RefreshError{Outcome: NotSent, Err: boom}, 1, time.Second},
		{"unavailable: backoff", &RefreshError{Outcome: Unavailable, StatusCode: 502}, 1, time.Second},
		{"unavailable: Retry-After", &RefreshError{Outcome: Unavailable, StatusCode: 429, RetryAfter: 40 * time.Second}, 1, 40 * time.Second},
		{"misconfigured: 5 min", &RefreshError{Outcome: Misconfigured, Code: "invalid_client"}, 1, 3 * time.Minute}, // the token ends first, see below
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
				w.signIn()
				for range 40 {
					w.issuer.then(fails(tt.err))
				}
				w.pass(6 * time.Minute)
				w.wantCalls(tt.calls)
				w.wantToken("access-1") // served whatever the issuer does
				if s := w.client.Status(); s.State != Degraded || s.Err == nil || s.Failures == 0 {
					t.Errorf("Status = %+v, want degraded with the error", s)
				}
				w.pass(tt.wait - time.Millisecond)
				w.wantCalls(tt.calls)
				w.issuer.mu.Lock()
				w.issuer.script = nil
				w.issuer.mu.Unlock()
				w.pass(2*time.Minute + time.Millisecond)
				if w.issuer.calls() <= tt.calls {
					t.Fatalf("no attempt after the wait")
				}
				w.wantToken("access-2")
				if s := w.client.Status(); s.State != SignedIn || s.Err != nil || s.Failures != 0 {
					t.Errorf("Status after success = %+v", s)
				}
			})
		})
	}
}

func TestRejectedEndsTheSession(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(fails(&RefreshError{Outcome: Rejected, Code: "invalid_grant"}))
		w.pass(6 * time.Minute)
		w.wantCalls(1)
		w.wantToken("access-1") // still valid
		w.pass(5 * time.Minute)
		w.wantCalls(1) // a dead refresh token is not sent again
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Fatalf("Token after expiry: %v, want ErrSignedOut", err)
		}
		if w.count(SessionEnded) != 1 {
			t.Errorf("want one SessionEnded event, got %d", w.count(SessionEnded))
		}
		w.signIn()
		w.wantToken("access-2")
	})
}

func TestSilenceIsWaitedOut(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(ctx context.Context, _ Token) (Token, error) {
			<-ctx.Done()
			return Token{}, context.Cause(ctx)
		})
		w.pass(6 * time.Minute) // 4 min are left: an attempt may take 3
		w.pass(3 * time.Minute)
		w.wantCalls(1)
		if err := w.client.Status().Err; !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Status.Err = %v, want a deadline", err)
		}
		w.pass(28 * time.Second)
		w.wantCalls(1)
		w.pass(2 * time.Second)
		w.wantCalls(2) // the last try, before the access token dies
		w.wantToken("access-2")
	})
}

func TestNewestRefreshTokenBesideAnError(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			return Token{RefreshToken: "delivered", Extra: map[string]string{"key": "new"}}, &RefreshError{Err: errors.New("body lost")}
		})
		w.pass(6*time.Minute + time.Second)
		w.wantCalls(2)
		if got := w.issuer.sent[1]; got != "delivered" {
			t.Fatalf("second attempt sent %q, want the newest refresh token", got)
		}
		if got := w.stored().Tokens.Extra["key"]; got != "new" {
			t.Fatalf("Extra came with it and was not kept: %q", got)
		}
	})
}

func TestNoProgressBacksOff(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		same, err := w.client.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			w.issuer.then(func(context.Context, Token) (Token, error) { return same, nil })
		}
		w.pass(9 * time.Minute)
		if n := w.issuer.calls(); n < 2 || n > 6 {
			t.Fatalf("%d refreshes of a token that does not change, want a few", n)
		}
	})
}

func TestExpiredTokenIsRenewedOnce(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.issuer.then(func(context.Context, Token) (Token, error) {
			<-release
			return w.issuer.mint(), nil
		})
		if err := w.client.SignIn(t.Context(), Token{AccessToken: "old", RefreshToken: "r", Expiry: epoch.Add(-time.Hour)}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var served atomic.Int32
		for range 1000 {
			wg.Go(func() {
				if tok, err := w.client.Token(t.Context()); err == nil && tok.AccessToken == "access-1" {
					served.Add(1)
				}
			})
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if served.Load() != 1000 {
			t.Fatalf("%d of 1000 got the new token", served.Load())
		}
		w.wantCalls(1)
	})
}

func TestCallerLeavesAndTheTokenIsSaved(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.issuer.then(func(context.Context, Token) (Token, error) {
			<-release
			return w.issuer.mint(), nil
		})
		if err := w.client.SignIn(t.Context(), Token{RefreshToken: "r"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() { _, err := w.client.Token(ctx); failed <- err }()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Fatalf("Token = %v, want Canceled", err)
		}
		close(release)
		synctest.Wait()
		w.wantToken("access-1")
		w.wantCalls(1)
		w.restart()
		w.wantToken("access-1") // it was saved
	})
}

func (w *world) restart() {
	w.t.Helper()
	if err := w.client.Close(); err != nil {
		w.t.Fatalf("Close: %v", err)
	}
	w.open()
	synctest.Wait()
}

func TestCloseLetsAWrittenExchangeFinish(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		release := make(chan struct{})
		w.issuer.then(func(ctx context.Context, _ Token) (Token, error) {
			select {
			case <-release:
				return w.issuer.mint(), nil
			case <-ctx.Done():
				return Token{}, context.Cause(ctx)
			}
		})
		go func() { _ = w.client.Refresh(t.Context()) }()
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- w.client.Close() }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Fatalf("Close did not wait for the exchange: %v", err)
		default:
		}
		close(release)
		if err := <-closed; err != nil {
			t.Fatalf("Close: %v", err)
		}
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrClosed) {
			t.Fatalf("Token after Close: %v", err)
		}
		w.open()
		w.wantToken("access-2")
	})
}

func TestSignOutDuringARenewal(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		release := make(chan struct{})
		w.issuer.then(func(context.Context, Token) (Token, error) {
			<-release
			return w.issuer.mint(), nil
		})
		done := make(chan error)
		go func() { done <- w.client.Refresh(t.Context()) }()
		synctest.Wait()
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Fatalf("SignOut: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrSignedOut) {
			t.Fatalf("Refresh = %v, want ErrSignedOut", err)
		}
		close(release)
		synctest.Wait()
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Fatalf("Token = %v, want ErrSignedOut", err)
		}
		if _, err := w.store.Load(t.Context(), "default"); !errors.Is(err, storage.ErrNotFound) {
			t.Fatalf("the store still has a record: %v", err)
		}
		w.issuer.mu.Lock()
		defer w.issuer.mu.Unlock()
		if got := fmt.Sprint(w.issuer.revoked); got != "[refresh-1 refresh-2]" {
			t.Fatalf("revoked %s, want the old and the late refresh token", got)
		}
	})
}

func TestSignInDuringARenewal(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		release := make(chan struct{})
		w.issuer.then(func(context.Context, Token) (Token, error) {
			<-release
			return Token{AccessToken: "late", RefreshToken: "late", Expiry: w.clock.Now().Add(time.Hour)}, nil
		})
		done := make(chan error)
		go func() { done <- w.client.Refresh(t.Context()) }()
		synctest.Wait()
		w.signIn()
		w.wantToken("access-2")
		if err := <-done; err != nil {
			t.Fatalf("Refresh = %v, though somebody has signed in", err)
		}
		close(release)
		w.pass(2 * time.Minute)
		w.wantToken("access-2") // the late renewal of the other session is dropped
		w.issuer.mu.Lock()
		defer w.issuer.mu.Unlock()
		if len(w.issuer.revoked) != 0 {
			t.Fatalf("revoked %v: the two sessions may share a grant", w.issuer.revoked)
		}
	})
}

// sleeper is a clock whose wall time jumps while its timers stand still.
type sleeper struct {
	*clock.Mock
	slept atomic.Int64
}

func (s *sleeper) Now() time.Time { return s.Mock.Now().Add(time.Duration(s.slept.Load())) }

func TestSuspend(t *testing.T) {
	var nap *sleeper
	inWorld(t, 120*time.Minute, func(c *Config) {
		nap = &sleeper{Mock: c.Clock.(*clock.Mock)}
		c.Clock = nap
	}, func(t *testing.T, w *world) {
		w.issuer.clock = nap
		w.signIn()
		w.pass(10 * time.Minute)
		w.wantCalls(0)
		nap.slept.Store(int64(8 * time.Hour))
		w.wantToken("access-2") // met by a request, before any timer fires
		w.wantCalls(1)
	})
}

// Where the clock was a year ahead when an attempt failed, the next one does not
// wait for a year once that has been put right.
func TestClockThatIsSetBack(t *testing.T) {
	ahead := &sleeper{}
	inWorld(t, time.Hour, func(c *Config) {
		ahead.Mock = c.Clock.(*clock.Mock)
		ahead.slept.Store(int64(365 * 24 * time.Hour))
		c.Clock, c.Issuer.(*farIssuer).clock = ahead, ahead
	}, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(fails(&RefreshError{Outcome: Misconfigured}))
		if err := w.client.Refresh(t.Context()); err == nil {
			t.Fatal("Refresh succeeded")
		}
		synctest.Wait() // the loop has planned its next look by the clock that is ahead
		ahead.slept.Store(0)
		w.pass(4 * time.Minute)
		if err := w.client.Refresh(t.Context()); err == nil {
			t.Fatal("the pause of five minutes was cut short")
		}
		w.pass(3 * time.Minute) // the pause began anew with the first look since
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh = %v", err)
		}
	})
}

// withClockAhead runs f in a world whose clock is ahead of the mock by d, until back is
// called.
func withClockAhead(t *testing.T, d, lifetime time.Duration, f func(t *testing.T, w *world, back func())) {
	t.Helper()
	ahead := &sleeper{}
	inWorld(t, lifetime, func(c *Config) {
		ahead.Mock = c.Clock.(*clock.Mock)
		ahead.slept.Store(int64(d))
		c.Clock, c.Issuer.(*farIssuer).clock = ahead, ahead
	}, func(t *testing.T, w *world) {
		w.signIn()
		synctest.Wait()
		f(t, w, func() { ahead.slept.Store(0) })
	})
}

// A token does not live longer because the clock that measured it was set back: not by
// more than the time between two looks at it.
func TestTokenOfAClockThatIsSetBack(t *testing.T) {
	withClockAhead(t, 10*time.Hour, time.Hour, func(t *testing.T, w *world, back func()) {
		back()
		w.pass(2 * time.Minute)
		if left := w.client.Status().Expiry.Sub(w.clock.Now()); left > 59*time.Minute {
			t.Errorf("it lives for another %v", left)
		}
		w.pass(56 * time.Minute)
		w.wantCalls(1)
		w.wantToken("access-2")
	})
}

// Nor are 401s left alone for longer.
func TestA401AfterTheClockWasSetBack(t *testing.T) {
	withClockAhead(t, 10*time.Hour, 20*time.Hour, func(t *testing.T, w *world, back func()) {
		w.client.replace(t.Context(), w.client.session.served.Load())
		if err := w.client.Refresh(t.Context()); err != nil { // now there is a token that no 401 has made
			t.Fatal(err)
		}
		back()
		w.pass(2 * time.Minute)
		w.client.replace(t.Context(), w.client.session.served.Load())
		w.wantCalls(3)
	})
}

// Where it was set back during an exchange, what follows from that is by the new time.
func TestClockThatIsSetBackDuringAnExchange(t *testing.T) {
	withClockAhead(t, 2*time.Hour, time.Hour, func(t *testing.T, w *world, back func()) {
		w.issuer.then(func(context.Context, Token) (Token, error) {
			back()
			return Token{}, &RefreshError{Outcome: Unavailable, RetryAfter: 30 * time.Minute}
		})
		for range 20 {
			if err := w.client.Refresh(t.Context()); err == nil {
				t.Fatal("it was sent again although the issuer asked for half an hour")
			}
			w.pass(time.Minute)
		}
		w.pass(11 * time.Minute)
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh = %v", err)
		}
		if left := w.client.Status().Expiry.Sub(w.clock.Now()); left != time.Hour {
			t.Errorf("the new token lives for %v", left)
		}
		w.wantCalls(2)
	})
}

// Nor does a clock that was ahead keep Login back.
func TestLoginAfterTheClockWasSetBack(t *testing.T) {
	ahead := &sleeper{}
	inWorldWithLogin(t, time.Hour, func(c *Config) {
		ahead.Mock = c.Clock.(*clock.Mock)
		ahead.slept.Store(int64(365 * 24 * time.Hour))
		c.Clock, c.Issuer.(*farIssuer).clock = ahead, ahead
	}, func(t *testing.T, w *world, logins *atomic.Int32) {
		w.restart()
		ahead.slept.Store(0)
		w.issuer.then(fails(&RefreshError{Outcome: Rejected}))
		_ = w.client.Refresh(t.Context()) // ends the session
		w.pass(3 * time.Minute)
		if n := logins.Load(); n != 2 {
			t.Fatalf("%d logins, want another within the interval", n)
		}
	})
}

func TestLoginWhileTheIssuerIsDown(t *testing.T) {
	var logins atomic.Int32
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		down := errors.New("connection refused")
		w.cfg.Login = func(context.Context) (Token, error) {
			if logins.Add(1) <= 3 {
				return Token{}, down
			}
			return w.issuer.mint(), nil
		}
		w.restart()
		if _, err := w.client.Token(t.Context()); !errors.Is(err, down) {
			t.Fatalf("Token = %v, want the login's error", err)
		}
		w.pass(10 * time.Second)
		if n := logins.Load(); n != 1 {
			t.Fatalf("%d logins within one check interval", n)
		}
		w.pass(4 * time.Minute)
		w.wantToken("access-1")
		if n := logins.Load(); n != 4 {
			t.Fatalf("%d logins, want 4", n)
		}
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pass(10 * time.Minute)
		if n := logins.Load(); n != 4 {
			t.Fatalf("Login was called after SignOut")
		}
	})
}

func TestRejectedLoginWaitsLonger(t *testing.T) {
	var logins atomic.Int32
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.cfg.Login = func(context.Context) (Token, error) {
			logins.Add(1)
			return Token{}, &RefreshError{Outcome: Rejected, Description: "wrong password"}
		}
		w.restart()
		w.pass(36 * time.Minute) // at 0, 5, 15 and 35 min
		if n := logins.Load(); n != 4 {
			t.Fatalf("%d logins with a wrong password in 36 min, want 4", n)
		}
	})
}

// brokenStore fails steps at will.
type brokenStore struct {
	*storage.Memory
	load, save atomic.Bool
}

var errDisk = errors.New("disk full")

func (b *brokenStore) Load(ctx context.Context, key string) (storage.Item, error) {
	if b.load.Load() {
		return storage.Item{}, errDisk
	}
	return b.Memory.Load(ctx, key)
}

func (b *brokenStore) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	if b.save.Load() {
		return "", errDisk
	}
	return b.Memory.Save(ctx, key, data, prev)
}

func TestNothingIsSentWithoutANote(t *testing.T) {
	store := &brokenStore{Memory: storage.NewMemory()}
	inWorld(t, 10*time.Minute, func(c *Config) { c.Store = store }, func(t *testing.T, w *world) {
		w.signIn()
		store.save.Store(true)
		w.pass(9 * time.Minute)
		w.wantCalls(0)
		w.wantToken("access-1")
		if s := w.client.Status(); !errors.Is(s.Err, errDisk) || s.State != Degraded {
			t.Fatalf("Status = %+v, want the store's error", s)
		}
		// At its end the lasting lease is enough: nobody else can be sending.
		w.pass(2 * time.Minute)
		w.wantToken("access-2")
		if s := w.client.Status(); !s.PersistPending {
			t.Fatalf("Status = %+v, want PersistPending", s)
		}
		store.save.Store(false)
		w.pass(time.Minute)
		if s := w.client.Status(); s.PersistPending {
			t.Fatalf("Status = %+v, want it saved", s)
		}
		w.restart()
		w.wantToken(w.client.session.served.Load().Tokens.AccessToken)
		for i, s := range w.issuer.sent {
			if want := fmt.Sprintf("refresh-%d", i+1); s != want {
				t.Fatalf("refresh %d sent %s, want %s", i, s, want)
			}
		}
	})
}

func TestSaveFailsAfterSuccess(t *testing.T) {
	store := &brokenStore{Memory: storage.NewMemory()}
	inWorld(t, 10*time.Minute, func(c *Config) { c.Store = store }, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			store.save.Store(true)
			return w.issuer.mint(), nil
		})
		w.pass(6 * time.Minute)
		w.wantCalls(1)
		w.wantToken("access-1") // nothing is published before it is saved
		w.pass(3*time.Minute + 58*time.Second)
		w.wantToken("access-1")
		w.pass(3 * time.Second)
		w.wantToken("access-2") // unless the old token has ended
		w.wantCalls(1)          // and the spent one is not sent again
		store.save.Store(false)
		w.pass(time.Minute)
		w.restart()
		w.wantToken("access-2")
	})
}

func TestUnreadableStoreNeverSignsOut(t *testing.T) {
	store := &brokenStore{Memory: storage.NewMemory()}
	inWorld(t, 10*time.Minute, func(c *Config) { c.Store = store }, func(t *testing.T, w *world) {
		w.signIn()
		store.load.Store(true)
		w.pass(9 * time.Minute)
		w.wantToken("access-1")
		w.wantCalls(0)
		w.pass(2 * time.Minute)
		if _, err := w.client.Token(t.Context()); !errors.Is(err, errDisk) || errors.Is(err, ErrSignedOut) {
			t.Fatalf("Token = %v, want the store's error", err)
		}
		store.load.Store(false)
		w.pass(2 * time.Minute)
		w.wantToken("access-2")
	})
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		store.load.Store(true)
		w.cfg.Store = store
		if _, err := New(t.Context(), w.cfg); !errors.Is(err, errDisk) {
			t.Fatalf("New on an unreadable store: %v", err)
		}
	})
}

func TestTwoClientsShareASession(t *testing.T) {
	inWorldOfMany(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		other, err := newClient(t.Context(), w.cfg, func() float64 { return 0.5 })
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		w.pass(330 * time.Minute)
		w.wantCalls(60) // their checks lie 30 s apart, so one of them is due 5 min 30 s after each renewal
		w.wantNothingSpentTwice()
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		if _, err := other.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Fatalf("the other client was not signed out: %v", err)
		}
	})
}

// A token of five minutes is always due. However many processes look at it, they
// renew it once a minute together: whoever finds another one's new token leaves
// it alone until the next look.
func TestTokensThatAreAlwaysDueAreRenewedByOne(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Minute} { // which has them look more often than they check
		fourRenewAsOne(t, grace)
	}
}

func fourRenewAsOne(t *testing.T, grace time.Duration) {
	t.Helper()
	known := func(c *Config) { c.Issuer = graceIssuer{c.Issuer.(*farIssuer), grace} }
	inWorldOfMany(t, 5*time.Minute, known, func(t *testing.T, w *world) {
		w.signIn()
		for _, draw := range []float64{0.25, 0.5, 0.75} {
			other, err := newClient(t.Context(), w.cfg, func() float64 { return draw })
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Close() }()
		}
		w.pass(time.Hour)
		w.wantNothingSpentTwice()
		if n := w.issuer.calls(); n < 50 || n > 65 {
			t.Errorf("with a grace of %v four clients made %d renewals in an hour; want about one a minute", grace, n)
		}
	})
}

// SignOut of a damaged record leaves none, and keeps the bytes for somebody to look at.
func TestSignOutOfADamagedRecord(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		const damaged = `{"evertoken":1,"sid":"x`
		if _, err := w.store.Save(t.Context(), "default", []byte(damaged), ""); err != nil {
			t.Fatal(err)
		}
		w.restart()
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Errorf("SignOut = %v", err)
		}
		if _, err := w.store.Load(t.Context(), "default"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("there is still a record: %v", err)
		}
		if aside, err := w.store.Load(t.Context(), "default.corrupt"); err != nil || string(aside.Data) != damaged {
			t.Errorf("kept aside: %q, %v", aside.Data, err)
		}
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("Token = %v", err)
		}
	})
}

func TestDamagedRecord(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		if _, err := w.store.Save(t.Context(), "default", []byte(`{"evertoken":1,"sid":"x`), ""); err != nil {
			t.Fatal(err)
		}
		w.restart()
		if _, err := w.client.Token(t.Context()); !errors.Is(err, storage.ErrCorrupt) || errors.Is(err, ErrSignedOut) {
			t.Fatalf("Token = %v, want ErrCorrupt", err)
		}
		if _, err := w.store.Load(t.Context(), "default.corrupt"); !errors.Is(err, storage.ErrNotFound) {
			t.Fatalf("moved before it was replaced: %v", err)
		}
		w.signIn()
		w.wantToken("access-1")
		item, err := w.store.Load(t.Context(), "default.corrupt")
		if err != nil || string(item.Data) != `{"evertoken":1,"sid":"x` {
			t.Fatalf("kept aside %q, %v", item.Data, err)
		}
	})
}

// A sealing store finds the damage itself.
func TestDamagedSealedRecord(t *testing.T) {
	inner := storage.NewMemory()
	inWorld(t, time.Hour, func(c *Config) { c.Store = storage.Encrypt(inner, make([]byte, 32)) }, func(t *testing.T, w *world) {
		if _, err := inner.Save(t.Context(), "default", []byte("junk"), ""); err != nil {
			t.Fatal(err)
		}
		w.restart()
		if _, err := w.client.Token(t.Context()); !errors.Is(err, storage.ErrCorrupt) || errors.Is(err, ErrSignedOut) {
			t.Fatalf("Token = %v, want ErrCorrupt", err)
		}
		w.signIn()
		w.wantToken("access-1")
		if item, err := w.store.Load(t.Context(), "default.corrupt"); err != nil || string(item.Data) != "junk" {
			t.Fatalf("kept aside %q, %v", item.Data, err)
		}
		w.restart()
		w.wantToken("access-1")
	})
}

func TestRecordOfANewerRelease(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		if _, err := w.store.Save(t.Context(), "default", []byte(`{"evertoken":7}`), ""); err != nil {
			t.Fatal(err)
		}
		_, err := New(t.Context(), w.cfg)
		if err == nil || err.Error() != `evertoken: session "default": its record has format 7, written by a newer release; this one reads up to 1` {
			t.Fatalf("New = %v", err)
		}
	})
}

func TestBadConfigNamesAllFaults(t *testing.T) {
	_, err := New(t.Context(), Config{CheckInterval: -1, ExpiryWindow: -1, WindowFraction: 2, Origins: []string{"http://example.com", "ftp://x", "https://u:secret@x"}})
	want := `evertoken: bad Config: Issuer is missing; CheckInterval is negative: -1ns; ExpiryWindow is negative: -1ns; ` +
		`WindowFraction is not between 0 and 1: 2; Origins[0] "http://example.com" would send tokens in the clear: use https, or http on loopback; ` +
		`Origins[1] "ftp://x" has neither scheme https nor http; Origins[2] holds a user name: an origin is scheme://host[:port]`
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %v", err, want)
	}
}

// A number without its unit is nanoseconds.
func TestConfigWithoutUnits(t *testing.T) {
	_, err := New(t.Context(), Config{CheckInterval: 60, ExpiryWindow: 300, Issuer: &farIssuer{}, Origins: []string{"https://api.example.com"}})
	want := "evertoken: bad Config: CheckInterval is 60ns, less than a millisecond; ExpiryWindow is 300ns, less than a millisecond"
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %v", err, want)
	}
}

// answering is the far end of a transport.
type answering func(*http.Request) (*http.Response, error)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// No storm: a server that refuses every token is answered with one renewal, and
// then ever fewer.
func TestRefusedTokens(t *testing.T) {
	var requests atomic.Int32
	base := answering(func(r *http.Request) (*http.Response, error) {
		requests.Add(1)
		return &http.Response{StatusCode: 401, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	})
	inWorld(t, 2*time.Hour, func(c *Config) { c.Base = base }, func(t *testing.T, w *world) {
		w.signIn()
		get := func() int {
			resp, err := w.client.HTTP().Get("https://api.example.com/x")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			return resp.StatusCode
		}
		if got := get(); got != 401 || requests.Load() != 2 {
			t.Fatalf("status %d after %d requests, want a replay and its 401", got, requests.Load())
		}
		w.wantCalls(1)
		for range 100 {
			get()
			w.pass(10 * time.Second)
		}
		w.wantCalls(1) // the renewed token was made by a 401: it starts no other
		if got := requests.Load(); got != 102 {
			t.Errorf("%d requests: some were sent again with the same token", got)
		}
	})
}
