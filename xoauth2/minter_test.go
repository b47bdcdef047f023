package xoauth2_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/xoauth2"
)

// A sourceFunc is a source of x/oauth2.
type sourceFunc func() (*oauth2.Token, error)

func (f sourceFunc) Token() (*oauth2.Token, error) { return f() }

func TestMintFromClientCredentials(t *testing.T) {
	f := newFar(t, func(n int, w http.ResponseWriter, _ url.Values) {
		if n == 3 {
			reply(w, 401, "application/json", `{"error":"invalid_client","x":"LEAK"}`)
			return
		}
		reply(w, 200, "application/json", fmt.Sprintf(`{"access_token":"a%d","expires_in":60}`, n))
	})
	config := &clientcredentials.Config{ClientID: "app", ClientSecret: "s3cret", TokenURL: f.URL, AuthStyle: oauth2.AuthStyleInHeader}
	minter := xoauth2.FromFunc(config.Token)
	for n := 1; n <= 2; n++ {
		got, err := minter.Refresh(t.Context(), evertoken.Token{})
		if err != nil || got.AccessToken != fmt.Sprint("a", n) || got.Expiry.IsZero() {
			t.Fatalf("Refresh %d = %v, %v", n, got, err)
		}
	}
	_, err := minter.Mint(t.Context())
	var failed *evertoken.RefreshError
	if !errors.As(err, &failed) || failed.Outcome != evertoken.Misconfigured || failed.Code != "invalid_client" || failed.StatusCode != 401 {
		t.Errorf("Mint = %v, want Misconfigured", err)
	}
	if strings.Contains(err.Error(), "LEAK") {
		t.Errorf("the error quotes the answer: %v", err)
	}
}

// Sources quote whole answers in errors of all kinds; none gets through.
func TestSourceErrors(t *testing.T) {
	body := &oauth2.RetrieveError{Response: &http.Response{StatusCode: 500, Status: "500"}, Body: []byte("LEAK")}
	for name, c := range map[string]struct {
		err  error
		want evertoken.Outcome
		text string
	}{
		"a body":          {body, evertoken.Unavailable, "status 500"},
		"a wrapped body":  {fmt.Errorf("LEAK: %w", body), evertoken.Unavailable, "status 500"},
		"a verdict":       {&oauth2.RetrieveError{ErrorCode: "invalid_grant"}, evertoken.Rejected, "invalid_grant"},
		"plain text":      {errors.New("oauth2/google: LEAK"), evertoken.Unavailable, "*errors.errorString"},
		"the network":     {&url.Error{Op: "Post", URL: "https://LEAK", Err: &net.DNSError{Err: "no such host", Name: "issuer.example.com"}}, evertoken.Unavailable, "no such host"},
		"a refused dial":  {&url.Error{Op: "Post", URL: "https://LEAK", Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}, evertoken.Unavailable, "dial"},
		"its own context": {fmt.Errorf("LEAK: %w", context.DeadlineExceeded), evertoken.Unavailable, "deadline"},
	} {
		_, err := xoauth2.FromSource(sourceFunc(func() (*oauth2.Token, error) { return nil, c.err })).Mint(t.Context())
		var failed *evertoken.RefreshError
		if !errors.As(err, &failed) || failed.Outcome != c.want || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "LEAK") {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.text)
		}
	}
}

func TestSourceWithoutToken(t *testing.T) {
	for name, src := range map[string]oauth2.TokenSource{
		"nil source": nil,
		"nil token":  sourceFunc(func() (*oauth2.Token, error) { return nil, nil }),
		"empty":      sourceFunc(func() (*oauth2.Token, error) { return &oauth2.Token{}, nil }),
	} {
		if got, err := xoauth2.FromSource(src).Mint(t.Context()); err == nil {
			t.Errorf("%s: %v, want an error", name, got)
		}
	}
}

// A source keeps its refresh token to itself.
func TestSourceShowsNoRefreshToken(t *testing.T) {
	src := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "a", RefreshToken: "r"})
	if got, err := xoauth2.FromSource(src).Mint(t.Context()); err != nil || got.AccessToken != "a" || got.RefreshToken != "" {
		t.Errorf("Mint = %v, %v", got, err)
	}
}

// A source that hangs holds up neither the caller nor is it asked a second time;
// all who wait get the answer.
func TestHangingSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		release := make(chan struct{})
		minter := xoauth2.FromSource(sourceFunc(func() (*oauth2.Token, error) {
			calls.Add(1)
			<-release
			return &oauth2.Token{AccessToken: "a"}, nil
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := minter.Mint(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Mint = %v", err)
		}
		got := make(chan error)
		for range 3 {
			go func() {
				_, err := minter.Mint(t.Context())
				got <- err
			}()
		}
		synctest.Wait()
		close(release)
		for range 3 {
			if err := <-got; err != nil {
				t.Error(err)
			}
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("the source was asked %d times at once", n)
		}
		if _, err := minter.Mint(t.Context()); err != nil || calls.Load() != 2 {
			t.Errorf("the next Mint = %v after %d calls", err, calls.Load())
		}
	})
}

// A source with x/oauth2's cache gives the old token until 10 s before its end.
// The client asks often enough then: for a day no token is served after its end.
func TestCachingSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lifetime = time.Hour
		minted := 0
		src := oauth2.ReuseTokenSource(nil, sourceFunc(func() (*oauth2.Token, error) {
			minted++
			return &oauth2.Token{AccessToken: fmt.Sprint("a", minted), Expiry: time.Now().Add(lifetime)}, nil
		}))
		minter := xoauth2.FromSource(src)
		client, err := evertoken.New(t.Context(), evertoken.Config{
			Issuer: minter, Login: minter.Mint, Origins: []string{"https://api.example.com"}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		second := time.NewTicker(time.Second) // virtual
		defer second.Stop()
		for range 24 * 60 * 60 {
			got, err := client.Token(t.Context())
			if err != nil || !got.Expiry.After(time.Now()) {
				t.Fatalf("Token = %v, %v at %v", got, err, time.Now())
			}
			<-second.C
		}
		synctest.Wait()
		if minted < 24 || minted > 26 {
			t.Errorf("%d tokens were minted in a day, want 24 or 25", minted)
		}
	})
}
