package evertoken

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// stored returns the record as the store holds it.
func (w *world) stored() record.Record {
	w.t.Helper()
	item, err := w.store.Load(w.t.Context(), "default")
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := record.Decode("default", item.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// leave puts a record into the store as another process would have left it.
func (w *world) leave(r record.Record) {
	w.t.Helper()
	data, err := r.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Delete(w.t.Context(), "default", ""); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.Save(w.t.Context(), "default", data, ""); err != nil {
		w.t.Fatal(err)
	}
}

// A process was killed after it had sent. What it sent may still be processed,
// so the next one waits: a moment, or until the access token is about to end.
func TestSomebodyElsesOpenNote(t *testing.T) {
	for _, tt := range []struct {
		name  string
		left  time.Duration // of the access token
		first time.Duration // until the refresh token is sent again
	}{
		{"token has ended", -time.Minute, 3 * time.Second},
		{"token has 4 min left", 4 * time.Minute, 4*time.Minute - time.Second - 30*time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, time.Hour, nil, func(_ *testing.T, w *world) {
				token := Token{AccessToken: "old", TokenType: "Bearer", RefreshToken: "r", IssuedAt: epoch.Add(tt.left - 10*time.Minute), Expiry: epoch.Add(tt.left)}
				r := record.First(record.Tokens(token), causeSignIn)
				r.Note = record.Note{Owner: "a process that was killed", N: 1, Began: epoch.Add(-5 * time.Second)}
				w.leave(r)
				w.restart()
				w.pass(tt.first-time.Second, time.Second)
				w.wantCalls(0)
				w.pass(2*time.Second, time.Second)
				w.wantCalls(1)
				w.wantToken("access-1")
			})
		})
	}
}

// The note says whether the refresh token may have been spent.
func TestNoteAfterAnAttempt(t *testing.T) {
	for _, tt := range []struct {
		err  error
		open bool
	}{
		{&RefreshError{Outcome: NotSent}, false},
		{&RefreshError{Outcome: Unavailable, StatusCode: 503}, false},
		{&RefreshError{Outcome: Misconfigured}, false},
		{&RefreshError{Outcome: Unavailable, StatusCode: 403}, true},
		{&RefreshError{Outcome: Ambiguous}, true},
	} {
		inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
			w.signIn()
			w.issuer.then(fails(tt.err), fails(tt.err))
			w.pass(6*time.Minute, time.Minute)
			if n := w.stored().Note; n.Open() != tt.open || n.N == 0 {
				t.Errorf("after %v: note %+v, want open = %v", tt.err, n, tt.open)
			}
		})
	}
}

func TestSignOutThatCouldNotDelete(t *testing.T) {
	store := &brokenStore{Memory: storage.NewMemory()}
	inWorld(t, time.Hour, func(c *Config) { c.Store = store }, func(t *testing.T, w *world) {
		w.signIn()
		store.load.Store(true)
		if err := w.client.SignOut(t.Context()); !errors.Is(err, errDisk) {
			t.Fatalf("SignOut = %v, want the store's error", err)
		}
		store.load.Store(false)
		w.pass(2*time.Minute, time.Minute)
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Fatalf("the session came back: %v", err)
		}
		if _, err := store.Load(t.Context(), "default"); !errors.Is(err, storage.ErrNotFound) {
			t.Fatalf("the record is still there: %v", err)
		}
	})
}

func TestSignOutElsewhereIsNotSignedInAgain(t *testing.T) {
	var logins atomic.Int32
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.cfg.Login = func(context.Context) (Token, error) {
			logins.Add(1)
			return w.issuer.mint(), nil
		}
		w.restart()
		w.wantToken("access-1")
		if err := w.store.Delete(t.Context(), "default", ""); err != nil {
			t.Fatal(err)
		}
		w.pass(10*time.Minute, time.Minute)
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrSignedOut) || logins.Load() != 1 {
			t.Fatalf("Token = %v after %d logins", err, logins.Load())
		}
	})
}

func TestTokenThatHadEndedOnArrival(t *testing.T) {
	inWorld(t, -time.Second, nil, func(t *testing.T, w *world) {
		if err := w.client.SignIn(t.Context(), Token{RefreshToken: "r"}); err != nil {
			t.Fatal(err)
		}
		var failed *RefreshError
		if _, err := w.client.Token(t.Context()); !errors.As(err, &failed) || !strings.Contains(err.Error(), "on arrival") {
			t.Fatalf("Token = %v", err)
		}
		w.pass(10*time.Minute, time.Second)
		if n := w.issuer.calls(); n > 20 {
			t.Fatalf("%d refreshes in 10 min: a storm", n)
		}
	})
}

// While the new pair is not saved nobody else may send: the lease is kept.
func TestLeaseIsKeptUntilThePairIsSaved(t *testing.T) {
	store := &brokenStore{Memory: storage.NewMemory()}
	inWorld(t, 10*time.Minute, func(c *Config) { c.Store = store }, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			store.save.Store(true)
			return w.issuer.mint(), nil
		})
		w.pass(6*time.Minute, time.Minute)
		if w.leaseFree() {
			t.Fatal("the lease was free while the pair was not saved")
		}
		store.save.Store(false)
		w.pass(time.Minute, time.Second)
		if !w.leaseFree() {
			t.Fatal("the lease was kept after the pair was saved")
		}
	})
}

// leaseFree says whether somebody else can have the lease.
func (w *world) leaseFree() bool {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	lease, err := w.cfg.Store.(storage.Leaser).Acquire(ctx, "default", time.Second)
	if err == nil {
		lease.Release()
	}
	return err == nil
}

func TestRefusedTokenOfAnotherSignIn(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		refused := w.client.session.served.Load()
		w.signIn()
		if s := w.client.replace(t.Context(), refused); s != nil {
			t.Fatal("a request of one user would be replayed as another")
		}
	})
}

// A token that was refused because it had ended on its way is replaced as often
// as that happens: only tokens that should be good are suspicious.
func TestTokenThatEndedOnItsWayIsReplaced(t *testing.T) {
	var nap *sleeper
	inWorld(t, 10*time.Second, func(c *Config) {
		nap = &sleeper{Mock: c.Clock.(*clock.Mock)}
		c.Clock = nap
	}, func(t *testing.T, w *world) {
		w.issuer.clock = nap
		w.signIn()
		for n := range 5 {
			sent := w.client.session.served.Load()
			nap.slept.Add(int64(10 * time.Second)) // frozen: no timer fires
			if s := w.client.replace(t.Context(), sent); s == nil || s.sameToken(sent) {
				t.Fatalf("replacement %d: none", n+1)
			}
		}
	})
}

func TestAnswerWithoutARefreshTokenKeepsTheOldOne(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			t := w.issuer.mint()
			t.RefreshToken = ""
			return t, nil
		})
		w.pass(13*time.Minute, time.Minute)
		w.wantCalls(2)
		if got := w.issuer.sent[1]; got != "refresh-1" {
			t.Fatalf("the second refresh sent %q", got)
		}
	})
}

func TestSignInOverARecordThatChanged(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.leave(record.First(record.Tokens(Token{AccessToken: "elsewhere", TokenType: "Bearer", Expiry: epoch.Add(time.Hour)}), causeSignIn))
		w.signIn()
		w.wantToken("access-2")
		if got := w.stored().Tokens.AccessToken; got != "access-2" {
			t.Fatalf("stored %q", got)
		}
		if err := w.client.SignIn(t.Context(), Token{}); err == nil {
			t.Fatal("SignIn took an empty token")
		}
		if err := w.client.SignIn(t.Context(), Token{AccessToken: "a\r\nX: y"}); err == nil || strings.Contains(err.Error(), "X: y") {
			t.Fatalf("SignIn of a token that breaks the header: %v", err)
		}
	})
}

func TestSignInElsewhereIsSeenWithinOneInterval(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.leave(record.First(record.Tokens(Token{AccessToken: "elsewhere", TokenType: "Bearer", IssuedAt: epoch, Expiry: epoch.Add(time.Hour)}), causeSignIn))
		w.pass(time.Minute, time.Second)
		w.wantToken("elsewhere")
		synctest.Wait()
		if s := w.client.Status(); s.State != SignedIn {
			t.Fatalf("Status = %+v", s)
		}
	})
}

// Another host's clock is an hour ahead: its token is not trusted for longer
// than it can live.
func TestClockOfAnotherHost(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.leave(record.First(record.Tokens(Token{AccessToken: "elsewhere", TokenType: "Bearer", IssuedAt: epoch.Add(time.Hour), Expiry: epoch.Add(70 * time.Minute)}), causeSignIn))
		w.pass(time.Minute, time.Second)
		if left := w.client.Status().Expiry.Sub(w.clock.Now()); left > 10*time.Minute {
			t.Fatalf("a token of 10 min has %v left", left)
		}
	})
}

// A wrappingIssuer has requests sent its own way.
type wrappingIssuer struct{ *farIssuer }

func (wrappingIssuer) Wrap(base http.RoundTripper, s TokenSource) http.RoundTripper {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		token, err := s.Token(req.Context())
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Header.Set("Proof", "for "+token.AccessToken)
		return base.RoundTrip(req)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestIssuerThatWraps(t *testing.T) {
	var proof string
	base := roundTrip(func(req *http.Request) (*http.Response, error) {
		proof = req.Header.Get("Proof")
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})
	inWorld(t, time.Hour, func(c *Config) {
		far, _ := c.Issuer.(*farIssuer)
		c.Issuer, c.Base = wrappingIssuer{far}, base
	}, func(t *testing.T, w *world) {
		w.signIn()
		resp, err := w.client.HTTP().Get("https://api.example.com/")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if proof != "for access-1" {
			t.Fatalf("the wrapper added %q", proof)
		}
	})
}

// A sign-in that was under way when the client was closed does not open it again.
func TestSignInThatClosingOvertakes(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		going := make(chan struct{})
		s.once("save", func(context.Context) error { <-going; return nil })
		done := make(chan error)
		go func() { done <- w.client.SignIn(t.Context(), w.issuer.mint()) }()
		synctest.Wait()
		if err := w.client.Close(); err != nil {
			t.Fatal(err)
		}
		close(going)
		if err := <-done; err != nil {
			t.Fatalf("SignIn: %v", err)
		}
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrClosed) {
			t.Fatalf("Token after Close: %v", err)
		}
		if s := w.client.Status(); s.State != Closed {
			t.Errorf("Status after Close = %+v", s)
		}
		w.open()
		w.wantToken("access-1") // it was saved all the same
	})
}

// A folder that takes no writes, as on a full disk: nothing is sent before the
// token's end, and then under the kernel's lock alone; nothing is lost.
func TestFolderThatTakesNoWrites(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "session")
	temp := filepath.Join(dir, "write.tmp") // where the store writes before it renames
	inWorld(t, 10*time.Minute, func(c *Config) { c.Store = storage.NewFile(dir) }, func(t *testing.T, w *world) {
		w.signIn()
		if err := os.MkdirAll(filepath.Join(temp, "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
		w.pass(9*time.Minute, time.Second)
		w.wantCalls(0)
		w.wantToken("access-1")
		if s := w.client.Status(); s.State != Degraded || s.Err == nil || s.PersistPending {
			t.Fatalf("Status = %+v, want the store's error", s)
		}
		w.pass(2*time.Minute, time.Second)
		w.wantCalls(1)
		w.wantToken("access-2")
		if s := w.client.Status(); !s.PersistPending {
			t.Fatalf("Status = %+v, want PersistPending", s)
		}
		if err := os.RemoveAll(temp); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute, time.Second)
		if s := w.client.Status(); s.State != SignedIn || s.PersistPending {
			t.Fatalf("Status = %+v, want it saved", s)
		}
		w.restart()
		w.wantToken("access-2")
	})
}

// A second SignOut, as of a person who saw the first one fail, forgets nothing.
func TestSignOutTwiceThatCouldNotDelete(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		s.breaks("load", "delete")
		for range 2 {
			if err := w.client.SignOut(t.Context()); !errors.Is(err, errDisk) {
				t.Fatalf("SignOut = %v", err)
			}
		}
		s.meet(nil)
		w.pass(time.Minute, time.Second)
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrSignedOut) || !w.absent() {
			t.Fatalf("Token = %v, the record is deleted: %t", err, w.absent())
		}
	})
}

// A new pair waits for its turn with the store as long as it takes: it is all
// that is left of the session, if a SignIn that held things up fails in the end.
func TestPairWaitsForItsTurn(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		proceed := make(chan struct{})
		w.issuer.then(w.issuer.after(proceed))
		refreshed := w.refreshing()
		synctest.Wait()
		var saves atomic.Int32
		s.meet(func(ctx context.Context, step, _ string) error {
			if step != "save" || saves.Add(1) > 2 {
				return nil
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		signedIn := make(chan error, 2)
		for range 2 {
			go func() { signedIn <- w.client.SignIn(t.Context(), Token{AccessToken: "another"}) }()
		}
		synctest.Wait()
		close(proceed)
		w.pass(20*time.Second, time.Second)
		for range 2 {
			if err := <-signedIn; !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("SignIn = %v", err)
			}
		}
		if err := <-refreshed; err != nil {
			t.Fatalf("Refresh = %v", err)
		}
		w.wantToken("access-2")
		if got := w.stored().Tokens.RefreshToken; got != "refresh-2" {
			t.Errorf("stored %s, which was spent", got)
		}
	})
}
