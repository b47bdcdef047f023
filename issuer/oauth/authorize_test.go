package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/evertoken/evertoken"
)

const authURL = "https://login.example.com/auth?tenant=1"

// visitor plays the person's browser: it looks at the URL and comes back with
// what answer makes of it. It returns what the page said.
func visitor(t *testing.T, pages *[]string, answers ...func(q url.Values) string) func(context.Context, string) error {
	return func(ctx context.Context, to string) error {
		u := must(url.Parse(to))(t)
		if !strings.HasPrefix(to, "https://login.example.com/auth?") {
			t.Errorf("the browser was sent to %s", to)
		}
		for _, a := range answers {
			r := must(http.NewRequestWithContext(ctx, http.MethodGet, a(u.Query()), nil))(t)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return err
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			*pages = append(*pages, resp.Status+" "+string(body))
			if resp.Header.Get("Cache-Control") != "no-store" || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("header %v", resp.Header)
			}
		}
		return nil
	}
}

// back is the redirect URI with the state and more parameters.
func back(more string) func(url.Values) string {
	return func(q url.Values) string {
		return q.Get("redirect_uri") + "?state=" + url.QueryEscape(q.Get("state")) + "&" + more
	}
}

func TestAuthorize(t *testing.T) {
	places := map[string]string{"IPv4": "", "localhost": "localhost:0"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil { // not every machine has IPv6
		_ = l.Close()
		places["IPv6"] = "[::1]:0"
	}
	for name, listen := range places {
		far := newFarEnd(t, reply("200 OK", typeJSON, grantedBody))
		i := &Issuer{TokenURL: testToken, AuthURL: authURL, Client: must(Public("c"))(t), Transport: far.transport(),
			Scope: []string{"openid", "offline_access"}, Params: url.Values{"prompt": {"consent"}}}
		var asked url.Values
		var pages []string
		got, err := i.Authorize(t.Context(), Browser{Listen: listen, Path: "/back", Open: visitor(t, &pages, func(q url.Values) string {
			asked = q
			return back("code=s3cret-code")(q)
		})})
		if err != nil || got.RefreshToken != newRefresh || len(pages) != 1 || !strings.Contains(pages[0], "You may close this window") {
			t.Fatalf("%s: %v, %v, pages %q", name, got, err, pages)
		}
		form := far.only().form
		challenge := sha256.Sum256([]byte(form.Get("code_verifier")))
		for param, want := range map[string]string{
			"response_type": "code", "client_id": "c", "scope": "openid offline_access", "prompt": "consent", "tenant": "1",
			"code_challenge_method": "S256", "code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]),
		} {
			if asked.Get(param) != want {
				t.Errorf("%s: %s is %q, want %q", name, param, asked.Get(param), want)
			}
		}
		if len(form.Get("code_verifier")) < 43 || len(asked.Get("state")) < 20 || !strings.HasSuffix(asked.Get("redirect_uri"), "/back") {
			t.Errorf("%s: asked %v, form %v", name, asked, form)
		}
		form.Del("code_verifier")
		want := url.Values{"grant_type": {"authorization_code"}, "code": {"s3cret-code"}, "redirect_uri": {asked.Get("redirect_uri")}, "client_id": {"c"}}
		if form.Encode() != want.Encode() {
			t.Errorf("%s: form %v, want %v", name, form, want)
		}
		if _, err := http.Get(asked.Get("redirect_uri")); err == nil {
			t.Errorf("%s: the redirect URI is still served", name)
		}
	}
}

// Who does not know the state is turned away, and the real answer still counts.
func TestAuthorizeStrangers(t *testing.T) {
	far := newFarEnd(t, reply("200 OK", typeJSON, grantedBody))
	i := &Issuer{TokenURL: testToken, AuthURL: authURL, Transport: far.transport()}
	var pages []string
	got, err := i.Authorize(t.Context(), Browser{Open: visitor(t, &pages,
		func(q url.Values) string { return q.Get("redirect_uri") + "?code=evil" },
		func(q url.Values) string { return q.Get("redirect_uri") + "?code=evil&state=" + q.Get("state") + "x" },
		func(q url.Values) string { return q.Get("redirect_uri") + "?error=access_denied&state=" },
		func(q url.Values) string {
			return strings.Replace(q.Get("redirect_uri"), "/callback", "/favicon.ico", 1)
		},
		back("code=good"),
		back("code=reload"),
	)})
	if err != nil || got.AccessToken != newAccess || far.only().form.Get("code") != "good" {
		t.Fatalf("got %v, %v, code %q", got, err, far.only().form.Get("code"))
	}
	for n, want := range []string{"400", "400", "400", "404", "200", "200"} {
		if !strings.HasPrefix(pages[n], want) || strings.Contains(pages[n], "evil") {
			t.Errorf("page %d: %q, want %s", n, pages[n], want)
		}
	}
}

func TestAuthorizeAnswers(t *testing.T) {
	const me, other = "https://login.example.com", "https://evil.example.com"
	for _, tt := range []struct {
		name, more string
		always     bool // the server always names itself
		says       string
		outcome    evertoken.Outcome
	}{
		{"the right issuer", "code=x&iss=" + me, false, "", 0},
		{"no issuer", "code=x", false, "", 0},
		{"another issuer", "code=s3cret&iss=" + other, false, `of issuer "https://evil.example.com", not of "https://login.example.com"`, 0},
		{"an empty issuer", "code=s3cret&iss=", false, `of issuer ""`, 0},
		{"no issuer, but always", "code=s3cret", true, "does not name its issuer", 0},
		{"the right issuer, always", "code=x&iss=" + me, true, "", 0},
		{"an error of another issuer", "error=access_denied&iss=" + other, false, "of issuer", 0},
		{"refused", "error=access_denied&error_description=no%0Athanks", false, "rejected, access_denied (no thanks)", evertoken.Rejected},
		{"bad request", "error=invalid_scope", false, "misconfigured, invalid_scope", evertoken.Misconfigured},
		{"busy", "error=temporarily_unavailable", false, "unavailable", evertoken.Unavailable},
		{"neither", "x=y", false, "neither code nor error", 0},
	} {
		far := newFarEnd(t, reply("200 OK", typeJSON, grantedBody))
		i := &Issuer{TokenURL: testToken, AuthURL: authURL, IssuerURL: me, IssuerInAnswers: tt.always, Transport: far.transport()}
		var pages []string
		_, err := i.Authorize(t.Context(), Browser{Open: visitor(t, &pages, back(tt.more))})
		if tt.says == "" {
			if err != nil || !strings.Contains(pages[0], "<p>You may close this window.</p>") {
				t.Errorf("%s: %v, page %q", tt.name, err, pages)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cret") || far.dials != 0 || !strings.Contains(pages[0], "did not succeed") {
			t.Errorf("%s: %v after %d dials, page %q, want %q", tt.name, err, far.dials, pages, tt.says)
		}
		var failed *evertoken.RefreshError
		if tt.outcome != 0 && (!errors.As(err, &failed) || failed.Outcome != tt.outcome) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.outcome)
		}
	}
}

// The person sees the page also when the sign-in is over before it has left.
func TestAuthorizePageArrives(t *testing.T) {
	for range 20 {
		var pages []string
		done := make(chan struct{})
		i := &Issuer{TokenURL: testToken, AuthURL: authURL}
		_, err := i.Authorize(t.Context(), Browser{Open: func(ctx context.Context, to string) error {
			go func() {
				defer close(done)
				if err := visitor(t, &pages, back("error=access_denied"))(ctx, to); err != nil {
					t.Error(err)
				}
			}()
			return nil
		}})
		<-done
		if err == nil || len(pages) != 1 || !strings.HasSuffix(pages[0], "</html>\n") {
			t.Fatalf("%v, pages %q", err, pages)
		}
	}
}

func TestAuthorizeFails(t *testing.T) {
	nowhere := errors.New("no browser")
	open := func(context.Context, string) error { return nowhere }
	for name, tt := range map[string]struct {
		auth string
		b    Browser
		says string
	}{
		"no AuthURL":    {"", Browser{Open: open}, "AuthURL is missing"},
		"no Open":       {authURL, Browser{}, "Browser.Open is missing"},
		"bad path":      {authURL, Browser{Open: open, Path: "back"}, "Browser.Path"},
		"open to all":   {authURL, Browser{Open: open, Listen: "0.0.0.0:0"}, "not host:port on loopback"},
		"any interface": {authURL, Browser{Open: open, Listen: ":0"}, "not host:port on loopback"},
		"no port":       {authURL, Browser{Open: open, Listen: "127.0.0.1"}, "not host:port on loopback"},
		"no such port":  {authURL, Browser{Open: open, Listen: "127.0.0.1:99999"}, "listen:"},
		"no browser":    {authURL, Browser{Open: open}, "open: no browser"},
	} {
		_, err := (&Issuer{TokenURL: testToken, AuthURL: tt.auth}).Authorize(t.Context(), tt.b)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	bored := errors.New("bored")
	_, err := (&Issuer{TokenURL: testToken, AuthURL: authURL}).Authorize(ctx, Browser{Open: func(context.Context, string) error {
		cancel(bored)
		return nil
	}})
	if !errors.Is(err, bored) {
		t.Errorf("cancelled: %v", err)
	}
}
