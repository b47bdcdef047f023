package evertest_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/storage"
)

// A world is a server and a client in a bubble, on one mock clock.
type world struct {
	*evertest.Server
	t      *testing.T
	clock  *clock.Mock
	cfg    evertoken.Config
	client *evertoken.Client
}

func inWorld(t *testing.T, o evertest.Options, f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, clock: clock.NewMock()}
		w.clock.Set(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
		o.Now = w.clock.Now
		w.Server = evertest.NewServer(t, o)
		w.cfg = w.Config()
		w.cfg.Clock = w.clock
		w.cfg.Logger = slog.New(slog.DiscardHandler)
		w.cfg.Store = storage.NewMemory()
		w.client = w.open()
		f(t, w)
		w.close(w.client)
	})
}

func (w *world) open() *evertoken.Client {
	w.t.Helper()
	c, err := evertoken.New(w.t.Context(), w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) close(c *evertoken.Client) {
	w.t.Helper()
	if err := c.Close(); err != nil {
		w.t.Errorf("Close: %v", err)
	}
}

func (w *world) pass(d, step time.Duration) {
	synctest.Wait()
	for ; d > 0; d -= step {
		w.clock.Add(min(step, d))
		synctest.Wait()
	}
}

// get asks the protected API, and returns the status.
func (w *world) get() int {
	w.t.Helper()
	resp, err := w.client.HTTP().Get(w.URL + "/api/users/me/profile")
	if err != nil {
		w.t.Fatalf("GET: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		w.t.Fatalf("GET: %v", err)
	}
	return resp.StatusCode
}

func (w *world) wantSignedIn() {
	w.t.Helper()
	if got := w.get(); got != http.StatusOK {
		w.t.Fatalf("the API answered %d", got)
	}
}

func TestADayOnRotatingTokens(t *testing.T) {
	inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true}, func(t *testing.T, w *world) {
		for range 24 * 60 {
			w.pass(time.Minute, time.Minute)
			w.wantSignedIn()
		}
		if got := w.Counts(); got.SpentTwice != 0 || got.ExpiredSent != 0 || got.Refreshes < 230 {
			t.Fatalf("%+v", got)
		}
	})
}

// What breaks on the way to the issuer, and what must become of the session.
func TestFaultsOnTheWay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		rotate bool
		grace  time.Duration
		n      int
		fault  evertest.Fault
		lost   bool // no client can save it
	}{
		{"HTML 200 of a captive portal", true, 0, 3, evertest.Status(200), false},
		{"HTML 401 of a proxy", true, 0, 3, evertest.Status(401), false},
		{"HTML 403 of a WAF", true, 0, 3, evertest.Status(403), false},
		{"429", true, 0, 3, evertest.Status(429), false},
		{"503", true, 0, 3, evertest.Status(503), false},
		{"500", true, 0, 1, evertest.Status(500), false},
		{"dropped before the issuer saw it", true, 0, 1, evertest.DropBefore(), false},
		{"slow", true, 0, 1, evertest.Delay(40 * time.Second), false},
		{"body lost, cookie delivered", true, 0, 3, evertest.LoseBody(), false},
		{"reply lost, within the grace", true, 10 * time.Minute, 1, evertest.DropAfter(), false},
		{"reply lost, no rotation", false, 0, 1, evertest.DropAfter(), false},
		{"reply lost, no grace", true, 0, 1, evertest.DropAfter(), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: tt.rotate, ReuseGrace: tt.grace}, func(t *testing.T, w *world) {
				w.wantSignedIn()
				w.close(w.client)
				w.cfg.Login = nil // the session, or nothing
				w.client = w.open()
				w.Fail(tt.n, tt.fault)
				for range 20 {
					w.pass(30*time.Second, time.Second)
					if status := w.client.Status(); status.State == evertoken.SignedOut && !tt.lost {
						t.Fatalf("signed out: %+v", status)
					}
				}
				_, err := w.client.Token(t.Context())
				if lost := errors.Is(err, evertoken.ErrSignedOut); lost != tt.lost || !lost && err != nil {
					t.Fatalf("Token = %v; lost = %v, want %v", err, lost, tt.lost)
				}
				if n := w.Counts().ExpiredSent; n != 0 {
					t.Fatalf("%d expired tokens were sent", n)
				}
			})
		})
	}
}

func TestRevokedTokenIsReplacedBehindTheScenes(t *testing.T) {
	inWorld(t, evertest.Options{}, func(t *testing.T, w *world) {
		w.wantSignedIn()
		w.pass(time.Minute, time.Minute)
		w.ExpireAccessTokens()
		w.wantSignedIn()
		if n := w.Counts().Refreshes; n != 1 {
			t.Fatalf("%d refreshes, want 1", n)
		}
	})
}

func TestRevokedSessionIsSignedInAgain(t *testing.T) {
	inWorld(t, evertest.Options{Lifetime: 10 * time.Minute}, func(t *testing.T, w *world) {
		w.wantSignedIn()
		w.RevokeSessions()
		w.pass(12*time.Minute, time.Second)
		w.wantSignedIn() // by Login
	})
}

func TestTwoClientsOnOneStore(t *testing.T) {
	inWorld(t, evertest.Options{Lifetime: 5 * time.Minute, Rotate: true}, func(t *testing.T, w *world) {
		w.wantSignedIn()
		other := w.open()
		defer w.close(other)
		for range 120 {
			w.pass(30*time.Second, 10*time.Second)
			w.wantSignedIn()
			if _, err := other.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.Counts(); got.SpentTwice != 0 || got.Refreshes == 0 {
			t.Fatalf("%+v", got)
		}
	})
}

// One exchange for a thousand requests that meet an expired token at once.
func TestThousandRequestsOneExchange(t *testing.T) {
	inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true}, func(t *testing.T, w *world) {
		w.wantSignedIn()
		w.close(w.client)
		w.clock.Add(time.Hour)
		w.client = w.open()
		var ok atomic.Int32
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				if _, err := w.client.Token(t.Context()); err == nil {
					ok.Add(1)
				}
			})
		}
		wg.Wait()
		if got := w.Counts(); ok.Load() != 1000 || got.Refreshes != 1 {
			t.Fatalf("%d of 1000 got a token, %+v", ok.Load(), got)
		}
	})
}

// Close cancels an exchange that still dials, and lets one finish that is on
// the wire.
func TestCloseDuringAnExchange(t *testing.T) {
	inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true}, func(t *testing.T, w *world) {
		w.wantSignedIn()
		w.Fail(1, evertest.Delay(20*time.Second)) // of the bubble's own time
		go func() { _ = w.client.Refresh(t.Context()) }()
		synctest.Wait()
		w.close(w.client)
		w.client = w.open()
		w.wantSignedIn()
		w.pass(20*time.Minute, time.Minute)
		w.wantSignedIn()
		if got := w.Counts(); got.SpentTwice != 0 {
			t.Fatalf("%+v: the pair that was under way at Close was not saved", got)
		}
	})
}

func TestListen(t *testing.T) {
	srv := evertest.NewServer(t)
	issuer := &lightnap.Issuer{BaseURL: srv.Listen()}
	token, err := issuer.Login(t.Context(), lightnap.Credentials{Login: evertest.Login, Password: evertest.Password})
	if err != nil {
		t.Fatal(err)
	}
	user, err := lightnap.Identity(token)
	if err != nil || user.Email != evertest.Login || !user.InRole("User") || user.InRole("Administrator") {
		t.Fatalf("Identity = %+v, %v", user, err)
	}
	renewed, err := issuer.Refresh(t.Context(), token)
	if err != nil || renewed.AccessToken == "" {
		t.Fatalf("Refresh: %v", err)
	}
	devices, err := issuer.Devices(t.Context(), token)
	if err != nil || len(devices) != 1 {
		t.Fatalf("Devices = %+v, %v", devices, err)
	}
	if err := issuer.RevokeDevice(t.Context(), token, devices[0].ID); err != nil {
		t.Fatal(err)
	}
	var failed *evertoken.RefreshError
	if _, err := issuer.Refresh(t.Context(), token); !errors.As(err, &failed) || failed.Outcome != evertoken.Rejected {
		t.Fatalf("Refresh of a revoked device: %v, want Rejected", err)
	}
}

// What the examples show of virtual time has to pass.
func TestExampleOfADay(t *testing.T) { testADay(t) }

// Off the network means for everybody: whoever dials, whoever has a connection since
// before, and at the port. It ends by the server's clock.
func TestOutage(t *testing.T) {
	inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true}, func(t *testing.T, w *world) {
		w.wantSignedIn() // over a connection that is kept
		w.Outage(4 * time.Minute)
		for range 4 {
			resp, err := w.client.HTTP().Get(w.URL + "/api/users/me/profile")
			if err == nil {
				_ = resp.Body.Close()
				t.Fatalf("answered %d", resp.StatusCode)
			}
			w.pass(time.Minute-time.Second, time.Second)
		}
		w.pass(4*time.Second, time.Second)
		w.wantSignedIn()
		if n := w.Counts().Refreshes; n != 0 {
			t.Errorf("%d refreshes reached the issuer", n)
		}
	})
}

func TestOutageAtThePort(t *testing.T) {
	srv := evertest.NewServer(t)
	url := srv.Listen()
	for _, out := range []bool{false, true, false} {
		srv.Outage(0)
		if out {
			srv.Outage(time.Hour)
		}
		resp, err := http.Get(url + "/api/users/me/profile")
		if err == nil {
			_ = resp.Body.Close()
		}
		if (err != nil) != out {
			t.Errorf("out %t: %v", out, err)
		}
	}
}

// Silence costs an attempt its whole time, and no session: the refresh is repeated
// before the token ends.
func TestStall(t *testing.T) {
	inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true}, func(t *testing.T, w *world) {
		w.wantSignedIn()
		w.Script(evertest.Stall())
		w.pass(9*time.Minute, time.Second)
		if n := w.Counts().Refreshes; n != 0 {
			t.Errorf("%d refreshes after silence", n)
		}
		w.pass(time.Minute, time.Second)
		w.wantSignedIn()
		if n := w.Counts().Refreshes; n != 1 {
			t.Errorf("%d refreshes at the end of the token", n)
		}
	})
}

// Whoever tests with synctest needs no clock of their own: in a bubble, time
// itself is virtual, for the client, the server and what is between them.
func TestInABubbleOnItsOwnTime(t *testing.T) {
	begin := time.Now()
	synctest.Test(t, func(t *testing.T) {
		srv := evertest.NewServer(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true})
		client := srv.NewClient(srv.Config())
		srv.Fail(1, evertest.Delay(20*time.Second))
		for range 24 * 60 {
			if resp, err := client.HTTP().Get(srv.URL + "/api/users/me/profile"); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("GET: %v, %v", resp, err)
			} else if err := resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Minute)
		}
		// One every five to six minutes, after the first minute.
		if got := srv.Counts(); got.Refreshes < 235 || got.Refreshes > 290 || got.SpentTwice+got.ExpiredSent != 0 {
			t.Errorf("%+v", got)
		}
	})
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("a day took %v", took)
	}
}

// A session's token of before Rotate(true) is spent like any other.
func TestRotateAtRunTime(t *testing.T) {
	srv := evertest.NewServer(t)
	issuer := srv.Issuer()
	refresh := func(old evertoken.Token) (evertoken.Token, error) { return issuer.Refresh(t.Context(), old) }
	first, err := issuer.Login(t.Context(), lightnap.Credentials{Login: evertest.Login, Password: evertest.Password, RememberMe: true})
	if err != nil {
		t.Fatal(err)
	}
	if same, err := refresh(first); err != nil || same.RefreshToken != first.RefreshToken {
		t.Errorf("without rotation: rotated %t, %v", same.RefreshToken != first.RefreshToken, err)
	}
	srv.Rotate(true)
	second, err := refresh(first)
	if err != nil || second.RefreshToken == first.RefreshToken {
		t.Errorf("with rotation: %v", err)
	}
	if _, err := refresh(first); err == nil {
		t.Error("a spent refresh token was accepted")
	}
	if _, err := refresh(second); err == nil {
		t.Error("the session outlived a token that was spent twice")
	}
	if got := (evertest.Counts{Refreshes: 4, SpentTwice: 1}); srv.Counts() != got {
		t.Errorf("%+v, want %+v", srv.Counts(), got)
	}
}

// Faults happen in the order in which they were asked for, each as often.
func TestFaultsInOrder(t *testing.T) {
	srv := evertest.NewServer(t)
	srv.Fail(2, evertest.Status(http.StatusTooManyRequests))
	srv.Fail(1, evertest.Status(http.StatusBadGateway))
	client := &http.Client{Transport: srv.Transport()}
	for i, want := range []int{429, 429, 502, 200} {
		resp, err := client.Get(srv.URL + "/api/Identity/access-token")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("refresh %d: status %d, want %d", i, resp.StatusCode, want)
		}
	}
	if n := srv.Counts().Refreshes; n != 1 {
		t.Errorf("the issuer saw %d, want the last one alone", n)
	}
}

// Only a valid access token gets to the API behind the server, and the issuer's
// own paths stay the issuer's.
func TestHandler(t *testing.T) {
	seen := make(map[string]int)
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen[r.URL.Path]++
		w.WriteHeader(http.StatusTeapot)
	})
	inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Handler: api}, func(t *testing.T, w *world) {
		token, err := w.client.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ask := func(path string) int {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token.AccessToken)
			resp, err := w.Transport().RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			return resp.StatusCode
		}
		if a, b := ask("/orders"), ask("/api/users/me/profile"); a != http.StatusTeapot || b != http.StatusOK {
			t.Errorf("the API answered %d, the profile %d", a, b)
		}
		w.clock.Add(10 * time.Minute) // past its expiry, and sent all the same
		if got := ask("/orders"); got != http.StatusUnauthorized || seen["/orders"] != 1 || len(seen) != 1 {
			t.Errorf("an expired token got %d; the API saw %v", got, seen)
		}
		if n := w.Counts().ExpiredSent; n != 1 {
			t.Errorf("%d requests with an expired token were counted", n)
		}
	})
}
