package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/internal/identity"
	"github.com/evertoken/evertoken/issuer/oauth"
	"github.com/evertoken/evertoken/storage"
)

// password is a grant of the matching server that needs no browser (RFC 6749,
// section 4.3).
func password(context.Context) (url.Values, error) {
	return url.Values{"grant_type": {"password"}, "username": {evertest.Login}, "password": {evertest.Password}}, nil
}

// A world is a server and a client in a bubble, on one mock clock.
type world struct {
	*evertest.Server
	t      *testing.T
	clock  *clock.Mock
	issuer *oauth.Issuer
	client *evertoken.Client
}

func inWorld(t *testing.T, o evertest.Options, f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, clock: clock.NewMock()}
		w.clock.Set(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
		o.Now = w.clock.Now
		w.Server = evertest.NewServer(t, o)
		w.issuer = &oauth.Issuer{
			TokenURL: w.URL + "/oauth/token", RevocationURL: w.URL + "/oauth/revoke", APIs: []string{w.URL},
			Transport: w.Transport(), Clock: w.clock, Grant: password,
		}
		var err error
		w.client, err = evertoken.New(t.Context(), evertoken.Config{
			Issuer: w.issuer, Login: w.issuer.Mint, Base: w.Transport(), Clock: w.clock,
			Store: storage.NewMemory(), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		f(t, w)
		if err := w.client.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) pass(d time.Duration) {
	synctest.Wait()
	for ; d > 0; d -= 10 * time.Second {
		w.clock.Add(10 * time.Second)
		synctest.Wait()
	}
}

func (w *world) get() (int, error) {
	resp, err := w.client.HTTP().Get(w.URL + "/api/users/me/profile")
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func (w *world) wantSignedIn() {
	w.t.Helper()
	if status, err := w.get(); status != http.StatusOK {
		w.t.Fatalf("the API answered %d, %v", status, err)
	}
}

// A day on tokens that live for ten minutes: no request fails, no token is spent
// twice.
func TestADayOnRotatingTokens(t *testing.T) {
	inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true}, func(t *testing.T, w *world) {
		for range 24 * 60 {
			w.pass(time.Minute)
			w.wantSignedIn()
		}
		if got := w.Counts(); got.SpentTwice != 0 || got.ExpiredSent != 0 || got.Refreshes < 230 {
			t.Fatalf("%+v", got)
		}
	})
}

// What breaks on the way to the token endpoint, and what becomes of the session.
func TestFaultsOnTheWay(t *testing.T) {
	for name, tt := range map[string]struct {
		fault evertest.Fault
		lost  bool // no client can save it: the new token never arrived
	}{
		"a portal":                {evertest.Status(200), false},
		"a proxy's 401":           {evertest.Status(401), false},
		"429":                     {evertest.Status(429), false},
		"502":                     {evertest.Status(502), false},
		"dropped before":          {evertest.DropBefore(), false},
		"the answer was lost":     {evertest.DropAfter(), true},
		"the body was cut in two": {evertest.LoseBody(), true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true}, func(t *testing.T, w *world) {
				w.pass(time.Minute)
				w.wantSignedIn()
				first, err := w.client.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				w.Fail(1, tt.fault)
				for range 30 {
					w.pass(time.Minute)
					w.wantSignedIn() // the grant signs in again if it must
				}
				if got := w.Counts(); (got.SpentTwice > 0) != tt.lost || got.ExpiredSent != 0 {
					t.Errorf("%+v, first token %v", got, first)
				}
			})
		})
	}
}

func TestRevokedAndSignedOut(t *testing.T) {
	inWorld(t, evertest.Options{Lifetime: 10 * time.Minute, Rotate: true}, func(t *testing.T, w *world) {
		w.pass(time.Minute)
		w.wantSignedIn()
		w.RevokeSessions()
		w.ExpireAccessTokens()
		w.wantSignedIn() // the grant signs in again, and the request that was refused is sent again
		last, err := w.client.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.get(); !errors.Is(err, evertoken.ErrSignedOut) {
			t.Errorf("after SignOut: %v", err)
		}
		_, err = w.issuer.Refresh(t.Context(), last)
		var failed *evertoken.RefreshError
		if !errors.As(err, &failed) || failed.Outcome != evertoken.Rejected || failed.Code != "invalid_grant" {
			t.Errorf("the refresh token after SignOut: %v, want it dead", err)
		}
	})
}

// A program that speaks for itself has no refresh token: each renewal, in the
// background or after a 401, is a new one for the same session.
func TestClientCredentials(t *testing.T) {
	core, err := identity.New(identity.Config{Clients: []identity.Client{{ID: "robot:1", Secret: "p&q %+"}}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(core)
	defer srv.Close()
	for name, proof := range map[string]func(id, secret string) (oauth.ClientAuth, error){
		"basic": oauth.ClientSecretBasic, "post": oauth.ClientSecretPost,
	} {
		auth, err := proof("robot:1", "p&q %+")
		if err != nil {
			t.Fatal(err)
		}
		issuer := &oauth.Issuer{TokenURL: srv.URL + "/oauth/token", Client: auth, Grant: oauth.ClientCredentials, APIs: []string{srv.URL}}
		events := make(chan evertoken.Event, 16)
		client, err := evertoken.New(t.Context(), evertoken.Config{
			Issuer: issuer, Login: issuer.Mint, Logger: slog.New(slog.DiscardHandler), OnEvent: func(e evertoken.Event) { events <- e },
		})
		if err != nil {
			t.Fatal(err)
		}
		get := func() string {
			resp, err := client.HTTP().Get(srv.URL + "/api/users/me/profile")
			if err != nil {
				return err.Error()
			}
			return resp.Status + fmt.Sprint(resp.Body.Close())
		}
		first := get()
		core.ExpireAccessTokens()
		if second := get(); second != first {
			t.Errorf("%s: %s, then %s", name, first, second)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if a, b := (<-events).Kind, (<-events).Kind; a != evertoken.SessionStarted || b != evertoken.Renewed {
			t.Errorf("%s: events %v, %v: the session did not go on", name, a, b)
		}
	}
}
