package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/dpop"
	"github.com/evertoken/evertoken/internal/dpop/dpoptest"
	"github.com/evertoken/evertoken/internal/exchange"
	"github.com/evertoken/evertoken/storage"
)

// A bindingServer is an authorization server and an API, each at an origin of
// its own, each with nonces of its own. Tokens are bound to keys; refresh tokens
// rotate, and one that is used twice ends everything.
type bindingServer struct {
	login, api               *httptest.Server
	loginProofs, apiProofs   dpoptest.Verifier
	neverContent, bearerOnly bool // it refuses each nonce with another; it binds nothing

	mu         sync.Mutex
	made       int
	refresh    map[string]string // thumbprint by live refresh token
	access     map[string]string // thumbprint by live access token
	spent      map[string]bool
	spentTwice int
	asked      int // token requests
	faults     []string
}

func newBindingServer(t *testing.T) *bindingServer {
	t.Helper()
	s := &bindingServer{refresh: map[string]string{}, access: map[string]string{}, spent: map[string]bool{}}
	s.login = httptest.NewServer(http.HandlerFunc(s.token))
	s.api = httptest.NewServer(http.HandlerFunc(s.resource))
	t.Cleanup(s.login.Close)
	t.Cleanup(s.api.Close)
	return s
}

// demand makes new nonces for both.
func (s *bindingServer) demand() {
	s.loginProofs.Demand()
	s.apiProofs.Demand()
}

func (s *bindingServer) token(w http.ResponseWriter, r *http.Request) {
	thumbprint, err := s.loginProofs.Verify(r, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.neverContent {
		s.loginProofs.Demand()
	}
	if n := s.loginProofs.Nonce(); n != "" {
		w.Header().Set("DPoP-Nonce", n)
	}
	w.Header().Set("Content-Type", "application/json")
	old := r.FormValue("refresh_token")
	switch {
	case s.bearerOnly:
		s.grant(w, "", "Bearer")
	case errors.Is(err, dpoptest.ErrNonce) || s.neverContent:
		s.refuse(w, "use_dpop_nonce")
	case err != nil:
		s.faults = append(s.faults, err.Error())
		s.refuse(w, "invalid_dpop_proof")
	case r.FormValue("grant_type") != "refresh_token":
		s.grant(w, thumbprint, "DPoP")
	case s.spent[old]:
		s.spentTwice++
		s.refuse(w, "invalid_grant")
	case s.refresh[old] != thumbprint:
		s.faults = append(s.faults, "another key")
		s.refuse(w, "invalid_grant")
	default:
		delete(s.refresh, old)
		s.spent[old] = true
		s.grant(w, thumbprint, "DPoP")
	}
}

func (s *bindingServer) refuse(w http.ResponseWriter, code string) {
	w.WriteHeader(http.StatusBadRequest)
	_, _ = fmt.Fprintf(w, `{"error":%q}`, code)
}

func (s *bindingServer) grant(w http.ResponseWriter, thumbprint, kind string) {
	s.made++
	access, refresh := fmt.Sprint("s3cret-access-", s.made), fmt.Sprint("s3cret-refresh-", s.made)
	s.access[access], s.refresh[refresh] = thumbprint, thumbprint
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"refresh_token":%q,"token_type":%q,"expires_in":3600}`, access, refresh, strings.ToLower(kind))
}

// resource admits a token with a proof by the key that it is bound to.
func (s *bindingServer) resource(w http.ResponseWriter, r *http.Request) {
	kind, access, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	s.mu.Lock()
	want, live := s.access[access]
	s.mu.Unlock()
	if live && want == "" && kind == "Bearer" {
		_, _ = io.Copy(w, r.Body)
		return
	}
	thumbprint, err := s.apiProofs.Verify(r, access)
	if n := s.apiProofs.Nonce(); n != "" {
		w.Header().Set("DPoP-Nonce", n)
	}
	switch {
	case errors.Is(err, dpoptest.ErrNonce):
		w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
	case err != nil || kind != "DPoP" || live && thumbprint != want:
		s.mu.Lock()
		s.faults = append(s.faults, fmt.Sprintf("scheme %q, key fits: %v, %v", kind, thumbprint == want, err))
		s.mu.Unlock()
		w.Header().Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
	case !live:
		w.Header().Set("WWW-Authenticate", `DPoP error="invalid_token"`)
	default:
		_, _ = io.Copy(w, r.Body)
		return
	}
	w.WriteHeader(http.StatusUnauthorized)
}

// expire makes the API refuse all access tokens.
func (s *bindingServer) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.access)
}

func (s *bindingServer) issuer() *Issuer {
	return &Issuer{TokenURL: s.login.URL + "/token?x=1", APIs: []string{s.api.URL}, DPoP: true, Grant: ClientCredentials}
}

// client is one process on a store.
func (s *bindingServer) client(t *testing.T, store storage.Store) *evertoken.Client {
	t.Helper()
	c, err := evertoken.New(t.Context(), evertoken.Config{Issuer: s.issuer(), Store: store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *bindingServer) post(t *testing.T, c *evertoken.Client) {
	t.Helper()
	resp, err := c.HTTP().Post(s.api.URL+"/a%2Fb?q=1", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != "body" {
		t.Fatalf("status %d, body %q, %v: %v", resp.StatusCode, body, err, s.faults)
	}
}

func (s *bindingServer) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spentTwice != 0 || len(s.faults) != 0 {
		t.Errorf("%d refresh tokens spent twice; refused: %q", s.spentTwice, s.faults)
	}
}

func shut(t *testing.T, c *evertoken.Client) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Two processes on one store, restarts, renewals, tokens that are refused, and
// both servers change their nonces all the time: no request fails, and the key
// of the sign-in is the key of the session to its end.
func TestDPoPSession(t *testing.T) {
	s, store := newBindingServer(t), storage.NewMemory()
	s.demand()
	first, err := s.issuer().Mint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := s.client(t, store)
	if err := a.SignIn(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	b := s.client(t, store)
	defer func() { shut(t, a); shut(t, b) }()
	for n := range 50 {
		switch {
		case n%10 == 9:
			shut(t, a)
			a = s.client(t, store)
		case n == 24: // once: a 401 starts one renewal a minute
			s.expire() // a renews after the 401, and b adopts what it has never seen
		default:
			if err := a.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n%3 == 0 {
			s.demand()
		}
		s.post(t, a)
		s.post(t, b)
	}
	s.check(t)
	last, err := a.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if last.Extra[dpop.ExtraKey] != first.Extra[dpop.ExtraKey] || last.TokenType != "DPoP" {
		t.Errorf("the session began with one key and ends with another, or is %s", last.TokenType)
	}
}

// Renewals and requests at once, by several goroutines.
func TestDPoPRace(t *testing.T) {
	s := newBindingServer(t)
	s.demand()
	first, err := s.issuer().Mint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := s.client(t, nil)
	defer shut(t, c)
	if err := c.SignIn(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	var requests sync.WaitGroup
	for range 4 {
		requests.Go(func() {
			for range 25 {
				resp, err := c.HTTP().Post(s.api.URL, "text/plain", strings.NewReader("body"))
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	}
	for range 25 {
		if err := c.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
	}
	requests.Wait()
	s.check(t)
}

// A server that binds nothing is taken at its word; its tokens are plain.
func TestDPoPBearerAnswer(t *testing.T) {
	s := newBindingServer(t)
	s.bearerOnly = true
	first, err := s.issuer().Mint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.TokenType != "Bearer" || first.Extra[dpop.ExtraKey] == "" {
		t.Errorf("token %v; it keeps its key: %v", first, first.Extra[dpop.ExtraKey] != "")
	}
	c := s.client(t, nil)
	defer shut(t, c)
	if err := c.SignIn(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	s.post(t, c)
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.post(t, c)
	if n := s.apiProofs.Proofs(); n != 0 {
		t.Errorf("%d proofs were sent with bearer tokens", n)
	}
	s.check(t)
}

const (
	dpopBody  = `{"access_token":"` + newAccess + `","token_type":"DPoP","expires_in":3600,"refresh_token":"` + newRefresh + `"}`
	nonceBody = `{"error":"use_dpop_nonce"}`
)

func nonceHeader(n string) string { return typeJSON + "DPoP-Nonce: " + n + "\r\n" }

func farIssuer(f *farEnd, change func(*Issuer)) *Issuer {
	i := &Issuer{TokenURL: testToken, RevocationURL: testToken, Transport: f.transport(), Grant: ClientCredentials, DPoP: true}
	if change != nil {
		change(i)
	}
	return i
}

// boundToken is a session with its key.
func boundToken(t *testing.T) evertoken.Token {
	t.Helper()
	k := must(dpop.NewKey())(t)
	text := must(k.Text())(t)
	return evertoken.Token{AccessToken: "s3cret-old-access", RefreshToken: oldRefresh, TokenType: "DPoP", Extra: map[string]string{dpop.ExtraKey: text, "id_token": "id"}}
}

// A refusal for want of a nonce is repeated once, and only if there is a new one.
func TestDPoPNonceAtTokenEndpoint(t *testing.T) {
	ok := reply("200 OK", typeJSON, dpopBody)
	for name, c := range map[string]struct {
		answers []string
		sent    int
		want    evertoken.Outcome
	}{
		"one repetition":        {[]string{reply("400 Bad Request", nonceHeader("n1"), nonceBody), ok}, 2, granted},
		"with status 401":       {[]string{reply("401 Unauthorized", nonceHeader("n1"), nonceBody), ok}, 2, granted},
		"changed meanwhile":     {[]string{reply("400 Bad Request", nonceHeader("n1"), nonceBody), reply("400 Bad Request", nonceHeader("n2"), nonceBody)}, 2, unavailable},
		"no nonce":              {[]string{reply("400 Bad Request", typeJSON, nonceBody), ok}, 1, unavailable},
		"two nonces":            {[]string{reply("400 Bad Request", nonceHeader("n1")+"DPoP-Nonce: n2\r\n", nonceBody), ok}, 1, unavailable},
		"another error":         {[]string{reply("400 Bad Request", nonceHeader("n1"), `{"error":"invalid_grant"}`), ok}, 1, rejected},
		"a bad proof":           {[]string{reply("400 Bad Request", nonceHeader("n1"), `{"error":"invalid_dpop_proof"}`), ok}, 1, wrongSetup},
		"not a refusal":         {[]string{reply("500 Internal Server Error", nonceHeader("n1"), nonceBody), ok}, 1, unavailable},
		"the second got lost":   {[]string{reply("400 Bad Request", nonceHeader("n1"), nonceBody), ""}, 2, ambiguous},
		"the second is refused": {[]string{reply("400 Bad Request", nonceHeader("n1"), nonceBody), reply("400 Bad Request", typeJSON, `{"error":"invalid_grant"}`)}, 2, rejected},
	} {
		t.Run(name, func(t *testing.T) {
			far := newFarEnd(t, c.answers...)
			session := boundToken(t)
			got, err := farIssuer(far, nil).Refresh(t.Context(), session)
			seen := far.requests()
			if len(seen) != c.sent {
				t.Fatalf("%d requests, want %d", len(seen), c.sent)
			}
			proofs := map[string]bool{}
			for _, s := range seen {
				proofs[s.header.Get("DPoP")] = true
				if s.form.Get("refresh_token") != oldRefresh {
					t.Errorf("sent %v", s.form)
				}
			}
			if len(proofs) != c.sent || proofs[""] {
				t.Errorf("%d proofs in %d requests", len(proofs), c.sent)
			}
			if c.want != granted {
				if failed := failure(t, err); failed.Outcome != c.want {
					t.Errorf("%v, want %v", err, c.want)
				}
				return
			}
			if err != nil || got.AccessToken != newAccess || got.Extra[dpop.ExtraKey] != session.Extra[dpop.ExtraKey] || got.Extra["id_token"] != "id" {
				t.Errorf("Refresh = %v, %v", got, err)
			}
			if len(session.Extra) != 2 {
				t.Error("the old token's Extra was changed")
			}
		})
	}
}

// The newest nonce is the one of the newest answer, and one that the server
// refuses is not offered to it a second time.
func TestDPoPNewestNonce(t *testing.T) {
	refusal := func(nonce string) string { return reply("400 Bad Request", nonceHeader(nonce), nonceBody) }
	far := newFarEnd(t, refusal("n1"), refusal("n2"), refusal("n2"), reply("200 OK", nonceHeader("n3"), dpopBody))
	i := farIssuer(far, nil)
	for n, want := range []struct {
		nonce string
		sent  int
	}{{"n2", 2}, {"n2", 3}, {"n3", 4}} {
		_, err := i.Refresh(t.Context(), boundToken(t))
		if got := i.nonces.For(must(url.Parse(testToken))(t)); got != want.nonce || len(far.requests()) != want.sent {
			t.Errorf("attempt %d: nonce %q after %d requests, want %q after %d: %v", n, got, len(far.requests()), want.nonce, want.sent, err)
		}
	}
}

// What is bound to a key is never used without it, and nothing is sent to find
// out: the server's refusal would end the session.
func TestDPoPWithoutKey(t *testing.T) {
	lost, damaged := boundToken(t), boundToken(t)
	lost.Extra = nil
	damaged.Extra = map[string]string{dpop.ExtraKey: "s3cret"}
	whole := boundToken(t)
	for name, call := range map[string]func(*Issuer) error{
		"the key is lost": func(i *Issuer) error { _, err := i.Refresh(t.Context(), lost); return err },
		"it is damaged":   func(i *Issuer) error { _, err := i.Refresh(t.Context(), damaged); return err },
		"renewed as a bearer's": func(i *Issuer) error {
			i.Dialect.RenewByBearer = true
			_, err := i.Refresh(t.Context(), whole)
			return err
		},
		"revoked as a bearer's": func(i *Issuer) error {
			i.Dialect.RevokeByBearer = true
			return i.Revoke(t.Context(), whole)
		},
	} {
		far := newFarEnd(t, reply("200 OK", typeJSON, dpopBody))
		if failed := failure(t, call(farIssuer(far, nil))); failed.Outcome != wrongSetup || len(far.requests()) != 0 {
			t.Errorf("%s: %v after %d requests, want Misconfigured and none", name, failed, len(far.requests()))
		}
	}
}

// A bound token that nobody asked for is of no use, which sign-in says. When it
// comes by a renewal the refresh token beside it is kept.
func TestDPoPUnasked(t *testing.T) {
	far := newFarEnd(t, reply("200 OK", typeJSON, dpopBody))
	i := farIssuer(far, func(i *Issuer) { i.DPoP = false })
	got, err := i.Mint(t.Context())
	if failed := failure(t, err); failed.Outcome != wrongSetup || !strings.Contains(err.Error(), "set Issuer.DPoP") || got.AccessToken != "" {
		t.Errorf("Mint = %v, %v", got, err)
	}
	got, err = i.Refresh(t.Context(), evertoken.Token{AccessToken: "a", RefreshToken: oldRefresh})
	_ = failure(t, err)
	if got.RefreshToken != newRefresh || got.AccessToken != "" {
		t.Errorf("Refresh = %v, %v", got, err)
	}
	// A session with a key is renewed with it, whatever the field says.
	if got, err = i.Refresh(t.Context(), boundToken(t)); err != nil || got.TokenType != "DPoP" {
		t.Errorf("Refresh of a bound session = %v, %v", got, err)
	}
}

// The server's recorded refusals, each with the answer that followed.
func TestDPoPRecorded(t *testing.T) {
	byCase := map[string]recording{}
	for _, r := range recordings(t) {
		byCase[r.Case] = r
	}
	for refused, after := range map[string]string{
		"dpop-nonce-required-code": "dpop-nonce-code-retry", "dpop-nonce-required-refresh": "dpop-nonce-refresh-retry",
	} {
		far := newFarEnd(t, byCase[refused].raw(), byCase[after].raw())
		form := byCase[refused].params(t)
		got, err := farIssuer(far, nil).Obtain(t.Context(), func(context.Context) (url.Values, error) { return form, nil })
		if err != nil || got.TokenType != "DPoP" || len(far.requests()) != 2 {
			t.Errorf("%s: %v, %v after %d requests", refused, got, err, len(far.requests()))
		}
	}
}

// The code is bound to the key that the token will be bound to.
func TestDPoPAuthorize(t *testing.T) {
	far := newFarEnd(t, reply("200 OK", typeJSON, dpopBody))
	i := farIssuer(far, func(i *Issuer) { i.AuthURL = "https://login.example.com/authorize" })
	var asked url.Values
	got, err := i.Authorize(t.Context(), Browser{Open: func(ctx context.Context, page string) error {
		asked = must(url.Parse(page))(t).Query()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, asked.Get("redirect_uri")+"?code=c&state="+asked.Get("state"), nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}})
	if err != nil {
		t.Fatal(err)
	}
	k := must(dpop.KeyOf(got))(t)
	if k == nil || asked.Get("dpop_jkt") != k.Thumbprint() {
		t.Errorf("dpop_jkt is %q, the key %v", asked.Get("dpop_jkt"), k)
	}
}

// Whatever a token endpoint sends with its refusal, there are two requests at
// most, and the token is never bound to nothing.
func FuzzDPoPAnswers(f *testing.F) {
	f.Add(400, "n1", `{"error":"use_dpop_nonce"}`, 200, "n2", dpopBody)
	f.Add(401, "n 1", `{"error":"use_dpop_nonce"}`, 400, "n1", `{"error":"use_dpop_nonce"}`)
	f.Add(200, "", grantedBody, 200, "", grantedBody)
	f.Fuzz(func(t *testing.T, status1 int, nonce1, body1 string, status2 int, nonce2, body2 string) {
		i := &Issuer{TokenURL: testToken, DPoP: true}
		if err := i.Validate(); err != nil {
			t.Fatal(err)
		}
		q := request{form: url.Values{"refresh_token": {oldRefresh}}, session: boundToken(t)}
		if err := i.bind(&q); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, testToken, nil)
		sent := 0
		a, err := i.withNonce(r, func() (*exchange.Answer, error) {
			sent++
			if err := i.prove(r, q.key); err != nil {
				t.Fatal(err)
			}
			if sent == 1 {
				return answerOf(status1, nonce1, body1), nil
			}
			return answerOf(status2, nonce2, body2), nil
		})
		if err != nil || sent > 2 {
			t.Fatalf("%d requests, %v", sent, err)
		}
		got, err := i.token(a, q, i.clock.Now())
		if err != nil {
			return
		}
		if got, err = i.bound(got, q); err != nil || got.Extra[dpop.ExtraKey] == "" || i.keys.Get(got.AccessToken) != q.key {
			t.Fatalf("a token without its key: %v, %v", got, err)
		}
	})
}

func answerOf(status int, nonce, body string) *exchange.Answer {
	return &exchange.Answer{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}, "Dpop-Nonce": {nonce}}, Body: []byte(body)}
}
