package evertest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/issuer/oauth"
	"github.com/evertoken/evertoken/storage"
)

// exampleT stands for the *testing.T of a test, which an example has not got.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper()                   {}
func (t *exampleT) Context() context.Context  { return context.Background() }
func (t *exampleT) Cleanup(f func())          { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Errorf(s string, a ...any) { log.Printf(s, a...) }
func (t *exampleT) Fatal(a ...any)            { log.Fatal(a...) }
func (t *exampleT) Fatalf(s string, a ...any) { log.Fatalf(s, a...) }

// end does what the end of a test does.
func (t *exampleT) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// quiet is the configuration of a client without its log.
func quiet(srv *evertest.Server) evertoken.Config {
	cfg := srv.Config()
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// newClient is a client that has signed in.
func newClient(t *exampleT, srv *evertest.Server) *evertoken.Client {
	client := srv.NewClient(quiet(srv))
	if _, err := client.Token(t.Context()); err != nil { // signs in
		t.Fatal(err)
	}
	return client
}

func visit(t *exampleT, client *http.Client, url string) string {
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Status
}

// A program is told 401 behind the scenes, and does not notice.
func ExampleServer_ExpireAccessTokens() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t)
	client := newClient(t, srv)
	srv.ExpireAccessTokens()
	fmt.Println(visit(t, client.HTTP(), srv.URL+"/api/users/me/profile"))
	fmt.Println(srv.Counts().Refreshes, "refresh")
	// Output:
	// 200 OK
	// 1 refresh
}

// The issuer ends the session; the next renewal finds out.
func ExampleServer_RevokeSessions() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t)
	client := newClient(t, srv)
	srv.RevokeSessions()
	err := client.Refresh(t.Context())
	var failed *evertoken.RefreshError
	if errors.As(err, &failed) {
		fmt.Println(failed.Outcome)
	}
	// Output: rejected
}

// No refresh token is used twice.
func ExampleServer_Rotate() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t)
	client := newClient(t, srv)
	srv.Rotate(true)
	for range 3 {
		if err := client.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("%+v\n", srv.Counts())
	// Output: {Refreshes:3 SpentTwice:0 ExpiredSent:0}
}

// What breaks on the way to the issuer, and what the client makes of it. It
// serves its token meanwhile, whatever happens.
func ExampleServer_Fail() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	for _, f := range []struct {
		what  string
		fault evertest.Fault
	}{
		{"a proxy in maintenance", evertest.Status(http.StatusServiceUnavailable)},
		{"a slow issuer", evertest.Delay(10 * time.Millisecond)},
		{"the request lost", evertest.DropBefore()},
		{"the reply lost", evertest.DropAfter()},
		{"half of the reply lost", evertest.LoseBody()},
	} {
		srv := evertest.NewServer(t, evertest.Options{Rotate: true, ReuseGrace: time.Minute})
		client := newClient(t, srv)
		srv.Fail(1, f.fault)
		err := client.Refresh(t.Context())
		var failed *evertoken.RefreshError
		switch {
		case errors.As(err, &failed):
			fmt.Printf("%s: %v\n", f.what, failed.Outcome)
		case err == nil:
			fmt.Printf("%s: renewed, the issuer saw %d\n", f.what, srv.Counts().Refreshes)
		}
		if _, err := client.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Output:
	// a proxy in maintenance: unavailable
	// a slow issuer: renewed, the issuer saw 1
	// the request lost: renewed, the issuer saw 1
	// the reply lost: renewed, the issuer saw 2
	// half of the reply lost: ambiguous
}

// Step by step: the second refresh meets a closed connection, which is repeated at
// once, and the one after that a proxy. The rest goes well.
func ExampleServer_Script() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t, evertest.Options{Rotate: true})
	client := newClient(t, srv)
	srv.Script(nil, evertest.DropBefore(), nil, evertest.Status(http.StatusForbidden))
	for range 3 {
		err := client.Refresh(t.Context())
		var failed *evertoken.RefreshError
		if errors.As(err, &failed) {
			fmt.Println(failed.Outcome, failed.StatusCode)
		}
	}
	fmt.Printf("%+v\n", srv.Counts())
	// Output:
	// unavailable 403
	// {Refreshes:2 SpentTwice:0 ExpiredSent:0}
}

// An issuer that asks for patience gets it.
func ExampleBusy() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t)
	client := newClient(t, srv)
	srv.Script(evertest.Busy(7 * time.Second))
	var failed *evertoken.RefreshError
	if errors.As(client.Refresh(t.Context()), &failed) {
		fmt.Println(failed.Outcome, failed.RetryAfter)
	}
	// Output: unavailable 7s
}

// Off the network: the token that is there goes on being served, although its API
// is gone as well.
func ExampleServer_Outage() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t)
	client := newClient(t, srv)
	srv.Outage(time.Hour)
	var failed *evertoken.RefreshError
	if errors.As(client.Refresh(t.Context()), &failed) {
		fmt.Println(failed.Outcome)
	}
	if _, err := client.Token(t.Context()); err == nil {
		fmt.Println("signed in")
	}
	_, err := client.HTTP().Get(srv.URL)
	fmt.Println(errors.Is(err, syscall.ECONNREFUSED))
	srv.Outage(0)
	fmt.Println(visit(t, client.HTTP(), srv.URL+"/api/users/me/profile"))
	// Output:
	// not sent
	// signed in
	// true
	// 200 OK
}

// Two clients on one store are what two processes are to each other. One signs in,
// and the other finds its session; they renew it once, whoever begins.
func Example_twoClients() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t, evertest.Options{Rotate: true})
	cfg := quiet(srv)
	cfg.Store = storage.NewMemory()
	one, two := srv.NewClient(cfg), srv.NewClient(cfg)
	a, err := one.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("one session:", a.RefreshToken == b.RefreshToken)
	srv.ExpireAccessTokens()
	fmt.Println(visit(t, one.HTTP(), srv.URL+"/api/users/me/profile"))
	fmt.Println(visit(t, two.HTTP(), srv.URL+"/api/users/me/profile"))
	fmt.Printf("%+v\n", srv.Counts())
	// Output:
	// one session: true
	// 200 OK
	// 200 OK
	// {Refreshes:1 SpentTwice:0 ExpiredSent:0}
}

// A client for the time of the test, with what it tells.
func ExampleServer_NewClient() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t)
	events := make(chan evertoken.Event, 10)
	cfg := quiet(srv)
	cfg.OnEvent = func(e evertoken.Event) { events <- e }
	client := srv.NewClient(cfg)
	if err := client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := <-events
	fmt.Println(e.Kind, e.Reason)
	// Output: session started sign-in
}

// A fault of one's own: an issuer that has lost its key.
func ExampleFault() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t)
	client := newClient(t, srv)
	srv.Fail(1, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"result":null,"type":"UnexpectedError","errorMessages":["no key"]}`)
	})
	err := client.Refresh(t.Context())
	var failed *evertoken.RefreshError
	if errors.As(err, &failed) {
		fmt.Println(failed.Outcome)
	}
	// Output: unavailable
}

// An API of one's own behind the issuer.
func ExampleOptions() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	srv := evertest.NewServer(t, evertest.Options{Handler: api})
	client := newClient(t, srv)
	fmt.Println(visit(t, client.HTTP(), srv.URL+"/orders"))
	fmt.Println(visit(t, &http.Client{Transport: srv.Transport()}, srv.URL+"/orders"))
	// Output:
	// 204 No Content
	// 401 Unauthorized
}

// A real socket, for a program of its own.
func ExampleServer_Listen() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	url := evertest.NewServer(t).Listen()
	issuer := &lightnap.Issuer{BaseURL: url}
	token, err := issuer.Login(t.Context(), lightnap.Credentials{Login: evertest.Login, Password: evertest.Password})
	if err != nil {
		t.Fatal(err)
	}
	user, err := lightnap.Identity(token)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(user.Email, user.Roles)
	// Output: demo@example.com [User]
}

// What a test of one's own looks like.
func ExampleNewServer() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	orders := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}) // your API, or a fake of it
	srv := evertest.NewServer(t, evertest.Options{Handler: orders})
	client := srv.NewClient(quiet(srv))                  // in a test: srv.Config()
	if _, err := client.Token(t.Context()); err != nil { // is signed in from here on
		t.Fatal(err)
	}
	srv.ExpireAccessTokens()                              // the next request is refused,
	fmt.Println(visit(t, client.HTTP(), srv.URL+"/sync")) // renewed and sent again
	fmt.Println(srv.Counts().Refreshes, "refresh")
	// Output:
	// 200 OK
	// 1 refresh
}

// The account signs in by OAuth.
func Example_oAuth() {
	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	srv := evertest.NewServer(t)
	issuer := &oauth.Issuer{
		TokenURL:  srv.URL + "/oauth/token",
		APIs:      []string{srv.URL},
		Transport: srv.Transport(),
		Grant: func(context.Context) (url.Values, error) {
			return url.Values{"grant_type": {"password"}, "username": {evertest.Login}, "password": {evertest.Password}}, nil
		},
	}
	cfg := quiet(srv)
	cfg.Issuer, cfg.Login = issuer, issuer.Mint
	client := srv.NewClient(cfg)
	if _, err := client.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv.ExpireAccessTokens()
	fmt.Println(visit(t, client.HTTP(), srv.URL+"/api/users/me/profile"))
	fmt.Println(srv.Counts().Refreshes, "refresh")
	// Output:
	// 200 OK
	// 1 refresh
}
