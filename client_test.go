package evertoken

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken/internal/agenda"
	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// The context of New ends when the constructor is left, in many programs.
func TestContextOfNewServesNewOnly(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		c, err := newClient(ctx, w.cfg, func() float64 { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		cancel()
		synctest.Wait()
		if err := c.SignIn(t.Context(), w.issuer.mint()); err != nil {
			t.Fatalf("SignIn: %v", err)
		}
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh: %v", err)
		}
	})
}

func TestStatusFromTheStart(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		if s := w.client.Status(); s.State != SignedOut || s.NextCheck != epoch.Add(time.Minute) || s.Since != epoch {
			t.Errorf("Status without a session = %+v", s)
		}
		w.signIn()
		w.restart()
		if s := w.client.Status(); s.State != SignedIn || s.Expiry != epoch.Add(time.Hour) || s.Reason != causeSignIn || s.LastRefresh != epoch {
			t.Errorf("Status of a stored session = %+v", s)
		}
		w.pass(time.Minute)
		if s := w.client.Status(); s.NextCheck != epoch.Add(2*time.Minute) {
			t.Errorf("next check at %v", s.NextCheck)
		}
	})
}

func TestStatusOfADamagedRecord(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		if _, err := w.store.Save(t.Context(), "default", []byte("{"), ""); err != nil {
			t.Fatal(err)
		}
		w.restart()
		if s := w.client.Status(); s.State != SignedOut || !errors.Is(s.Err, storage.ErrCorrupt) {
			t.Errorf("Status = %+v", s)
		}
	})
}

func TestIssuerWithoutOrigins(t *testing.T) {
	if _, err := New(t.Context(), Config{Issuer: struct{ Issuer }{}}); err == nil || !strings.Contains(err.Error(), "Origins is empty") {
		t.Fatalf("New = %v", err)
	}
}

func TestClosed(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.pass(time.Second)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := w.client.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
		wg.Wait()
		_, err := w.client.Token(t.Context())
		for name, err := range map[string]error{
			"Token": err, "Refresh": w.client.Refresh(t.Context()),
			"SignIn": w.client.SignIn(t.Context(), w.issuer.mint()), "SignOut": w.client.SignOut(t.Context()),
		} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s = %v, want ErrClosed", name, err)
			}
		}
		if s := w.client.Status(); s.State != Closed || !s.NextCheck.IsZero() || s.Since != epoch.Add(time.Second) {
			t.Errorf("Status = %+v", s)
		}
		if w.absent() || w.stored().Tokens.AccessToken != "access-1" {
			t.Error("a closed client changed the store")
		}
	})
}

// A request may come just when the loop has ended.
func TestTokenWhenTheLoopHasEnded(t *testing.T) {
	inWorld(t, time.Hour, func(c *Config) {
		c.Login = func(context.Context) (Token, error) { return Token{}, errors.New("not to be called") }
	}, func(t *testing.T, w *world) {
		w.client.loop.stop()
		<-w.client.loop.done
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := w.client.Token(ctx); !errors.Is(err, ErrClosed) {
			t.Fatalf("Token = %v", err)
		}
	})
}

// What the client was told last counts at once, and is told once, although its
// loop is still at work for the session before.
func TestSignInAndOutWhileTheLoopIsBusy(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		proceed := make(chan struct{})
		w.issuer.then(w.issuer.after(proceed))
		done := make(chan error)
		go func() { done <- w.client.Refresh(t.Context()) }()
		synctest.Wait()
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := w.client.Status(); s.State != SignedOut || !s.Expiry.IsZero() {
			t.Errorf("Status after SignOut = %+v", s)
		}
		if !w.absent() {
			t.Error("the record is still there")
		}
		w.signIn()
		if s := w.client.Status(); s.State != SignedIn || s.Reason != causeSignIn {
			t.Errorf("Status after SignIn = %+v", s)
		}
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		close(proceed)
		if err := <-done; !errors.Is(err, ErrSignedOut) {
			t.Errorf("Refresh = %v", err)
		}
		if got := w.told(); got != "session started, session ended, session started, session ended" {
			t.Errorf("told: %s", got)
		}
	})
}

func TestSignOutWhenSignedOut(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.issuer.revocations(); len(w.issuer.revoked) != 0 {
			t.Errorf("revoked %q", got)
		}
		if err := w.client.Refresh(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("Refresh = %v", err)
		}
	})
}

// A revocation that failed is tried again with each check, for an hour.
func TestFailedRevocationIsTriedAgain(t *testing.T) {
	down := errors.New("connection refused")
	for name, tt := range map[string]struct {
		until time.Duration // the issuer is down
		want  int           // tries in three hours
	}{"comes back": {150 * time.Second, 4}, "does not": {5 * time.Hour, 61}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
				w.signIn()
				w.issuer.refusal = down
				if err := w.client.SignOut(t.Context()); !errors.Is(err, down) || !strings.Contains(err.Error(), "revoke") {
					t.Fatalf("SignOut = %v, want the issuer's error", err)
				}
				if !w.absent() {
					t.Error("the session is still stored")
				}
				for passed := time.Duration(0); passed < 3*time.Hour; passed += 30 * time.Second {
					if passed >= tt.until {
						w.issuer.mu.Lock()
						w.issuer.refusal = nil
						w.issuer.mu.Unlock()
					}
					w.pass(30 * time.Second)
				}
				if got := len(w.issuer.revoked); got != tt.want {
					t.Errorf("tried %d times, want %d", got, tt.want)
				}
			})
		})
	}
}

// An issuer that is down costs each check one try, whoever is still to be signed
// out there, and a silent one ten seconds.
func TestRevocationsDoNotHoldTheLoopUp(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.issuer.refusal = errors.New("connection refused")
		for range 3 {
			w.signIn()
			if err := w.client.SignOut(t.Context()); !errors.Is(err, w.issuer.refusal) {
				t.Fatalf("SignOut = %v", err)
			}
		}
		w.pass(3 * time.Minute)
		if got := w.issuer.revocations(); got != "refresh-1 refresh-2 refresh-3 refresh-1 refresh-2 refresh-3" {
			t.Fatalf("tried to revoke %s", got)
		}
		w.issuer.refusal = nil
		w.pass(2 * time.Minute)
		if got := w.issuer.revocations(); !strings.HasSuffix(got, " refresh-3 refresh-1 refresh-2 refresh-3") {
			t.Fatalf("revoked %s", got)
		}
		w.cfg.Issuer = silentRevoker{w.issuer}
		w.restart()
		w.signIn()
		done := make(chan error, 1)
		go func() { done <- w.client.SignOut(t.Context()) }()
		w.pass(10 * time.Second)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("SignOut = %v", err)
		}
	})
}

type silentRevoker struct{ *farIssuer }

func (silentRevoker) Revoke(ctx context.Context, _ Token) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// inWorldWithLogin is inWorld for a client, once restarted, that signs in by itself, and counts how often.
func inWorldWithLogin(t *testing.T, lifetime time.Duration, change func(*Config), f func(*testing.T, *world, *atomic.Int32)) {
	t.Helper()
	var logins atomic.Int32
	inWorld(t, lifetime, change, func(t *testing.T, w *world) {
		w.cfg.Login = func(context.Context) (Token, error) {
			logins.Add(1)
			return w.issuer.mint(), nil
		}
		f(t, w, &logins)
	})
}

// SignOut keeps Login from being called, and a later sign-in by whomever takes
// that back.
func TestLoginAfterASignOut(t *testing.T) {
	verdict := fails(&RefreshError{Outcome: Rejected, Code: "invalid_grant"})
	for name, signIn := range map[string]func(*world){
		"signed in here": func(w *world) { w.signIn() },
		"signed in elsewhere": func(w *world) {
			w.leave(signedInElsewhere(w.clock.Now(), time.Hour))
			w.pass(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorldWithLogin(t, time.Hour, nil, func(t *testing.T, w *world, logins *atomic.Int32) {
				w.signIn()
				w.restart()
				if err := w.client.SignOut(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.pass(5 * time.Minute)
				if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrSignedOut) || logins.Load() != 0 {
					t.Fatalf("Token = %v after %d logins", err, logins.Load())
				}
				signIn(w)
				w.issuer.then(verdict)
				if err := w.client.Refresh(t.Context()); err != nil {
					t.Fatalf("Refresh = %v, want a new session", err)
				}
				if logins.Load() != 1 {
					t.Fatalf("%d logins after a sign-in and the issuer's verdict", logins.Load())
				}
			})
		})
	}
}

// Whoever asked to sign out is not signed in again by the loop, even if they did
// not stay until it was their turn.
func TestSignOutThatCouldNotWait(t *testing.T) {
	s := newHookedStore()
	inWorldWithLogin(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world, logins *atomic.Int32) {
		w.signIn()
		w.restart()
		proceed := make(chan struct{})
		s.once("load", func(context.Context) error { <-proceed; return nil })
		go func() { _ = w.client.Refresh(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.client.SignOut(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "wait") {
			t.Fatalf("SignOut = %v", err)
		}
		w.issuer.then(fails(&RefreshError{Outcome: Rejected}))
		close(proceed)
		w.pass(10 * time.Minute)
		if logins.Load() != 0 {
			t.Fatal("signed in again")
		}
	})
}

// SignOut comes while a SignIn is being saved: the later of the two counts.
func TestSignOutDuringASignIn(t *testing.T) {
	s := newHookedStore()
	inWorldWithLogin(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world, logins *atomic.Int32) {
		w.signIn()
		w.restart()
		proceed, signedIn, signedOut := make(chan struct{}), make(chan error), make(chan error)
		s.once("save", func(context.Context) error { <-proceed; return nil })
		go func() { signedIn <- w.client.SignIn(t.Context(), w.issuer.mint()) }()
		synctest.Wait()
		go func() { signedOut <- w.client.SignOut(t.Context()) }()
		synctest.Wait()
		close(proceed)
		if err := errors.Join(<-signedIn, <-signedOut); err != nil {
			t.Fatal(err)
		}
		w.pass(10 * time.Minute)
		if logins.Load() != 0 {
			t.Fatal("signed in again after SignOut")
		}
	})
}

// A token that lives for seconds is renewed in time, although it came while the
// loop slept until the next tick.
func TestSignInWakesTheLoop(t *testing.T) {
	inWorld(t, 20*time.Second, nil, func(_ *testing.T, w *world) {
		w.pass(5 * time.Second)
		w.signIn()
		w.pass(11 * time.Second)
		w.wantCalls(1)
	})
}

// A refresh token alone is a session: its first access token is fetched before
// anybody asks for it.
func TestSignInWithARefreshTokenAlone(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		if err := w.client.SignIn(t.Context(), Token{RefreshToken: "r"}); err != nil {
			t.Fatal(err)
		}
		w.wantCalls(1)
		if e := w.last(Renewed); e.Reason != causeExpired {
			t.Errorf("renewed because %q", e.Reason)
		}
	})
}

func TestSignInThatCannotBeSaved(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		s.breaks("save")
		if err := w.client.SignIn(t.Context(), w.issuer.mint()); !errors.Is(err, errDisk) {
			t.Fatalf("SignIn = %v", err)
		}
		s.meet(nil)
		w.wantToken("access-1")
		if got := w.stored().Tokens.AccessToken; got != "access-1" {
			t.Fatalf("stored %q", got)
		}
	})
}

// Somebody who refreshed the token in vain is told why, and what it means.
func TestRefreshTellsTheVerdict(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(fails(&RefreshError{Outcome: Rejected, Code: "invalid_grant"}))
		var failed *RefreshError
		if err := w.client.Refresh(t.Context()); !errors.Is(err, ErrSignedOut) || !errors.As(err, &failed) || failed.Code != "invalid_grant" {
			t.Errorf("Refresh = %v", err)
		}
		if e := w.last(SessionEnded); !errors.As(e.Err, &failed) || e.Outcome != Rejected {
			t.Errorf("event %+v", e)
		}
		if err := w.client.Refresh(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("the second Refresh = %v", err)
		}
		w.wantCalls(1)
	})
}

// A refused token is replaced by a newer one that is there already, which costs
// nothing: the next 401 may still ask for a renewal.
func TestRefusedTokenThatHasBeenReplaced(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		refused := w.client.session.served.Load()
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := w.client.replace(t.Context(), refused)
		if s == nil || s.Tokens.AccessToken != "access-2" {
			t.Fatalf("replaced by %+v", s)
		}
		w.wantCalls(1)
		if again := w.client.replace(t.Context(), s); again == nil || again.Tokens.AccessToken != "access-3" {
			t.Fatalf("the newer one replaced by %+v", again)
		}
		w.issuer.then(fails(&RefreshError{Outcome: Unavailable, RetryAfter: time.Hour}))
		w.pass(time.Hour + time.Second)
		if s := w.client.replace(t.Context(), s); s != nil {
			t.Fatal("replaced by a token that has ended")
		}
	})
}

// Requests that were refused the same token share one renewal, whether it is
// still wished for or under way; a token of another sign-in gets its own.
func TestRefusedRequestsShareOneRenewal(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		refused := w.client.session.served.Load()
		looking, sending := make(chan struct{}), make(chan struct{})
		s.once("load", func(context.Context) error { <-looking; return nil })
		w.issuer.then(w.issuer.after(sending))
		got := make(chan *snapshot)
		ask := func(refused *snapshot) {
			go func() { got <- w.client.replace(t.Context(), refused) }()
			synctest.Wait()
		}
		go func() { _, _ = w.client.Token(t.Context()); w.client.loop.poke() }()
		synctest.Wait() // the loop looks, for no wish
		ask(refused)
		ask(refused)
		close(looking)
		synctest.Wait() // it sends
		ask(refused)
		close(sending)
		for range 3 {
			if s := <-got; s == nil || s.Tokens.AccessToken != "access-2" {
				t.Fatalf("replaced by %+v", s)
			}
		}
		w.wantCalls(1)
	})
}

func TestRefusedTokenOfANewSignInDuringARenewal(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		sending := make(chan struct{})
		w.issuer.then(w.issuer.after(sending))
		got := make(chan *snapshot, 2)
		ask := func() {
			refused := w.client.session.served.Load()
			go func() { got <- w.client.replace(t.Context(), refused) }()
			synctest.Wait()
		}
		ask()
		w.signIn()
		ask()
		close(sending)
		synctest.Wait()
		if first, second := <-got, <-got; (first == nil) == (second == nil) {
			t.Fatalf("replaced by %v and %v; want a token for the second sign-in alone", first, second)
		}
		w.wantCalls(2)
	})
}

// Refresh tells that the session has ended also if that is found out on the way.
func TestRefreshOfASessionThatEndedElsewhere(t *testing.T) {
	for name, end := range map[string]func(*world){
		"signed out": func(w *world) {
			if err := w.store.Delete(w.t.Context(), "default", ""); err != nil {
				w.t.Fatal(err)
			}
		},
		"a verdict": func(w *world) { w.change(record.Record.Ended) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
				w.signIn()
				end(w)
				if err := w.client.Refresh(t.Context()); !errors.Is(err, ErrSignedOut) {
					t.Errorf("Refresh = %v", err)
				}
				w.wantCalls(0)
			})
		})
	}
}

// A request whose token was refused waits for the Login that follows a verdict, and is
// sent again. Somebody else's sign-in is another matter.
func TestA401ThatEndsInALogin(t *testing.T) {
	inWorldWithLogin(t, time.Hour, nil, func(t *testing.T, w *world, logins *atomic.Int32) {
		w.restart()
		w.pass(2 * time.Minute)
		w.issuer.then(fails(&RefreshError{Outcome: Rejected}))
		refused := w.client.session.served.Load()
		s := w.client.replace(t.Context(), refused)
		if s == nil || s.sameToken(refused) || logins.Load() != 2 {
			t.Errorf("after %d logins it is replaced by %+v", logins.Load(), s)
		}
	})
}

// Whoever waits for a token, and gives up, sees a timeout as net/http tells it.
func TestWaitThatTimesOut(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.issuer.then(silent)
		if err := w.client.SignIn(t.Context(), Token{AccessToken: "dead", RefreshToken: "once", Expiry: w.clock.Now()}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.example.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.client.HTTP().Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		var failed *url.Error
		if !errors.As(err, &failed) || !failed.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it fails with %v", err)
		}
		w.pass(2 * time.Minute) // until silence is taken for a failure
	})
}

// The token of one sign-in is refused while another holds the same one.
func TestSameTokenOfTwoSignIns(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		token := w.issuer.mint()
		if err := w.client.SignIn(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		refused := w.client.session.served.Load()
		if err := w.client.SignIn(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if s := w.client.replace(t.Context(), refused); s != nil {
			t.Errorf("replaced by %+v", s)
		}
		w.wantCalls(0)
	})
}

// A wish that was fulfilled while it waited costs no other renewal, and does not
// fail for a store that has broken down since.
func TestWishThatIsFulfilledAlready(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		sending := make(chan struct{})
		w.issuer.then(w.issuer.after(sending))
		done := make(chan error)
		for range 2 {
			go func() { done <- w.client.Refresh(t.Context()) }()
			synctest.Wait() // the first is taken, the second waits
		}
		s.once("saved", func(context.Context) error { s.breaks("load"); return nil })
		close(sending)
		if err := errors.Join(<-done, <-done); err != nil {
			t.Fatalf("Refresh: %v", err)
		}
		w.wantCalls(1)
	})
}

// idleLoop is a loop whose turns do not come.
func idleLoop() *refresher {
	r := &refresher{common: &common{
		clock: clock.NewMock(), sched: schedule{interval: time.Minute}, agenda: new(agenda.Agenda), level: slog.LevelError,
	}}
	r.board = &board{session: &session{common: r.common}}
	r.agenda.Open(&r.entry, r)
	return r
}

func TestWishIsAboutTheNewestToken(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, _ *world) {
		older := &snapshot{Record: record.Record{SID: "s", Gen: 1}}
		newer := &snapshot{Record: record.Record{SID: "s", Gen: 2}}
		other := &snapshot{Record: record.Record{SID: "other", Gen: 1}}
		for name, tt := range map[string]struct{ first, second, want *snapshot }{
			"newer last": {older, newer, newer}, "newer first": {newer, older, newer}, "another sign-in": {newer, other, other},
		} {
			r := idleLoop()
			r.ask("", nil)
			r.ask(causeAsked, tt.first)
			if w := r.ask(causeAsked, tt.second); w.about != tt.want {
				t.Errorf("%s: about gen %d of %s", name, w.about.Gen, w.about.SID)
			}
		}
	})
}

// Who waits for a token has it as soon as somebody signs in, and is told as soon
// as somebody signs out; the exchange that they waited for may take minutes.
func TestWaitingEndsWithTheSession(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(*world) error
		want error
	}{
		"sign-in":  {func(w *world) error { return w.client.SignIn(w.t.Context(), w.issuer.mint()) }, nil},
		"sign-out": {func(w *world) error { return w.client.SignOut(w.t.Context()) }, ErrSignedOut},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
				w.signIn()
				proceed := make(chan struct{})
				defer close(proceed)
				w.issuer.then(w.issuer.after(proceed))
				w.pass(time.Hour)
				got := make(chan error, 2)
				for range 2 { // the second comes when the loop has taken the wish of the first
					go func() { _, err := w.client.Token(t.Context()); got <- err }()
					synctest.Wait()
				}
				if err := tt.end(w); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := <-got; !errors.Is(err, tt.want) {
						t.Errorf("Token = %v, want %v", err, tt.want)
					}
				}
			})
		})
	}
}

// An issuer says itself what is wrong with it; what follows from that is not
// told as well.
func TestIssuerThatIsAtFault(t *testing.T) {
	_, err := New(t.Context(), Config{Issuer: faultyIssuer{}, CheckInterval: -1})
	if want := "evertoken: bad Config: Issuer: no URL; CheckInterval is negative: -1ns"; err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %v", err, want)
	}
}

type faultyIssuer struct{ Issuer }

func (faultyIssuer) Validate() error { return errors.New("no URL") }

// An attempt failed, but meanwhile another process has made a token: that is
// what was asked for.
func TestTokenThatCameBesideAFailure(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.issuer.then(func(context.Context, Token) (Token, error) {
			w.change(renewedElsewhere(w.clock.Now(), time.Hour))
			return Token{}, &RefreshError{Outcome: NotSent}
		})
		if err := w.client.SignIn(t.Context(), Token{RefreshToken: "r"}); err != nil {
			t.Fatal(err)
		}
		w.wantToken("elsewhere")
	})
}

// A 401 for a token that had ended on its way says nothing against the next one,
// whose own 401 is answered at once.
func TestRefusedTokenThatHadEnded(t *testing.T) {
	var nap *sleeper
	inWorld(t, 2*time.Hour, func(c *Config) {
		nap = &sleeper{Mock: c.Clock.(*clock.Mock)}
		c.Clock, c.Issuer.(*farIssuer).clock = nap, nap
	}, func(t *testing.T, w *world) {
		w.signIn()
		refused := w.client.session.served.Load()
		nap.slept.Store(int64(8 * time.Hour))
		for want := range 2 {
			s := w.client.replace(t.Context(), refused)
			if s == nil || s.sameToken(refused) {
				t.Fatalf("refusal %d: replaced by %+v", want+1, s)
			}
			refused = s
		}
		w.wantCalls(2)
	})
}

// A sign-in ends the wishes of the session before, and no others.
func TestSupersededWishes(t *testing.T) {
	old := &snapshot{Record: record.Record{SID: "old", Gen: 1}}
	signedIn := &snapshot{Record: record.Record{SID: "new", Gen: 1}}
	r := idleLoop()
	first := r.ask(causeAsked, old)
	r.take()
	second := r.ask(causeAsked, signedIn)
	r.supersede(signedIn)
	for w, want := range map[*wish]bool{first: true, second: false} {
		select {
		case <-w.done:
			if !want {
				t.Error("a wish of the new session was ended")
			}
		default:
			if want {
				t.Error("a wish of the old session was not ended")
			}
		}
	}
}

// While Login is under way the client looks again now, not never.
func TestNextCheckWhileSigningIn(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		proceed := make(chan struct{})
		w.cfg.Login = func(ctx context.Context) (Token, error) { return w.issuer.after(proceed)(ctx, Token{}) }
		w.restart()
		if s := w.client.Status(); s.NextCheck != epoch {
			t.Errorf("looks again at %v", s.NextCheck)
		}
		close(proceed)
	})
}

// Refusals of one token share one wish, also while the loop is at work on it.
func TestRefusalsShareAWish(t *testing.T) {
	one := &snapshot{Record: record.Record{SID: "s", Gen: 1, Tokens: record.Tokens{AccessToken: "one"}}}
	two := &snapshot{Record: record.Record{SID: "s", Gen: 2, Tokens: record.Tokens{AccessToken: "two"}}}
	r := idleLoop()
	first := r.ask(causeRefused, one)
	waiting := r.ask(causeRefused, one)
	r.take()
	if taken := r.ask(causeRefused, one); waiting != first || taken != first {
		t.Error("a wish of its own for the same token")
	}
	if r.ask(causeRefused, two) == first {
		t.Error("joined the wish for another token")
	}
}
