package evertoken

import (
	"context"
	"errors"
	"fmt"
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
				w.pass(tt.first - time.Second)
				w.wantCalls(0)
				w.pass(2 * time.Second)
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
		{&RefreshError{Outcome: Unavailable, StatusCode: 429}, false},
		{&RefreshError{Outcome: Misconfigured}, false},
		{&RefreshError{Outcome: Unavailable, StatusCode: 403}, true},
		{&RefreshError{Outcome: Ambiguous}, true},
	} {
		inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
			w.signIn()
			w.issuer.then(fails(tt.err), fails(tt.err))
			w.pass(6 * time.Minute)
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
		if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Fatalf("Token = %v although we signed out", err)
		}
		if e := w.last(SessionEnded); !errors.Is(e.Err, errDisk) || w.client.Status().Err == nil {
			t.Errorf("event %+v, status %+v", e, w.client.Status())
		}
		store.load.Store(false)
		w.pass(2 * time.Minute)
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
		w.pass(10 * time.Minute)
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
		w.pass(10 * time.Minute)
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
		w.pass(6 * time.Minute)
		if w.leaseFree() {
			t.Fatal("the lease was free while the pair was not saved")
		}
		store.save.Store(false)
		w.pass(time.Minute)
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

// A server that refuses what another process has replaced is no reason to renew:
// the newer token is in the record, however often that happens.
func TestRefusedTokenThatWasReplacedElsewhere(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		for n := range 5 {
			refused := w.client.session.served.Load()
			w.change(func(r record.Record) record.Record {
				r.Tokens.AccessToken = fmt.Sprintf("elsewhere-%d", n)
				return r.Next(r.Tokens, causeDue)
			})
			s := w.client.replace(t.Context(), refused)
			if s == nil || s.Tokens.AccessToken != fmt.Sprintf("elsewhere-%d", n) {
				t.Fatalf("replacement %d: %v", n+1, s)
			}
		}
		w.wantCalls(0)
	})
}

// Some issuers end an access token as soon as they have made the next. A 401 in
// that moment waits for the process that is about to save it, although it is too
// early for a renewal of our own; one that a killed process left does not hold
// it up.
func TestRefusedTokenThatIsBeingReplacedElsewhere(t *testing.T) {
	for name, killed := range map[string]bool{"at work": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
				w.signIn()
				if w.client.replace(t.Context(), w.client.session.served.Load()) == nil {
					t.Fatal("the first refusal is not answered by a renewal")
				}
				before := w.stored()
				lease, err := w.store.(storage.Leaser).Acquire(t.Context(), "default", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				w.leave(before.Announced("elsewhere", causeDue, w.clock.Now()))
				if killed {
					lease.Release()
				}
				replaced := make(chan *snapshot, 1)
				go func() { replaced <- w.client.replace(t.Context(), w.client.session.served.Load()) }()
				w.pass(time.Second)
				if waits := len(replaced) == 0; waits == killed {
					t.Fatalf("waits for the other: %t", waits)
				}
				want := ""
				if !killed {
					w.leave(renewedElsewhere(w.clock.Now(), time.Hour)(before))
					lease.Release()
					want = "elsewhere"
				}
				got := ""
				if s := <-replaced; s != nil {
					got = s.Tokens.AccessToken
				}
				if got != want {
					t.Errorf("replaced by %q, want %q", got, want)
				}
				w.wantCalls(1)
			})
		})
	}
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
		w.pass(13 * time.Minute)
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
		w.pass(time.Minute)
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
		w.pass(time.Minute)
		if left := w.client.Status().Expiry.Sub(w.clock.Now()); left > 10*time.Minute {
			t.Fatalf("a token of 10 min has %v left", left)
		}
	})
}

// A wrappingIssuer has requests with tokens that are no bearer's sent its own way.
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
		for kind, want := range map[string]string{"Bearer": "", "Proven": "for access-1"} {
			token := w.issuer.mint()
			token.TokenType, token.AccessToken = kind, "access-1"
			if err := w.client.SignIn(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			resp, err := w.client.HTTP().Get("https://api.example.com/")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if proof != want {
				t.Errorf("with a token of type %s the wrapper added %q", kind, proof)
			}
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
		w.pass(9 * time.Minute)
		w.wantCalls(0)
		w.wantToken("access-1")
		if s := w.client.Status(); s.State != Degraded || s.Err == nil || s.PersistPending {
			t.Fatalf("Status = %+v, want the store's error", s)
		}
		w.pass(2 * time.Minute)
		w.wantCalls(1)
		w.wantToken("access-2")
		if s := w.client.Status(); !s.PersistPending {
			t.Fatalf("Status = %+v, want PersistPending", s)
		}
		if err := os.RemoveAll(temp); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		if s := w.client.Status(); s.State != SignedIn || s.PersistPending {
			t.Fatalf("Status = %+v, want it saved", s)
		}
		w.restart()
		w.wantToken("access-2")
	})
}

// overwrite puts bytes into the store whatever it holds.
func (w *world) overwrite(data string) {
	w.t.Helper()
	item, err := w.store.Load(w.t.Context(), "default")
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		w.t.Fatal(err)
	}
	if _, err := w.store.Save(w.t.Context(), "default", []byte(data), item.Version); err != nil {
		w.t.Fatal(err)
	}
}

// aside is what was kept of damaged bytes; empty if nothing was.
func (w *world) aside() string {
	w.t.Helper()
	item, err := w.store.Load(w.t.Context(), "default.corrupt")
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		w.t.Fatal(err)
	}
	return string(item.Data)
}

// Damage does not take the session away from who has it in memory, and a sign-in
// replaces it, be it known already or found on the way.
func TestRecordIsDamagedWhileWeRun(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.overwrite("first damage")
		w.pass(2 * time.Minute)
		w.wantToken("access-1")
		if s := w.client.Status(); s.State != Degraded || !errors.Is(s.Err, storage.ErrCorrupt) || w.aside() != "" {
			t.Errorf("status %+v; kept aside %q", s, w.aside())
		}
		w.signIn()
		if got := w.aside(); got != "first damage" {
			t.Errorf("kept aside %q", got)
		}
		w.overwrite("second damage")
		w.signIn()
		w.wantToken("access-3")
		if got := w.aside(); got != "second damage" || w.stored().Tokens.AccessToken != "access-3" {
			t.Errorf("kept aside %q", got)
		}
	})
}

// Nothing damaged is replaced before it has been copied.
func TestDamageThatCannotBeKeptAside(t *testing.T) {
	for _, broken := range []string{"load", "save"} {
		s := newHookedStore()
		inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
			w.overwrite("damage")
			w.restart()
			s.meet(func(_ context.Context, step, key string) error {
				if step == broken && key == "default.corrupt" {
					return errDisk
				}
				return nil
			})
			if err := w.client.SignIn(t.Context(), w.issuer.mint()); !errors.Is(err, errDisk) {
				t.Errorf("%s: SignIn = %v", broken, err)
			}
			if item, err := s.Load(t.Context(), "default"); err != nil || string(item.Data) != "damage" {
				t.Errorf("%s: the store holds %q, %v", broken, item.Data, err)
			}
		})
	}
}

// What a newer release wrote is no damage: it stays, whoever signs in.
func TestRecordOfANewerReleaseStays(t *testing.T) {
	for _, looks := range []bool{false, true} {
		inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
			w.overwrite(`{"evertoken":7}`)
			if looks {
				w.pass(time.Minute)
			}
			if err := w.client.SignIn(t.Context(), w.issuer.mint()); err == nil || !strings.Contains(err.Error(), "newer release") {
				t.Errorf("SignIn = %v", err)
			}
			if item, err := w.store.Load(t.Context(), "default"); err != nil || string(item.Data) != `{"evertoken":7}` || w.aside() != "" {
				t.Errorf("the store holds %q, %v", item.Data, err)
			}
		})
	}
}

// SignIn creates the record anew that somebody has deleted meanwhile.
func TestSignInOverARecordThatIsGone(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		if err := w.store.Delete(t.Context(), "default", ""); err != nil {
			t.Fatal(err)
		}
		w.signIn()
		if got := w.stored().Tokens.AccessToken; got != "access-2" {
			t.Errorf("stored %q", got)
		}
	})
}

// SignOut ends the newest of its session, whoever made it, and no other.
func TestSignOutAndWhatOthersWrote(t *testing.T) {
	renew := func(w *world) { w.change(renewedElsewhere(w.clock.Now(), time.Hour)) }
	for _, tt := range []struct {
		name         string
		before, then func(*world) // before SignOut reads, and before it deletes
		revoked      string
		stays        bool
	}{
		{"renewed before", renew, nil, "refresh-elsewhere", false},
		{"renewed at the last moment", nil, renew, "refresh-elsewhere", false},
		{"signed in anew at the last moment", nil, func(w *world) { w.leave(signedInElsewhere(w.clock.Now(), time.Hour)) }, "refresh-1", true},
		{"signed out at the last moment", nil, func(w *world) { _ = w.store.(*hookedStore).Memory.Delete(w.t.Context(), "default", "") }, "refresh-1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHookedStore()
			inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
				w.signIn()
				if tt.before != nil {
					tt.before(w)
				}
				if tt.then != nil {
					s.once("delete", func(context.Context) error { tt.then(w); return nil })
				}
				if err := w.client.SignOut(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := w.issuer.revocations(); got != tt.revoked || w.absent() == tt.stays {
					t.Errorf("revoked %q, deleted %t", got, w.absent())
				}
				w.pass(time.Minute)
				if s := w.client.Status(); (s.State == SignedIn) != tt.stays {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

// The clocks of hosts differ, and what they wrote is seen late. An adopted token
// is given no more than it can have, and no less.
func TestExpiryOfAnAdoptedToken(t *testing.T) {
	const ahead, behind = time.Hour, -time.Hour
	for _, tt := range []struct {
		name   string
		write  func(w *world) // half a minute after the last look, and half before the next
		expiry time.Duration  // after the last look
	}{
		{"clocks agree", func(w *world) { w.change(renewedElsewhere(w.clock.Now(), 10*time.Minute)) }, 10*time.Minute + 30*time.Second},
		{"the other is ahead", func(w *world) { w.change(renewedElsewhere(w.clock.Now().Add(ahead), 10*time.Minute)) }, 11 * time.Minute},
		{"the other is behind", func(w *world) { w.change(renewedElsewhere(w.clock.Now().Add(behind), 10*time.Minute)) }, 10 * time.Minute},
		{"another sign-in, of an hour ago", func(w *world) { w.leave(signedInElsewhere(w.clock.Now().Add(-time.Hour), 2*time.Hour)) }, time.Hour + 30*time.Second},
		{"another sign-in, by a clock ahead", func(w *world) { w.leave(signedInElsewhere(w.clock.Now().Add(ahead), 10*time.Minute)) }, 11 * time.Minute},
		{"our own token, with a note", func(w *world) {
			w.change(func(r record.Record) record.Record { return r.Announced("other", causeDue, w.clock.Now()) })
		}, time.Hour - 5*time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
				w.signIn()
				w.pass(5 * time.Minute)
				last := w.clock.Now()
				w.pass(30 * time.Second)
				tt.write(w)
				w.pass(30 * time.Second)
				if got := w.client.Status().Expiry.Sub(last); got != tt.expiry {
					t.Errorf("ends %v after the last look, want %v", got, tt.expiry)
				}
			})
		})
	}
}

// An attempt was seen under way before its token: that may be as old as the
// attempt.
func TestExpiryOfATokenWhoseAttemptWasSeen(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.pass(90 * time.Second)
		asked := w.clock.Now()
		w.change(func(r record.Record) record.Record { return r.Announced("other", causeDue, asked) })
		w.pass(60 * time.Second)
		w.change(renewedElsewhere(asked, 20*time.Minute))
		w.pass(30 * time.Second)
		if got := w.client.Status().Expiry.Sub(asked); got != 20*time.Minute {
			t.Errorf("ends %v after it was asked for", got)
		}
	})
}

// A process that froze in a look, after it had read, has not looked since.
func TestExpiryAfterAFrozenLook(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		frozen := make(chan struct{})
		s.once("loaded", func(context.Context) error { <-frozen; return nil })
		w.pass(65 * time.Second)
		asked := w.clock.Now()
		w.change(renewedElsewhere(asked, 20*time.Minute))
		w.pass(4 * time.Second)
		close(frozen)
		w.pass(time.Minute)
		if got := w.client.Status().Expiry.Sub(asked); got != 20*time.Minute {
			t.Errorf("ends %v after it was asked for", got)
		}
	})
}

// A store that has fallen back is written forward, also where somebody else
// writes at the same time, and may show next what it had before.
func TestStoreThatFallsBack(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		old := w.stored()
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		newest := w.stored()
		w.leave(old)
		s.once("save", func(context.Context) error { w.leave(old.Announced("other", causeDue, w.clock.Now())); return nil })
		w.pass(time.Minute)
		if got := w.stored(); got.Gen != newest.Gen || got.Tokens.AccessToken != "access-2" {
			t.Errorf("stored gen %d with %q", got.Gen, got.Tokens.AccessToken)
		}
		if s := w.client.Status(); s.Err != nil || s.PersistPending || s.State != SignedIn {
			t.Errorf("status %+v", s)
		}
		w.pass(9 * time.Minute)
		w.leave(old)
		w.pass(time.Minute)
		w.leave(renewedElsewhere(epoch.Add(5*time.Minute), time.Hour)(newest))
		w.pass(time.Minute)
		if got := w.client.Status().Expiry; got != epoch.Add(65*time.Minute) {
			t.Errorf("ends at %v", got)
		}
	})
}

// RFC 6749, section 7.1: types are case insensitive, but not to every server.
func TestScheme(t *testing.T) {
	for kind, want := range map[string]string{"bearer": "Bearer a", "BEARER": "Bearer a", "DPoP": "DPoP a"} {
		s := newSnapshot(record.Record{Tokens: record.Tokens{AccessToken: "a", TokenType: kind}}, 0)
		if s.header[0] != want {
			t.Errorf("%s: %q", kind, s.header[0])
		}
	}
}

// Without a turn nothing is done, and whoever waits for one is told how long.
func TestTurn(t *testing.T) {
	s := &session{common: &common{store: storage.NewMemory()}}
	s.join() <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.do(ctx, func(context.Context) error { t.Error("a step out of turn"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("do = %v", err)
	}
}

// Somebody signs in between the load under the lease and the note of a renewal:
// the note of the session before is not written over theirs.
func TestSignInBetweenLoadAndNote(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		proceed := make(chan struct{})
		var loads atomic.Int32
		s.meet(func(_ context.Context, step, _ string) error {
			if step == "loaded" && loads.Add(1) == 2 {
				<-proceed
			}
			return nil
		})
		done := w.refreshing()
		signedIn := make(chan error)
		go func() { signedIn <- w.client.SignIn(t.Context(), w.issuer.mint()) }()
		synctest.Wait()
		close(proceed)
		if err := errors.Join(<-signedIn, <-done); err != nil {
			t.Error(err)
		}
		if got := w.stored(); got.Tokens.AccessToken != "access-2" || got.Note.N != 0 {
			t.Errorf("stored %q, note %+v", got.Tokens.AccessToken, got.Note)
		}
		w.wantCalls(0)
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
		w.pass(time.Minute)
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
		w.pass(20 * time.Second)
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

// Two processes have exchanged one refresh token, which the issuer's grace allows. The
// other one's answer was cut off and brought no access token, so it has kept the old
// one; what we saved too late does not make that any younger.
func TestOldAccessTokenBesideANewRefreshToken(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.pass(50 * time.Minute)
		w.issuer.then(func(context.Context, Token) (Token, error) {
			token := w.issuer.mint()
			w.change(func(r record.Record) record.Record {
				r = r.Announced("other", causeDue, w.clock.Now())
				tokens := r.Tokens
				tokens.RefreshToken = token.RefreshToken
				return r.Next(tokens, r.Cause)
			})
			return token, nil
		})
		_ = w.client.Refresh(t.Context())
		w.wantToken("access-1")
		if got, want := w.client.Status().Expiry, epoch.Add(time.Hour); !got.Equal(want) {
			t.Errorf("it ends at %v, not %v", got, want)
		}
	})
}
