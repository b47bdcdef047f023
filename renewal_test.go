package evertoken

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evertoken/evertoken/internal/attempt"
	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// dials is an exchange of an issuer on net/http: it says that it wants a
// connection, and has one once connected is closed.
func dials(connected <-chan struct{}, answer func() (Token, error)) func(context.Context, Token) (Token, error) {
	return func(ctx context.Context, _ Token) (Token, error) {
		trace := httptrace.ContextClientTrace(ctx)
		trace.GetConn("")
		select {
		case <-connected:
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
		near, far := net.Pipe()
		defer func() { _, _ = near.Close(), far.Close() }()
		trace.GotConn(httptrace.GotConnInfo{Conn: near})
		if ctx.Err() != nil {
			return Token{}, ctx.Err()
		}
		return answer()
	}
}

// silent answers nothing until its context ends.
func silent(ctx context.Context, _ Token) (Token, error) {
	<-ctx.Done()
	return Token{}, context.Cause(ctx)
}

// Somebody else writes while the loop waits for the lease. What the record says
// then counts.
func TestRecordThatChangedBeforeTheLease(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world)
		sent   string // what the issuer saw
		access string // what is served
	}{
		{"renewed", func(w *world) { w.change(renewedElsewhere(w.clock.Now(), time.Hour)) }, "", "elsewhere"},
		{"renewed, but expired since", func(w *world) { w.change(renewedElsewhere(w.clock.Now(), leaseLook/2)) }, "refresh-elsewhere", "access-2"},
		{"a note was closed", func(w *world) {
			w.change(func(r record.Record) record.Record { return r.Announced("other", causeDue, w.clock.Now()).Closed() })
		}, "refresh-1", "access-2"},
		{"another sign-in", func(w *world) { w.leave(signedInElsewhere(w.clock.Now(), time.Hour)) }, "", "another"},
		{"over", func(w *world) { w.change(record.Record.Ended) }, "", "access-1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
				w.signIn()
				lease, err := w.store.(storage.Leaser).Acquire(t.Context(), "default", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				answered := make(chan struct{})
				w.issuer.then(w.issuer.after(answered))
				done := w.refreshing()
				tt.change(w)
				w.pass(20 * time.Second)
				lease.Release()
				synctest.Wait()
				if waits := len(done) == 0; waits != (tt.sent != "") {
					t.Errorf("Refresh waits for the issuer: %t", waits)
				}
				close(answered)
				if err := <-done; (err != nil) != (tt.name == "over") || err != nil && !errors.Is(err, ErrSignedOut) {
					t.Fatalf("Refresh: %v", err)
				}
				if got := strings.Join(w.issuer.sent, " "); got != tt.sent {
					t.Errorf("sent %q, want %q", got, tt.sent)
				}
				w.wantToken(tt.access)
			})
		})
	}
}

// A token that somebody else brought while the lease was waited for is left alone by the
// next check, as one that was there at once: else those who wait take turns to renew it.
func TestTokenThatCameWhileTheLeaseWasWaitedFor(t *testing.T) {
	inWorld(t, 5*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		lease, err := w.store.(storage.Leaser).Acquire(t.Context(), "default", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute) // a check, which finds it due
		w.change(renewedElsewhere(w.clock.Now(), 5*time.Minute))
		w.pass(time.Second)
		lease.Release()
		w.pass(time.Minute)
		w.wantCalls(0)
		w.pass(time.Minute)
		w.wantCalls(1)
	})
}

// Between the load under the lease and the note, too.
func TestRecordThatChangedBeforeTheNote(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world)
		calls  int
		access string
	}{
		{"renewed", func(w *world) { w.change(renewedElsewhere(w.clock.Now(), time.Hour)) }, 0, "elsewhere"},
		{"a note was closed", func(w *world) {
			w.change(func(r record.Record) record.Record { return r.Announced("other", causeDue, w.clock.Now()).Closed() })
		}, 1, "access-2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHookedStore()
			inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
				w.signIn()
				w.issuer.then(fails(&RefreshError{Outcome: NotSent}))
				_ = w.client.Refresh(t.Context()) // what it has left must not stay
				w.pass(time.Second)
				s.once("save", func(context.Context) error { tt.change(w); return nil })
				if err := w.client.Refresh(t.Context()); err != nil {
					t.Fatalf("Refresh: %v", err)
				}
				w.wantCalls(1 + tt.calls)
				w.wantToken(tt.access)
				if s := w.client.Status(); w.count(Failed) != 1 || s.State != SignedIn || s.Err != nil {
					t.Errorf("told %s; status %+v", w.told(), s)
				}
			})
		})
	}
}

// Login is for those who have no session once they hold the lease.
func TestLoginFindsASession(t *testing.T) {
	for _, tt := range []struct {
		name  string
		left  time.Duration // of the access token that is found
		calls int
	}{{"alive", time.Hour, 0}, {"expired", -time.Minute, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHookedStore()
			inWorldWithLogin(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world, logins *atomic.Int32) {
				s.once("lease", func(context.Context) error {
					w.leave(signedInElsewhere(w.clock.Now().Add(tt.left-time.Hour), time.Hour))
					return nil
				})
				w.restart()
				if _, err := w.client.Token(t.Context()); err != nil {
					t.Fatalf("Token: %v", err)
				}
				w.wantCalls(tt.calls)
				if logins.Load() != 0 {
					t.Error("signed in although there was a session")
				}
			})
		})
	}
}

// A session that cannot spend anything needs neither lease nor note.
func TestRenewalWithoutARefreshToken(t *testing.T) {
	s := newHookedStore()
	inWorld(t, 10*time.Minute, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		if err := w.client.SignIn(t.Context(), Token{AccessToken: "a", Expiry: epoch.Add(10 * time.Minute)}); err != nil {
			t.Fatal(err)
		}
		w.issuer.then(func(context.Context, Token) (Token, error) {
			if w.stored().Note.N != 0 {
				t.Error("a note was written")
			}
			return w.issuer.mint(), nil
		})
		s.meet(func(_ context.Context, step, _ string) error {
			if step == "lease" {
				t.Error("a lease was taken")
			}
			return nil
		})
		w.pass(6 * time.Minute)
		w.wantCalls(1)
		w.wantToken("access-1")
	})
}

// A token of which nothing is known and that nothing can replace is simply
// served; with a refresh token or a Login it is renewed at the age of an hour.
func TestTokenOfUnknownExpiry(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refresh string
		login   bool
		calls   int
	}{{"alone", "", false, 0}, {"with a refresh token", "r", false, 1}, {"with a Login", "", true, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, 5*time.Hour, nil, func(t *testing.T, w *world) {
				if err := w.client.SignIn(t.Context(), Token{AccessToken: "opaque", RefreshToken: tt.refresh}); err != nil {
					t.Fatal(err)
				}
				if tt.login {
					w.cfg.Login = func(context.Context) (Token, error) { return Token{}, errors.New("not to be called") }
				}
				w.restart()
				w.pass(time.Hour - time.Second)
				w.wantCalls(0)
				w.wantToken("opaque")
				w.pass(2 * time.Hour)
				w.wantCalls(tt.calls)
				if w.count(Failed) != 0 || w.client.Status().State != SignedIn {
					t.Errorf("told %s; status %+v", w.told(), w.client.Status())
				}
			})
		})
	}
}

// While the lease is somebody else's the loop waits for it, a minute at most.
func TestWaitForTheLease(t *testing.T) {
	for _, tt := range []struct {
		name  string
		held  time.Duration
		calls int
	}{{"until it is free", 59 * time.Second, 1}, {"not for ever", 61 * time.Second, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, time.Hour, func(c *Config) { c.CheckInterval = time.Hour }, func(t *testing.T, w *world) {
				w.signIn()
				lease, err := w.store.(storage.Leaser).Acquire(t.Context(), "default", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- w.client.Refresh(t.Context()) }()
				w.pass(tt.held)
				lease.Release()
				err = <-done
				w.wantCalls(tt.calls)
				if (err == nil) != (tt.calls == 1) || err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Refresh = %v", err)
				}
				w.wantToken(w.client.session.known.Load().Tokens.AccessToken)
			})
		})
	}
}

// A store may take its time to give the lease.
func TestLeaseOfASlowStore(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		asked := 0
		s.meet(func(ctx context.Context, step, _ string) error {
			if step != "lease" {
				return nil
			}
			asked++
			select {
			case <-w.clock.Timer(3 * leaseLook).C:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		done := w.refreshing()
		w.pass(3 * leaseLook)
		if err := <-done; err != nil || asked != 1 {
			t.Errorf("asked %d times: %v", asked, err)
		}
		w.wantToken("access-2")
	})
}

// A process was killed after it had saved its token, and before it released the
// lease. Requests have that token long before the lease lapses.
func TestTokenBesideALeaseThatIsHeld(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		if _, err := w.store.(storage.Leaser).Acquire(t.Context(), "default", time.Minute); err != nil {
			t.Fatal(err)
		}
		done := w.refreshing()
		w.pass(leaseLook / 2)
		w.change(renewedElsewhere(w.clock.Now(), time.Hour))
		w.pass(leaseLook)
		if len(done) == 0 {
			t.Fatal("still waits for the lease")
		}
		if err := <-done; err != nil {
			t.Errorf("Refresh = %v", err)
		}
		w.wantToken("elsewhere")
		w.wantCalls(0)
		w.pass(time.Minute)
	})
}

// The lease could not be had, but whoever had it has left a token: that is what
// was asked for.
func TestTokenThatCameInsteadOfTheLease(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		s.once("lease", func(context.Context) error {
			w.change(renewedElsewhere(w.clock.Now(), time.Hour))
			return errDisk
		})
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh = %v", err)
		}
		w.wantToken("elsewhere")
		w.wantCalls(0)
	})
}

// A lease is asked for 15 s, or for a third of the issuer's grace, and extended
// while the exchange is under way and while its pair is not saved.
func TestHeartbeat(t *testing.T) {
	for _, tt := range []struct {
		grace, ttl time.Duration
		beats      int32 // in 31 s
	}{{0, 15 * time.Second, 6}, {30 * time.Second, 10 * time.Second, 9}, {time.Hour, 15 * time.Second, 6}} {
		s := newLapsingStore()
		inWorld(t, time.Hour, func(c *Config) {
			c.Store = s
			c.Issuer = graceIssuer{c.Issuer.(*farIssuer), tt.grace}
		}, func(t *testing.T, w *world) {
			w.signIn()
			sending := make(chan struct{})
			w.issuer.then(func(context.Context, Token) (Token, error) {
				<-sending
				s.breaks("save")
				return w.issuer.mint(), nil
			})
			go func() { _ = w.client.Refresh(t.Context()) }()
			w.pass(31 * time.Second)
			if got := time.Duration(s.ttl.Load()); got != tt.ttl {
				t.Errorf("grace %v: leased for %v, want %v", tt.grace, got, tt.ttl)
			}
			if got := s.extended.Swap(0); got < tt.beats {
				t.Errorf("grace %v: extended %d times in flight, want %d", tt.grace, got, tt.beats)
			}
			close(sending)
			w.pass(31 * time.Second)
			if got := s.extended.Load(); got < tt.beats {
				t.Errorf("grace %v: extended %d times while unsaved, want %d", tt.grace, got, tt.beats)
			}
			s.meet(nil)
			w.pass(5 * time.Second)
			if w.client.Status().PersistPending || !w.leaseFree() {
				t.Error("not saved soon after the store recovered, or the lease was kept")
			}
		})
	}
}

// graceIssuer accepts a spent refresh token for a while.
type graceIssuer struct {
	*farIssuer
	grace time.Duration
}

func (g graceIssuer) ReuseGrace() time.Duration { return g.grace }

// The guard: when there is a connection the lease is gone. That is proof that
// nothing was sent.
func TestLeaseLostWhileDialing(t *testing.T) {
	s := newLapsingStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		connected := make(chan struct{})
		w.issuer.then(dials(connected, func() (Token, error) {
			t.Error("sent without the right to")
			return Token{}, errors.New("sent")
		}))
		done := make(chan error)
		go func() { done <- w.client.Refresh(t.Context()) }()
		synctest.Wait()
		s.breaks("extend")
		w.pass(11 * time.Second)
		close(connected)
		var failed *RefreshError
		if err := <-done; !errors.As(err, &failed) || failed.Outcome != NotSent {
			t.Errorf("Refresh = %v", err)
		}
		if note := w.stored().Note; note.Open() || note.N != 1 {
			t.Errorf("note %+v", note)
		}
	})
}

// Who was frozen with a lease just acquired finds out that it is gone before
// anything else: the store is asked to extend it first.
func TestLeaseLostBeforeItWasUsed(t *testing.T) {
	s := newLapsingStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		s.breaks("extend")
		if err := w.client.Refresh(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("Refresh = %v, want the store's error", err)
		}
		w.wantCalls(0)
		if !w.leaseFree() {
			t.Error("the lease was kept")
		}
	})
}

// A store that fails while the token is alive stops the sending. At the token's
// end it does not, where nobody else can be sending.
func TestSendingWithoutTheStore(t *testing.T) {
	for _, tt := range []struct {
		name   string
		breaks []string
		leases func(*hookedStore) storage.Store
		sends  bool
	}{
		{"lasting lease, no write", []string{"save"}, nil, true},
		{"lasting lease, no read", []string{"load"}, nil, false},
		{"lapsing lease, no write", []string{"save"}, func(s *hookedStore) storage.Store { return &lapsingStore{hookedStore: s} }, false},
		{"no leases, no write", []string{"save"}, func(s *hookedStore) storage.Store { return unsharedStore{s} }, true},
		{"no leases, no read", []string{"load"}, func(s *hookedStore) storage.Store { return unsharedStore{s} }, true},
		{"no lease to be had", []string{"lease"}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHookedStore()
			inWorld(t, 10*time.Minute, func(c *Config) {
				c.Store = s
				if tt.leases != nil {
					c.Store = tt.leases(s)
				}
			}, func(t *testing.T, w *world) {
				w.signIn()
				s.breaks(tt.breaks...)
				w.pass(9 * time.Minute)
				w.wantCalls(0)
				w.wantToken("access-1")
				w.pass(2 * time.Minute)
				if got := w.issuer.calls() > 0; got != tt.sends {
					t.Fatalf("%d refreshes after the token's end", w.issuer.calls())
				}
				s.meet(nil)
				w.pass(2 * time.Minute)
				w.wantNothingSpentTwice()
				w.wantToken(w.client.session.known.Load().Tokens.AccessToken)
			})
		})
	}
}

// Nobody is signed in while the store cannot tell whether they are.
func TestNoLoginWithoutTheStore(t *testing.T) {
	s := newHookedStore()
	inWorldWithLogin(t, time.Hour, func(c *Config) { c.Store = unsharedStore{s} }, func(t *testing.T, w *world, logins *atomic.Int32) {
		s.once("load", func(context.Context) error { s.breaks("load"); return nil })
		w.restart()
		if _, err := w.client.Token(t.Context()); !errors.Is(err, errDisk) || logins.Load() != 0 {
			t.Fatalf("Token = %v after %d logins", err, logins.Load())
		}
	})
}

// A pair that cannot be saved for longer than it lives is renewed under the
// lease that is still held.
func TestRenewalOfAnUnsavedPair(t *testing.T) {
	s := newHookedStore()
	inWorld(t, 10*time.Minute, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		s.breaks("save")
		w.pass(35 * time.Minute)
		if n := w.issuer.calls(); n != 3 {
			t.Errorf("%d refreshes in 35 min, want one at each token's end", n)
		}
		w.wantToken("access-4")
		s.meet(nil)
		w.pass(5 * time.Second)
		w.restart()
		w.wantToken("access-4")
		w.wantNothingSpentTwice()
	})
}

// Somebody else's open note is waited for by those who can spare a moment, and
// told to those who would wait for minutes. The lease is free meanwhile.
func TestWaitForSomebodyElsesNote(t *testing.T) {
	for _, tt := range []struct {
		name   string
		left   time.Duration
		waits  time.Duration
		prompt bool
	}{
		{"token has ended", -time.Minute, 3 * time.Second, true},
		{"token has time", 4 * time.Minute, 209 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
				w.leave(signedInElsewhere(epoch.Add(tt.left-time.Hour), time.Hour).Announced("killed", causeDue, epoch.Add(-time.Minute)))
				w.restart()
				done := make(chan error, 2)
				refresh := func() { done <- w.client.Refresh(t.Context()) }
				go refresh()
				w.pass(2 * time.Second)
				go refresh() // wakes the loop, in vain
				w.pass(500 * time.Millisecond)
				w.wantCalls(0)
				if !w.leaseFree() {
					t.Error("waits with the lease")
				}
				w.pass(tt.waits - 2500*time.Millisecond)
				w.wantCalls(1)
				for range 2 {
					if err := <-done; (err == nil) != tt.prompt || err != nil && !errors.Is(err, errForeignNote) {
						t.Errorf("Refresh = %v", err)
					}
				}
			})
		})
	}
}

// Who signs in while such a note is waited for has a fresh token, which is not
// renewed for the sake of the old one.
func TestSignInDuringTheWaitForANote(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.leave(signedInElsewhere(epoch.Add(-61*time.Minute), time.Hour).Announced("killed", causeDue, epoch.Add(-time.Minute)))
		w.restart()
		w.pass(time.Second)
		w.signIn()
		w.pass(10 * time.Second)
		w.wantCalls(0)
		w.wantToken("access-1")
		if s := w.client.Status(); s.Err != nil || s.Failures != 0 {
			t.Errorf("status: %+v", s)
		}
	})
}

// Servers refuse the token: somebody else's attempt is given two minutes.
func TestSomebodyElsesNoteAndA401(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.leave(signedInElsewhere(epoch, time.Hour).Announced("killed", causeDue, epoch))
		w.restart()
		refused := w.client.session.served.Load()
		if s := w.client.replace(t.Context(), refused); s != nil {
			t.Fatalf("replaced by %+v", s)
		}
		w.pass(119 * time.Second)
		w.wantCalls(0)
		w.pass(time.Second)
		if s := w.client.replace(t.Context(), refused); s == nil || s.Tokens.AccessToken != "access-1" {
			t.Fatalf("replaced by %+v", s)
		}
	})
}

// So it is where a check has found the note, and would wait until the token's end;
// and so is an attempt of our own that was answered by silence.
func TestA401ShortensAWait(t *testing.T) {
	for name, begin := range map[string]func(*world){
		"somebody else's note": func(w *world) {
			w.leave(signedInElsewhere(epoch.Add(-45*time.Minute), time.Hour).Announced("killed", causeDue, epoch))
			w.restart()
			w.pass(time.Minute) // of which a check is part
		},
		"silence": func(w *world) {
			w.leave(signedInElsewhere(epoch.Add(-45*time.Minute), time.Hour))
			w.issuer.then(silent)
			w.restart()
			w.pass(4 * time.Minute) // of which a check and three minutes are part
		},
	} {
		t.Run(name, func(t *testing.T) {
			wide := func(c *Config) { c.ExpiryWindow = 20 * time.Minute }
			inWorld(t, time.Hour, wide, func(t *testing.T, w *world) {
				begin(w)
				calls := w.issuer.calls()
				s := w.client.Status()
				if until := s.Expiry.Add(-lastTry); s.Err == nil || w.client.loop.hold.until.Before(until.Add(-2*time.Second)) {
					t.Fatalf("it waits for %v, not %v: %+v", w.client.loop.hold.until, until, s)
				}
				refused := w.client.session.served.Load()
				if s := w.client.replace(t.Context(), refused); s != nil {
					t.Fatalf("replaced at once by %+v", s)
				}
				w.pass(2 * time.Minute)
				w.wantCalls(calls)
				if s := w.client.replace(t.Context(), refused); s == nil || s.Tokens.AccessToken == refused.Tokens.AccessToken {
					t.Fatalf("replaced by %+v", s)
				}
			})
		})
	}
}

// Nobody knows when a token ends whose end the issuer does not tell: silence is waited
// out there as well, for a while.
func TestSilenceAndATokenOfUnknownEnd(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		if err := w.client.SignIn(t.Context(), Token{AccessToken: "opaque", RefreshToken: "once"}); err != nil {
			t.Fatal(err)
		}
		w.issuer.then(silent)
		done := w.refreshing()
		w.pass(3*time.Minute - time.Second)
		if len(done) != 0 {
			t.Fatal("it was not waited for")
		}
		w.pass(15 * time.Minute)
		w.wantCalls(1)
		if err := w.client.Refresh(t.Context()); err == nil {
			t.Error("it was sent again while the first request may still be processed")
		}
		w.pass(time.Minute)
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh = %v", err)
		}
	})
}

// A refresh token may come beside a verdict, and is tried. The second verdict counts.
func TestVerdictBesideANewRefreshToken(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		n := 0
		verdict := func(context.Context, Token) (Token, error) {
			n++
			return Token{RefreshToken: "beside-" + strconv.Itoa(n)}, &RefreshError{Outcome: Rejected}
		}
		w.issuer.then(verdict, verdict)
		_ = w.client.Refresh(t.Context())
		if r := w.stored(); r.Over || r.Tokens.RefreshToken != "beside-1" {
			t.Errorf("after one: over %t, %s", r.Over, r.Tokens.RefreshToken)
		}
		w.pass(6 * time.Minute)
		if r := w.stored(); !r.Over {
			t.Error("the second did not end it")
		}
		w.wantCalls(2)
	})
}

// A store whose reads lag behind its writes is not asked in a circle.
func TestConflictWithoutEnd(t *testing.T) {
	s := newHookedStore()
	inWorld(t, 10*time.Minute, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		saves := 0
		s.meet(func(_ context.Context, step, _ string) error {
			if step == "save" {
				saves++
				return storage.ErrConflict
			}
			return nil
		})
		done := w.refreshing()
		w.pass(time.Second)
		if saves > 20 {
			t.Errorf("%d saves within a second", saves)
		}
		s.meet(nil)
		w.pass(time.Second)
		if err := <-done; err != nil {
			t.Errorf("Refresh = %v", err)
		}
	})
}

// Within the issuer's grace an abandoned attempt is made again at once, be it
// found at the start or by a poll; a token that is not due is left alone.
func TestAbandonedAttemptWithinTheGrace(t *testing.T) {
	inGrace := func(t *testing.T, lifetime, grace time.Duration, f func(*testing.T, *world)) {
		t.Helper()
		inWorld(t, lifetime, func(c *Config) {
			c.Issuer, c.Store = graceIssuer{c.Issuer.(*farIssuer), grace}, newHookedStore()
		}, f)
	}
	abandon := func(w *world, age time.Duration) {
		w.change(func(r record.Record) record.Record { return r.Announced("killed", causeDue, w.clock.Now().Add(-age)) })
	}
	t.Run("at the start", func(t *testing.T) {
		inGrace(t, 4*time.Minute, 30*time.Second, func(_ *testing.T, w *world) {
			w.signIn()
			w.pass(time.Second)
			abandon(w, 5*time.Second)
			w.restart()
			w.wantCalls(1)
		})
	})
	t.Run("by a poll", func(t *testing.T) {
		inGrace(t, 5*time.Minute, 30*time.Second, func(_ *testing.T, w *world) {
			w.signIn()
			w.pass(10 * time.Second)
			abandon(w, 0)
			w.pass(time.Second)
			w.wantCalls(0)
			w.pass(5 * time.Second)
			w.wantCalls(1)
		})
	})
	t.Run("not due", func(t *testing.T) {
		inGrace(t, time.Hour, 10*time.Minute, func(t *testing.T, w *world) {
			w.signIn()
			abandon(w, 0)
			w.pass(9 * time.Minute)
			w.wantCalls(0)
			if s := w.client.Status(); s.NextCheck != epoch.Add(10*time.Minute) {
				t.Errorf("looks again at %v: a poll without a reason", s.NextCheck)
			}
		})
	})
	// A note is at most as old as the last look that did not find it, however far
	// the other host's clock is behind, and no younger than it says.
	for name, tt := range map[string]struct {
		grace, age time.Duration
		calls      int
	}{"too old": {30 * time.Second, 50 * time.Second, 0}, "clock behind": {90 * time.Second, 10 * time.Minute, 1}} {
		t.Run(name, func(t *testing.T) {
			inGrace(t, 10*time.Minute, tt.grace, func(_ *testing.T, w *world) {
				w.signIn()
				w.pass(5*time.Minute + 5*time.Second)
				w.store.(*hookedStore).breaks("load")
				w.pass(54 * time.Second)
				w.store.(*hookedStore).meet(nil)
				abandon(w, tt.age)
				w.pass(2 * time.Second)
				w.wantCalls(tt.calls)
			})
		})
	}
}

// Polls look, and renew nothing by themselves. They begin with the window, and a
// store that nobody shares is not polled at all.
func TestPollsRenewNothing(t *testing.T) {
	graceful := func(c *Config) { c.Issuer = graceIssuer{c.Issuer.(*farIssuer), 30 * time.Second} }
	wantNext := func(t *testing.T, w *world, want time.Duration) {
		t.Helper()
		synctest.Wait()
		if got := w.client.Status().NextCheck.Sub(epoch); got != want {
			t.Errorf("looks again at %v, want %v", got, want)
		}
	}
	inWorld(t, 5*time.Minute, graceful, func(t *testing.T, w *world) {
		w.signIn()
		w.pass(10 * time.Minute)
		w.wantCalls(10)
		wantNext(t, w, 10*time.Minute+6*time.Second+1)
		w.cfg.Store = unsharedStore{w.store}
		w.restart()
		w.pass(time.Second)
		wantNext(t, w, 11*time.Minute)
	})
	inWorld(t, 10*time.Minute, graceful, func(t *testing.T, w *world) {
		w.signIn()
		w.pass(time.Minute)
		wantNext(t, w, 2*time.Minute)
		w.pass(4 * time.Minute)
		wantNext(t, w, 5*time.Minute+6*time.Second+1)
		w.cfg.Issuer = graceIssuer{w.issuer, time.Second} // too short to be of use
		w.restart()
		w.pass(time.Second)
		wantNext(t, w, 6*time.Minute)
	})
}

func TestNoteAge(t *testing.T) {
	for _, tt := range []struct {
		name        string
		began, from time.Duration // before now; from zero: no look without it
		want        time.Duration
	}{
		{"no look before", time.Minute, 0, time.Minute},
		{"begun in the future", -time.Minute, 0, 0},
		{"clock behind", time.Hour, time.Minute, time.Minute},
		{"begun after the look", time.Second, time.Minute, time.Second},
		{"our clock was set back", time.Minute, -time.Hour, 0},
	} {
		s := &snapshot{Record: record.Record{Note: record.Note{Began: epoch.Add(-tt.began)}}}
		if tt.from != 0 {
			s.past = &past{noteFrom: epoch.Add(-tt.from)}
		}
		if got := new(refresher).noteAge(s, epoch); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Silence is given as much time as the token can spare, but no more.
func TestPatienceOfAnAttempt(t *testing.T) {
	inWorld(t, 4*time.Minute, nil, func(t *testing.T, w *world) {
		var gaveUp time.Duration
		w.signIn()
		w.issuer.then(func(ctx context.Context, t Token) (Token, error) {
			defer func() { gaveUp = w.clock.Now().Sub(epoch) }()
			return silent(ctx, t)
		})
		go func() { _ = w.client.Refresh(t.Context()) }()
		w.pass(4 * time.Minute)
		if gaveUp != 180*time.Second {
			t.Errorf("gave up after %v", gaveUp)
		}
	})
	inWorld(t, 2*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(silent)
		go func() { _ = w.client.Refresh(t.Context()) }()
		w.pass(88 * time.Second)
		if w.client.Status().Failures != 0 {
			t.Error("gave up although the token has 30 s left")
		}
		w.pass(time.Second)
		w.wantCalls(2) // once the patience ends it is time for the last try
		w.wantToken("access-2")
	})
}

// Login has a minute.
func TestPatienceOfLogin(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		calls := 0
		w.cfg.Login = func(ctx context.Context) (Token, error) {
			if calls++; calls == 1 {
				return silent(ctx, Token{})
			}
			return w.issuer.mint(), nil
		}
		w.restart()
		done := make(chan error, 1)
		go func() { _, err := w.client.Token(t.Context()); done <- err }()
		w.pass(59 * time.Second)
		if n := len(done); n != 0 {
			t.Fatal("gave up early")
		}
		w.pass(2 * time.Second)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Login: ") {
			t.Fatalf("Token = %v", err)
		}
		if e := w.last(Failed); e.Outcome != Unavailable || e.Reason != causeSignIn {
			t.Errorf("event %+v", e)
		}
	})
}

// What the answer took on its way is time that the token has already lost.
func TestLifeCountsFromTheSending(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		sending := make(chan struct{})
		w.issuer.then(w.issuer.after(sending))
		go func() { _ = w.client.Refresh(t.Context()) }()
		w.pass(10 * time.Second)
		close(sending)
		synctest.Wait()
		s := w.client.session.served.Load()
		if s.life.issued != epoch || s.life.expiry.Sub(s.life.dead) != 11*time.Second {
			t.Errorf("issued %v, not sent for the last %v", s.life.issued, s.life.expiry.Sub(s.life.dead))
		}
		w.issuer.then(fails(&RefreshError{Outcome: NotSent}))
		_ = w.client.Refresh(t.Context())
		if again := w.client.session.served.Load(); again == s || again.life != s.life {
			t.Errorf("a note changed the life of the token from %+v to %+v", s.life, again.life)
		}
	})
}

// A result without an access token explains nothing; a refresh token in it is
// the newest all the same.
func TestResultWithoutAnAccessToken(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) { return Token{RefreshToken: "delivered"}, nil })
		if err := w.client.Refresh(t.Context()); !errors.Is(err, errNoAccess) {
			t.Fatalf("Refresh = %v", err)
		}
		w.wantToken("access-1")
		w.pass(time.Second)
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh = %v", err)
		}
		if got := strings.Join(w.issuer.sent, " "); got != "refresh-1 delivered" {
			t.Errorf("sent %s", got)
		}
		if e := w.last(Failed); !errors.Is(e.Err, errNoAccess) || e.Outcome != Ambiguous {
			t.Errorf("event %+v", e)
		}
	})
}

// The same refresh token beside an error is news of nothing: it has been sent.
func TestSameRefreshTokenBesideAnError(t *testing.T) {
	inWorld(t, time.Hour, nil, func(_ *testing.T, w *world) {
		w.signIn()
		for range 5 {
			w.issuer.then(func(_ context.Context, t Token) (Token, error) {
				return Token{RefreshToken: t.RefreshToken}, &RefreshError{}
			})
		}
		if err := w.client.Refresh(w.t.Context()); err == nil {
			w.t.Error("Refresh succeeded")
		}
		w.wantCalls(2)
	})
}

// An issuer that has ended the session gives way to Login in the same breath,
// but not to one that was called just now.
func TestLoginAfterAVerdict(t *testing.T) {
	verdict := fails(&RefreshError{Outcome: Rejected, Code: "invalid_grant"})
	inWorldWithLogin(t, time.Hour, nil, func(t *testing.T, w *world, logins *atomic.Int32) {
		w.signIn()
		w.restart()
		before := w.stored().SID
		w.issuer.then(verdict)
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh = %v", err)
		}
		w.wantToken("access-2")
		if w.stored().SID == before || w.told() != "session started, session ended, session started" {
			t.Errorf("told %s", w.told())
		}
		w.pass(10 * time.Second)
		w.issuer.then(verdict)
		if err := w.client.Refresh(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("Refresh = %v", err)
		}
		if err := w.client.Refresh(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("Refresh while Login has to wait = %v", err)
		}
		w.pass(49 * time.Second)
		if logins.Load() != 1 {
			t.Errorf("%d logins within a check interval", logins.Load())
		}
		w.pass(time.Second)
		if logins.Load() != 2 {
			t.Errorf("%d logins after it", logins.Load())
		}
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh of the token that Login brought: %v", err)
		}
	})
}

// Another process had the verdict. Login is called for it as for our own.
func TestLoginAfterAVerdictElsewhere(t *testing.T) {
	inWorldWithLogin(t, time.Hour, nil, func(t *testing.T, w *world, logins *atomic.Int32) {
		w.signIn()
		w.restart()
		w.change(record.Record.Ended)
		w.pass(time.Minute)
		if logins.Load() != 1 || w.count(SessionEnded) != 1 {
			t.Errorf("%d logins; told %s", logins.Load(), w.told())
		}
		w.wantToken("access-2")
	})
}

// The record of the session that is over is written once more while Login is
// under way: Login's session takes its place all the same.
func TestRecordChangesDuringLogin(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.cfg.Login = func(context.Context) (Token, error) {
			w.change(record.Record.Closed)
			return w.issuer.mint(), nil
		}
		w.restart()
		w.change(record.Record.Ended)
		w.pass(time.Minute)
		w.wantToken("access-2")
		if got := w.stored(); got.Tokens.AccessToken != "access-2" || got.Over {
			t.Errorf("stored %q", got.Tokens.AccessToken)
		}
	})
}

// Only one process at a time signs in.
func TestLoginTakesTheLease(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.cfg.Login = func(context.Context) (Token, error) {
			if w.leaseFree() {
				t.Error("the lease is free")
			}
			return w.issuer.mint(), nil
		}
		w.restart()
		w.wantToken("access-1")
	})
}

// Login's pace holds back neither a check nor the renewal of what it brought,
// and it is called as soon as the pace allows.
func TestPaceOfLogin(t *testing.T) {
	var logins atomic.Int32
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		down := true
		w.cfg.Login = func(context.Context) (Token, error) {
			logins.Add(1)
			if down {
				return Token{}, errors.New("connection refused")
			}
			return w.issuer.mint(), nil
		}
		w.restart()
		w.pass(30 * time.Second)
		started := logins.Load()
		next := w.last(Failed).Next
		if started != 1 || next != epoch.Add(time.Minute) {
			t.Fatalf("%d logins, the next at %v", started, next)
		}
		down = false
		w.pass(30 * time.Second)
		if logins.Load() != 2 {
			t.Fatalf("%d logins when it was time", logins.Load())
		}
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh right after Login: %v", err)
		}
		w.wantCalls(1)
	})
}

// Answers that only a person can change are counted in a row.
func TestVerdictsOnLoginInARow(t *testing.T) {
	for _, outcome := range []Outcome{Rejected, Misconfigured} {
		t.Run(outcome.String(), func(t *testing.T) {
			var at []time.Duration
			inWorld(t, time.Hour, nil, func(_ *testing.T, w *world) {
				w.cfg.Login = func(context.Context) (Token, error) {
					at = append(at, w.clock.Now().Sub(epoch))
					if len(at) == 3 {
						return w.issuer.mint(), nil
					}
					return Token{}, &RefreshError{Outcome: outcome}
				}
				w.restart()
				w.pass(20 * time.Minute) // at 0 and 5 min in vain, at 15 with success
				w.issuer.then(fails(&RefreshError{Outcome: Rejected}))
				_ = w.client.Refresh(w.t.Context()) // ends the session
				w.pass(6 * time.Minute)             // at 20 min in vain, then after 5 min again
			})
			want := []time.Duration{0, 5 * time.Minute, 15 * time.Minute, 20 * time.Minute, 25 * time.Minute}
			if len(at) != len(want) {
				t.Fatalf("Login was called at %v", at)
			}
			for i := range want {
				if at[i] != want[i] {
					t.Fatalf("Login was called at %v, want %v", at, want)
				}
			}
		})
	}
}

// The issuer rejects a refresh token that another process has replaced
// meanwhile: that is no verdict on the session.
func TestRejectedAfterARenewalElsewhere(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			w.change(renewedElsewhere(w.clock.Now(), time.Hour))
			return Token{}, &RefreshError{Outcome: Rejected}
		})
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh = %v", err)
		}
		w.wantToken("elsewhere")
		if w.count(SessionEnded) != 0 || w.stored().Over {
			t.Errorf("told %s", w.told())
		}
	})
}

// A verdict that cannot be written is no verdict yet: others would not know.
func TestVerdictThatCannotBeWritten(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			s.breaks("save")
			return Token{}, &RefreshError{Outcome: Rejected}
		})
		if err := w.client.Refresh(t.Context()); !errors.Is(err, errDisk) || errors.Is(err, ErrSignedOut) {
			t.Errorf("Refresh = %v", err)
		}
		if s := w.client.Status(); s.State != Degraded || w.count(SessionEnded) != 0 {
			t.Errorf("status %+v, told %s", s, w.told())
		}
		s.meet(nil)
	})
}

// Each failure waits longer than the one before, drawn from all of that time,
// whether the issuer or the store is at fault.
func TestBackoffOfFailures(t *testing.T) {
	for name, breaks := range map[string]func(*world, *hookedStore){
		"issuer": func(w *world, _ *hookedStore) {
			for range 20 {
				w.issuer.then(fails(&RefreshError{Outcome: Unavailable}))
			}
		},
		"store": func(_ *world, s *hookedStore) { s.breaks("lease") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newHookedStore()
			inWorld(t, 10*time.Minute, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
				w.draw = 0.5
				w.restart()
				w.signIn()
				breaks(w, s)
				w.pass(6 * time.Minute)
				s2 := w.client.Status()
				if s2.Failures < 4 || s2.Failures > 7 {
					t.Errorf("%d failures within half a minute, want 0.5 s, 1 s, 2 s, 4 s, 8 s between them", s2.Failures)
				}
				if e := w.last(Failed); e.Next.Sub(e.Time) != backoff(e.Time, int32(s2.Failures), lived(10*time.Minute, 0), 0.5) || e.Expiry != epoch.Add(10*time.Minute) || e.Reason != causeDue {
					t.Errorf("event %+v after %d failures", e, s2.Failures)
				}
				s.meet(nil)
			})
		})
	}
}

// Another process has renewed: our own failures are of no interest any more.
func TestAdoptingEndsOurFailures(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(fails(&RefreshError{Outcome: Unavailable, RetryAfter: time.Hour}))
		_ = w.client.Refresh(t.Context())
		if s := w.client.Status(); s.State != Degraded || s.Failures != 1 || s.NextCheck != epoch.Add(time.Minute) {
			t.Errorf("status after a failure: %+v", s)
		}
		var failed *RefreshError
		if err := w.client.Refresh(t.Context()); !errors.As(err, &failed) {
			t.Errorf("Refresh while it is held back: %v", err)
		}
		w.change(renewedElsewhere(w.clock.Now(), time.Hour))
		w.pass(time.Minute)
		if s := w.client.Status(); s.State != SignedIn || s.Failures != 0 || s.Err != nil || w.count(Adopted) != 1 {
			t.Errorf("status after adopting: %+v", s)
		}
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh of the adopted token: %v", err)
		}
	})
}

// So they are for whoever signs in anew.
func TestSignInEndsTheFailuresOfAnotherSession(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(fails(&RefreshError{Outcome: Unavailable, RetryAfter: time.Hour}))
		_ = w.client.Refresh(t.Context())
		w.signIn()
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh of the new session: %v", err)
		}
	})
}

// The grid of checks stays where it is, whatever wakes the loop in between.
func TestGridIsKept(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.pass(30 * time.Second)
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := w.client.Status(); s.NextCheck != epoch.Add(time.Minute) {
			t.Errorf("next check at %v", s.NextCheck)
		}
	})
}

// Somebody who asks is not held back by a token that did not change.
func TestRefreshAfterNoProgress(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		same, err := w.client.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		again := func(context.Context, Token) (Token, error) { return same, nil }
		w.issuer.then(again, again)
		for range 2 {
			if err := w.client.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.wantCalls(2)
	})
}

// However little is left of a token that does not change: no storm.
func TestNoProgressUntilTheEnd(t *testing.T) {
	inWorld(t, 10*time.Minute, nil, func(t *testing.T, w *world) {
		w.signIn()
		same, err := w.client.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			w.issuer.then(func(context.Context, Token) (Token, error) { return same, nil })
		}
		w.pass(10 * time.Minute)
		if n := w.issuer.calls(); n > 24 {
			t.Errorf("%d refreshes of a token that does not change", n)
		}
	})
}

// Nor for one of unknown expiry that the issuer hands out again and again.
func TestNoProgressWithAnUnknownExpiry(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		same := Token{AccessToken: "opaque", RefreshToken: "r", IssuedAt: epoch}
		if err := w.client.SignIn(t.Context(), same); err != nil {
			t.Fatal(err)
		}
		for range 10000 {
			w.issuer.then(func(context.Context, Token) (Token, error) { return same, nil })
		}
		w.pass(3 * time.Hour)
		if n := w.issuer.calls(); n < 2 || n > 10 {
			t.Errorf("%d refreshes in two hours of a token that does not change", n)
		}
	})
}

// A pair that comes late finds a newer one of the same sign-in, or another
// sign-in: it is beaten, and told of by nobody.
func TestBeatenPair(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			for range 2 {
				w.change(renewedElsewhere(w.clock.Now(), time.Hour))
			}
			return w.issuer.mint(), nil
		})
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh = %v", err)
		}
		w.wantToken("elsewhere")
		w.pass(time.Minute)
		if got := w.told(); got != "session started, adopted" {
			t.Errorf("told: %s", got)
		}
	})
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		proceed := make(chan struct{})
		w.cfg.Login = func(context.Context) (Token, error) {
			<-proceed
			return Token{AccessToken: "of-Login", RefreshToken: "r"}, nil
		}
		w.restart()
		w.signIn()
		close(proceed)
		w.pass(time.Minute)
		w.wantToken("access-1")
		if got := w.told(); got != "session started" {
			t.Errorf("told: %s", got)
		}
	})
}

// Somebody else noted an attempt during ours; the pair is newer all the same.
func TestNoteElsewhereDuringAnExchange(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			w.change(func(r record.Record) record.Record { return r.Announced("other", causeDue, w.clock.Now()) })
			return w.issuer.mint(), nil
		})
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh: %v", err)
		}
		if r := w.stored(); r.Tokens.AccessToken != "access-2" || r.Note.Open() {
			t.Errorf("stored %q", r.Tokens.AccessToken)
		}
		if s := w.client.Status(); s.State != SignedIn || s.PersistPending {
			t.Errorf("status %+v", s)
		}
	})
}

// A renewal of the session before fails after somebody has signed in: its note
// is no longer theirs to close.
func TestFailureOfAnotherSession(t *testing.T) {
	for _, outcome := range []Outcome{NotSent, Rejected} {
		inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
			w.signIn()
			proceed := make(chan struct{})
			w.issuer.then(func(context.Context, Token) (Token, error) {
				<-proceed
				return Token{}, &RefreshError{Outcome: outcome}
			})
			go func() { _ = w.client.Refresh(t.Context()) }()
			synctest.Wait()
			w.signIn()
			close(proceed)
			synctest.Wait()
			if r := w.stored(); r.Tokens.AccessToken != "access-2" || r.Over {
				t.Errorf("%v: stored %q, over = %t", outcome, r.Tokens.AccessToken, r.Over)
			}
			w.wantToken("access-2")
		})
	}
}

// Nor is it for them to try again what would be, with the old token: the fresh one
// is left alone.
func TestFailureThatIsNotTriedAgain(t *testing.T) {
	for name, begin := range map[string]func(*world){
		"signed in":  func(w *world) { w.signIn() },
		"signed out": func(w *world) { _ = w.client.SignOut(w.t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
				w.signIn()
				proceed := make(chan struct{})
				w.issuer.then(func(context.Context, Token) (Token, error) {
					<-proceed
					return Token{}, &RefreshError{Outcome: Ambiguous} // to be sent again at once
				})
				go func() { _ = w.client.Refresh(t.Context()) }()
				synctest.Wait()
				begin(w)
				close(proceed)
				w.pass(time.Minute)
				w.wantCalls(1)
				if s := w.client.Status(); s.Err != nil || s.Failures != 0 {
					t.Errorf("status: %+v", s)
				}
			})
		})
	}
}

// The pair of a session that somebody else has signed out, not saved yet, is
// theirs to end: nobody else knows of it. A saved one is not.
func TestSignOutElsewhere(t *testing.T) {
	for name, tt := range map[string]struct {
		unsaved bool
		revoked string
	}{"unsaved pair": {true, "refresh-2"}, "saved pair": {false, ""}} {
		t.Run(name, func(t *testing.T) {
			s := newHookedStore()
			inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
				w.signIn()
				w.issuer.then(func(context.Context, Token) (Token, error) {
					if tt.unsaved {
						s.breaks("save")
					}
					return w.issuer.mint(), nil
				})
				if err := w.client.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := w.client.Status(); got.PersistPending != tt.unsaved || (got.Err != nil) != tt.unsaved {
					t.Errorf("status %+v", got)
				}
				if err := s.Memory.Delete(t.Context(), "default", ""); err != nil {
					t.Fatal(err)
				}
				s.meet(nil)
				w.pass(2 * time.Minute)
				if got := w.issuer.revocations(); got != tt.revoked {
					t.Errorf("revoked %q, want %q", got, tt.revoked)
				}
				if _, err := w.client.Token(t.Context()); !errors.Is(err, ErrSignedOut) || !w.absent() {
					t.Errorf("Token = %v", err)
				}
			})
		})
	}
}

// A first sign-in that could not be saved is not mistaken for one that somebody
// has signed out.
func TestLoginThatCannotBeSaved(t *testing.T) {
	s := newHookedStore()
	inWorldWithLogin(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world, logins *atomic.Int32) {
		s.breaks("save")
		w.restart()
		w.wantToken("access-1")
		w.pass(3 * time.Minute)
		w.wantToken("access-1")
		if s := w.client.Status(); !s.PersistPending || s.State != Degraded {
			t.Errorf("status %+v", s)
		}
		s.meet(nil)
		w.pass(5 * time.Second)
		if got := w.stored().Tokens.AccessToken; got != "access-1" || logins.Load() != 1 {
			t.Errorf("stored %q after %d logins", got, logins.Load())
		}
	})
}

// The store has taken the pair although it said that it had not.
func TestSaveThatSucceededDespiteItsError(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			s.once("saved", func(context.Context) error { return errDisk })
			return w.issuer.mint(), nil
		})
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantToken("access-1")
		before := w.stored()
		item, err := s.Load(t.Context(), "default")
		if err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Second)
		w.wantToken("access-2")
		after, err := s.Load(t.Context(), "default")
		if err != nil || after.Version != item.Version || before.Gen != 2 {
			t.Errorf("written again, from %s to %s", item.Version, after.Version)
		}
	})
}

// A new token that is not saved yet is served the moment the old one has ended,
// whatever of the store is out of order.
func TestUnsavedPairAtTheEndOfTheOldOne(t *testing.T) {
	for _, broken := range [][]string{{"save"}, {"load", "save"}} {
		s := newHookedStore()
		inWorld(t, 10*time.Minute, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
			w.signIn()
			w.issuer.then(func(context.Context, Token) (Token, error) {
				s.breaks(broken...)
				return w.issuer.mint(), nil
			})
			w.pass(9*time.Minute + 58*time.Second)
			if got := w.client.session.served.Load().Tokens.AccessToken; got != "access-1" {
				t.Fatalf("%v: serves %s", broken, got)
			}
			w.pass(time.Second)
			if got := w.client.session.served.Load().Tokens.AccessToken; got != "access-2" {
				t.Fatalf("%v: serves %s, whose time is up", broken, got)
			}
			s.meet(nil)
		})
	}
}

// One step with the store may take ten seconds.
func TestStoreThatHangs(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world) {
		w.signIn()
		s.once("load", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		w.pass(time.Minute + 9*time.Second)
		if s := w.client.Status(); s.Err != nil {
			t.Fatalf("status %+v before the time was up", s)
		}
		w.pass(time.Second)
		if s := w.client.Status(); !errors.Is(s.Err, context.DeadlineExceeded) || s.State != Degraded {
			t.Fatalf("status %+v", s)
		}
		w.pass(time.Minute)
		if s := w.client.Status(); s.Err != nil || s.State != SignedIn {
			t.Fatalf("status %+v once the store is back", s)
		}
	})
}

// Without a lease that is kept alive meanwhile a pair is saved as soon, too.
func TestUnsavedPairIsSavedSoon(t *testing.T) {
	s := newHookedStore()
	inWorld(t, time.Hour, func(c *Config) { c.Store = unsharedStore{s} }, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			s.once("save", func(context.Context) error { return errDisk })
			return w.issuer.mint(), nil
		})
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantToken("access-1")
		w.pass(saveAgain)
		w.wantToken("access-2")
	})
}

// A Login over a damaged record is saved once the store takes it.
func TestLoginOverADamagedRecordThatCannotBeSaved(t *testing.T) {
	s := newHookedStore()
	inWorldWithLogin(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world, logins *atomic.Int32) {
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Save(t.Context(), "default", []byte("junk"), ""); err != nil {
			t.Fatal(err)
		}
		s.breaks("save")
		before := logins.Load()
		w.restart()
		w.pass(time.Minute)
		s.meet(nil)
		w.pass(time.Minute)
		if s := w.client.Status(); s.PersistPending || s.State != SignedIn || logins.Load() != before+1 {
			t.Fatalf("status %+v after %d logins", s, logins.Load()-before)
		}
		if item, err := s.Load(t.Context(), "default.corrupt"); err != nil || string(item.Data) != "junk" {
			t.Errorf("kept aside %q, %v", item.Data, err)
		}
		w.stored()
	})
}

// A record that is damaged while the client runs is replaced by a Login once the
// token in memory has ended; without a Login it is left for a person to see.
func TestRecordDamagedMeanwhile(t *testing.T) {
	for _, login := range []bool{true, false} {
		s := newHookedStore()
		inWorldWithLogin(t, time.Hour, func(c *Config) { c.Store = s }, func(t *testing.T, w *world, logins *atomic.Int32) {
			if !login {
				w.cfg.Login = nil
			}
			w.restart()
			w.signIn()
			item, err := s.Load(t.Context(), "default")
			if err == nil {
				_, err = s.Save(t.Context(), "default", []byte("junk"), item.Version)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := w.issuer.mint().AccessToken
			w.pass(59*time.Minute + 30*time.Second)
			if logins.Load() > 1 || w.issuer.calls() != 0 {
				t.Fatalf("%d logins and %d refreshes while the token lives", logins.Load(), w.issuer.calls())
			}
			w.pass(2 * time.Minute)
			if !login {
				if _, err := w.client.Token(t.Context()); !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("Token = %v", err)
				}
				return
			}
			if got := w.stored().Tokens.AccessToken; got <= before {
				t.Errorf("stored %s", got)
			}
			if aside, err := s.Load(t.Context(), "default.corrupt"); err != nil || string(aside.Data) != "junk" {
				t.Errorf("kept aside %q, %v", aside.Data, err)
			}
			w.wantCalls(0)
		})
	}
}

// What comes beside an error replaces what it holds, and nothing else.
func TestExtraBesideAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		extra map[string]string
		want  string
	}{"with Extra": {map[string]string{"k": "new"}, "new"}, "without": {nil, "old"}} {
		inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
			token := w.issuer.mint()
			token.Extra = map[string]string{"k": "old"}
			if err := w.client.SignIn(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			w.issuer.then(func(context.Context, Token) (Token, error) {
				return Token{RefreshToken: "delivered", Extra: tt.extra}, &RefreshError{}
			})
			_ = w.client.Refresh(t.Context())
			if got := w.stored().Tokens; got.RefreshToken != "delivered" || got.Extra["k"] != tt.want {
				t.Errorf("%s: stored %+v", name, got)
			}
		})
	}
}

// A process may have been frozen until its new token had ended: the next one is
// fetched at once, but not for ever.
func TestTokenThatHadEndedOnArrivalOnce(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(func(context.Context, Token) (Token, error) {
			return Token{AccessToken: "late", RefreshToken: "refresh-late", Expiry: w.clock.Now().Add(-time.Second)}, nil
		})
		if err := w.client.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh = %v", err)
		}
		if got := strings.Join(w.issuer.sent, " "); got != "refresh-1 refresh-late" {
			t.Errorf("sent %s", got)
		}
	})
}

// Whoever wraps the issuer can learn what an exchange is for.
func TestAttempt(t *testing.T) {
	inWorld(t, time.Hour, nil, func(t *testing.T, w *world) {
		var seen []attempt.Attempt
		w.signIn()
		lost := func(ctx context.Context, _ Token) (Token, error) {
			seen = append(seen, attempt.From(ctx))
			return Token{}, &RefreshError{Outcome: Ambiguous}
		}
		w.issuer.then(lost, lost)
		if err := w.client.Refresh(t.Context()); err == nil {
			t.Error("renewed")
		}
		if want := []attempt.Attempt{{Reason: "asked", N: 1}, {Reason: "asked", N: 2}}; !slices.Equal(seen, want) {
			t.Errorf("seen %+v, want %+v", seen, want)
		}
	})
}
