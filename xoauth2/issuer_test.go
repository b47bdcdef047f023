package xoauth2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/xoauth2"
)

// A far is a token endpoint that answers each request with what answer says.
type far struct {
	*httptest.Server
	mu   sync.Mutex
	seen []url.Values // with "basic" for the user name of an Authorization header
}

func (f *far) forms() []url.Values {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

func newFar(t *testing.T, answer func(n int, w http.ResponseWriter, form url.Values)) *far {
	t.Helper()
	f := new(far)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		if id, _, ok := r.BasicAuth(); ok {
			r.PostForm.Set("basic", id)
		}
		f.mu.Lock()
		f.seen = append(f.seen, r.PostForm)
		n := len(f.seen)
		f.mu.Unlock()
		answer(n, w, r.PostForm)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *far) config(style oauth2.AuthStyle) *oauth2.Config {
	return &oauth2.Config{ClientID: "app", ClientSecret: "s3cret-of-app", Endpoint: oauth2.Endpoint{TokenURL: f.URL, AuthStyle: style}}
}

func reply(w http.ResponseWriter, status int, kind, body string) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestRefresh(t *testing.T) {
	f := newFar(t, func(_ int, w http.ResponseWriter, _ url.Values) {
		reply(w, 200, "application/json", `{"access_token":"a2","token_type":"bearer","expires_in":"3600","refresh_token":"r2","scope":"mail","id_token":"id2"}`)
	})
	before := time.Now()
	got, err := (&xoauth2.Issuer{Config: f.config(oauth2.AuthStyleInHeader)}).Refresh(t.Context(), evertoken.Token{RefreshToken: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if got.AccessToken != "a2" || got.RefreshToken != "r2" || got.Scope != "mail" || got.Extra["id_token"] != "id2" {
		t.Errorf("Refresh lost a member: %q %q %q %v", got.AccessToken, got.RefreshToken, got.Scope, len(got.Extra))
	}
	if got.IssuedAt.Before(before) || got.Expiry.After(got.IssuedAt.Add(time.Hour)) || got.Expiry.Before(before.Add(time.Hour-time.Second)) {
		t.Errorf("issued %v, expiry %v: the lifetime does not count from the sending", got.IssuedAt, got.Expiry)
	}
	if form := f.forms()[0]; form.Get("refresh_token") != "r1" || form.Get("basic") != "app" || form.Has("client_secret") {
		t.Errorf("the server was sent %v", form)
	}
}

// What each answer means, and that nothing of a body gets out.
func TestOutcome(t *testing.T) {
	const leak = "LEAK"
	for name, c := range map[string]struct {
		status     int
		kind, body string
		want       evertoken.Outcome
		code       string
	}{
		"invalid_grant":      {400, "application/json", `{"error":"invalid_grant","x":"LEAK"}`, evertoken.Rejected, "invalid_grant"},
		"in a form":          {400, "application/x-www-form-urlencoded", `error=invalid_grant&x=LEAK`, evertoken.Rejected, "invalid_grant"},
		"with status 200":    {200, "application/json", `{"error":"invalid_grant","x":"LEAK"}`, evertoken.Rejected, "invalid_grant"},
		"invalid_client":     {401, "application/json", `{"error":"invalid_client"}`, evertoken.Misconfigured, "invalid_client"},
		"echoed secrets":     {400, "application/json", `{"error":"invalid_grant","error_description":"no token r1-LEAK for s3cret-of-app"}`, evertoken.Rejected, "invalid_grant"},
		"server_error":       {500, "application/json", `{"error":"server_error"}`, evertoken.Unavailable, "server_error"},
		"unknown code":       {400, "application/json", `{"error":"odd","x":"LEAK"}`, evertoken.Ambiguous, "odd"},
		"503":                {503, "text/plain", "LEAK", evertoken.Unavailable, ""},
		"429":                {429, "application/json", `{"message":"LEAK"}`, evertoken.Unavailable, ""},
		"HTML":               {200, "text/html", "<html>LEAK", evertoken.Unavailable, ""},
		"redirect":           {302, "text/plain", "LEAK", evertoken.Unavailable, ""},
		"firewall":           {403, "text/plain", "LEAK", evertoken.Unavailable, ""},
		"500":                {500, "application/json", `{"LEAK":1}`, evertoken.Ambiguous, ""},
		"broken JSON":        {200, "application/json", `{"access_token":"LEAK`, evertoken.Ambiguous, ""},
		"no access_token":    {200, "application/json", `{"refresh_token":"LEAK"}`, evertoken.Ambiguous, ""},
		"error is an object": {400, "application/json", `{"error":{"message":"LEAK"}}`, evertoken.Ambiguous, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t, func(_ int, w http.ResponseWriter, _ url.Values) {
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Retry-After", "7")
				reply(w, c.status, c.kind, c.body)
			})
			_, err := (&xoauth2.Issuer{Config: f.config(oauth2.AuthStyleInParams)}).Refresh(t.Context(), evertoken.Token{RefreshToken: "r1-" + leak})
			var failed *evertoken.RefreshError
			if !errors.As(err, &failed) || failed.Outcome != c.want || failed.Code != c.code || failed.StatusCode != c.status {
				t.Errorf("Refresh = %v, want %v, %q, status %d", err, c.want, c.code, c.status)
			}
			if text := fmt.Sprintf("%+v", err); strings.Contains(text, leak) || strings.Contains(text, "s3cret") {
				t.Errorf("the error quotes the answer: %s", text)
			}
			var said *oauth2.RetrieveError
			if errors.As(err, &said) {
				t.Error("the error wraps a RetrieveError, whose text is the body")
			}
			if (c.status == 503 || c.status == 429) && failed.RetryAfter != 7*time.Second {
				t.Errorf("RetryAfter = %v", failed.RetryAfter)
			}
			if len(f.forms()) != 1 {
				t.Errorf("the server saw %d requests, want 1", len(f.forms()))
			}
		})
	}
}

// With AuthStyleAutoDetect x/oauth2 repeats every failed request. A refresh
// token that may have been spent must not be in the second one.
func TestAutoDetectNeverSpendsTwice(t *testing.T) {
	for name, c := range map[string]struct {
		first    func(w http.ResponseWriter)
		requests int
		want     evertoken.Outcome
	}{
		"reply lost":     {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 1, evertoken.Ambiguous},
		"unreadable 200": {func(w http.ResponseWriter) { reply(w, 200, "application/json", "{") }, 1, evertoken.Ambiguous},
		"500":            {func(w http.ResponseWriter) { reply(w, 500, "text/plain", "") }, 1, evertoken.Ambiguous},
		"invalid_grant":  {func(w http.ResponseWriter) { reply(w, 400, "application/json", `{"error":"invalid_grant"}`) }, 1, evertoken.Rejected},
		"invalid_client": {func(w http.ResponseWriter) { reply(w, 401, "application/json", `{"error":"invalid_client"}`) }, 2, -1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t, func(n int, w http.ResponseWriter, form url.Values) {
				if n == 1 {
					c.first(w)
					return
				}
				reply(w, 200, "application/json", `{"access_token":"a2"}`)
			})
			issuer := &xoauth2.Issuer{Config: f.config(oauth2.AuthStyleAutoDetect)}
			got, err := issuer.Refresh(t.Context(), evertoken.Token{RefreshToken: "r1"})
			var failed *evertoken.RefreshError
			switch {
			case c.want < 0 && (err != nil || got.AccessToken != "a2"):
				t.Errorf("Refresh = %v, %v", got, err)
			case c.want >= 0 && (!errors.As(err, &failed) || failed.Outcome != c.want):
				t.Errorf("Refresh = %v, want %v", err, c.want)
			}
			if len(f.forms()) != c.requests {
				t.Errorf("the server saw %d requests, want %d", len(f.forms()), c.requests)
			}
			if _, err := issuer.Refresh(t.Context(), evertoken.Token{RefreshToken: "r2"}); err != nil || len(f.forms()) != c.requests+1 {
				t.Errorf("the next one = %v, after %d requests", err, len(f.forms()))
			}
		})
	}
}

func TestNotSent(t *testing.T) {
	f := newFar(t, nil)
	config := f.config(oauth2.AuthStyleInParams)
	f.Close()
	for name, c := range map[string]struct {
		issuer *xoauth2.Issuer
		token  evertoken.Token
		want   evertoken.Outcome
	}{
		"refused connection": {&xoauth2.Issuer{Config: config}, evertoken.Token{RefreshToken: "r1"}, evertoken.NotSent},
		"no refresh token":   {&xoauth2.Issuer{Config: config}, evertoken.Token{AccessToken: "a1"}, evertoken.Rejected},
		"no Config":          {&xoauth2.Issuer{}, evertoken.Token{RefreshToken: "r1"}, evertoken.Misconfigured},
		"no TokenURL":        {&xoauth2.Issuer{Config: &oauth2.Config{}}, evertoken.Token{RefreshToken: "r1"}, evertoken.Misconfigured},
		"bad TokenURL":       {&xoauth2.Issuer{Config: &oauth2.Config{Endpoint: oauth2.Endpoint{TokenURL: ":"}}}, evertoken.Token{RefreshToken: "r1"}, evertoken.Misconfigured},
		"in the clear":       {&xoauth2.Issuer{Config: &oauth2.Config{Endpoint: oauth2.Endpoint{TokenURL: "http://example.com/"}}}, evertoken.Token{RefreshToken: "r1"}, evertoken.Misconfigured},
	} {
		_, err := c.issuer.Refresh(t.Context(), c.token)
		var failed *evertoken.RefreshError
		if !errors.As(err, &failed) || failed.Outcome != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// signIn gets the first token with x/oauth2, as a program does that used it so far.
func signIn(t *testing.T, srv *evertest.Server) (*oauth2.Config, *oauth2.Token) {
	t.Helper()
	config := &oauth2.Config{ClientID: "app", Endpoint: oauth2.Endpoint{TokenURL: srv.URL + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams}}
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: srv.Transport()})
	token, err := config.PasswordCredentialsToken(ctx, evertest.Login, evertest.Password)
	if err != nil {
		t.Fatal(err)
	}
	return config, token
}

func newClient(t *testing.T, srv *evertest.Server, config *oauth2.Config, store storage.Store) *evertoken.Client {
	t.Helper()
	client, err := evertoken.New(t.Context(), evertoken.Config{
		Issuer:  &xoauth2.Issuer{Config: config, Transport: srv.Transport()},
		Origins: []string{srv.URL},
		Base:    srv.Transport(),
		Store:   store,
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func getProfile(t *testing.T, c *http.Client, srv *evertest.Server) {
	t.Helper()
	resp, err := c.Get(srv.URL + "/api/users/me/profile")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("profile: status %d", resp.StatusCode)
	}
}

// A session that x/oauth2 began lives through many rotations, restarts, lost
// connections and a 401, and no refresh token is spent twice.
func TestSession(t *testing.T) {
	srv := evertest.NewServer(t, evertest.Options{Rotate: true})
	config, first := signIn(t, srv)
	store := storage.NewMemory()
	client := newClient(t, srv, config, store)
	if err := client.SignIn(t.Context(), xoauth2.Token(first)); err != nil {
		t.Fatal(err)
	}
	const restarts, renewals = 5, 10
	for range restarts {
		for range renewals {
			if err := client.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			getProfile(t, client.HTTP(), srv)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		client = newClient(t, srv, config, store)
	}
	defer client.Close()
	srv.Fail(1, evertest.DropBefore()) // written, and nobody knows: repeated once
	if err := client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv.ExpireAccessTokens()
	getProfile(t, client.HTTP(), srv)
	if n := srv.Counts(); n.SpentTwice != 0 || n.Refreshes != restarts*renewals+2 {
		t.Errorf("the server saw %+v, want %d refreshes", n, restarts*renewals+2)
	}
	srv.RevokeSessions()
	if err := client.Refresh(t.Context()); !errors.Is(err, evertoken.ErrSignedOut) {
		t.Errorf("Refresh of a revoked session = %v", err)
	}
}

// Closing while an exchange is dialled is no failure: x/oauth2 passes the
// context on, and so the client can stop what is not written yet.
func TestCloseReachesTheExchange(t *testing.T) {
	dialling := make(chan struct{})
	hung := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		close(dialling)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}}
	config := &oauth2.Config{Endpoint: oauth2.Endpoint{TokenURL: "https://issuer.example.com/token"}}
	client, err := evertoken.New(t.Context(), evertoken.Config{
		Issuer: &xoauth2.Issuer{Config: config, Transport: hung}, Origins: []string{"https://api.example.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SignIn(t.Context(), evertoken.Token{AccessToken: "a1", RefreshToken: "r1"}); err != nil {
		t.Fatal(err)
	}
	refreshed := make(chan error)
	go func() { refreshed <- client.Refresh(t.Context()) }()
	<-dialling
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-refreshed; !errors.Is(err, evertoken.ErrClosed) {
		t.Errorf("Refresh = %v, want ErrClosed", err)
	}
}
