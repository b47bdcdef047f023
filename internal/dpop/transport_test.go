package dpop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/dpop/dpoptest"
)

// A resource is an API that admits tokens by the key they are bound to.
type resource struct {
	*httptest.Server
	dpoptest.Verifier
	mu     sync.Mutex
	bound  map[string]string // thumbprint of the key by access token
	bodies []string
	faults []string
}

func newResource(t *testing.T) *resource {
	t.Helper()
	r := &resource{bound: map[string]string{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (s *resource) bind(access string, k *Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound[access] = k.Thumbprint()
}

func (s *resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	access, ok := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
	thumbprint, err := s.Verify(r, access)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.Nonce(); n != "" {
		w.Header().Set("DPoP-Nonce", n)
	}
	switch {
	case errors.Is(err, dpoptest.ErrNonce):
		w.Header().Set("WWW-Authenticate", `Bearer, DPoP algs="ES256", error="use_dpop_nonce"`)
		w.WriteHeader(http.StatusUnauthorized)
	case err != nil || !ok || thumbprint != s.bound[access]:
		s.faults = append(s.faults, fmt.Sprintf("%s, scheme DPoP: %v, key fits: %v", err, ok, thumbprint == s.bound[access]))
		w.Header().Set("WWW-Authenticate", `DPoP error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	default:
		s.bodies = append(s.bodies, string(body))
	}
}

// A session is a source whose token can be exchanged.
type session struct {
	now atomic.Pointer[evertoken.Token]
}

func (s *session) Token(context.Context) (evertoken.Token, error) {
	if t := s.now.Load(); t != nil {
		return *t, nil
	}
	return evertoken.Token{}, evertoken.ErrSignedOut
}

func (s *session) set(t evertoken.Token) { s.now.Store(&t) }

func newTransport(s evertoken.TokenSource, base http.RoundTripper) *Transport {
	return &Transport{Base: base, Source: s, Keys: new(Keyring), Nonces: new(Nonces), Now: time.Now}
}

// send sends a request with a token through tr and returns the status.
func send(t *testing.T, tr http.RoundTripper, url, access string, body io.Reader) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "DPoP "+access)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if req.Header.Get("DPoP") != "" || len(req.Header) != 1 {
		t.Errorf("the caller's request was changed: %v", req.Header)
	}
	return resp.StatusCode
}

func TestProofWithEachRequest(t *testing.T) {
	api, k, s := newResource(t), mustKey(t), new(session)
	api.bind("a", k)
	s.set(held(t, "a", k))
	tr := newTransport(s, api.Client().Transport)
	for range 3 {
		if got := send(t, tr, api.URL+"/x%2Fy?q=1", "a", strings.NewReader("body")); got != 200 {
			t.Fatalf("status %d: %v", got, api.faults)
		}
	}
	if api.Proofs() != 3 || strings.Join(api.bodies, " ") != "body body body" {
		t.Errorf("%d proofs, bodies %q", api.Proofs(), api.bodies)
	}
}

// A server that wants a nonce refuses once, and once more whenever it changes it
// without a word; one that tells it in time never does.
func TestNonce(t *testing.T) {
	api, k, s := newResource(t), mustKey(t), new(session)
	api.bind("a", k)
	s.set(held(t, "a", k))
	tr := newTransport(s, api.Client().Transport)
	proofs := 0
	for n, step := range []struct{ demand, more int }{{0, 1}, {1, 2}, {0, 1}, {1, 2}, {0, 1}} {
		for range step.demand {
			api.Demand()
		}
		if got := send(t, tr, api.URL, "a", strings.NewReader("body")); got != 200 {
			t.Fatalf("step %d: status %d: %v", n, got, api.faults)
		}
		if proofs += step.more; api.Proofs() != proofs {
			t.Fatalf("step %d: %d proofs in all, want %d", n, api.Proofs(), proofs)
		}
	}
	if strings.Join(api.bodies, " ") != "body body body body body" {
		t.Errorf("bodies %q", api.bodies)
	}
}

// What a server says in a 200 counts for the next request.
func TestNonceFromSuccess(t *testing.T) {
	var far http.Header
	k, s := mustKey(t), new(session)
	s.set(held(t, "a", k))
	tr := newTransport(s, roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: far, Body: http.NoBody, Request: r}, nil
	}))
	far = http.Header{"Dpop-Nonce": {"from-200"}}
	send(t, tr, "https://api.example.com/a", "a", nil)
	if got := tr.Nonces.For(mustURL(t, "https://api.example.com/b")); got != "from-200" {
		t.Errorf("the nonce of the next request is %q", got)
	}
}

// The nonce of a repeated request's answer is the newest; and one that a server
// refuses is not offered to it a second time.
func TestNonceAfterRefusal(t *testing.T) {
	k, s, sent := mustKey(t), new(session), 0
	s.set(held(t, "a", k))
	tr := newTransport(s, roundTripper(func(r *http.Request) (*http.Response, error) {
		sent++
		return &http.Response{StatusCode: 401, Body: http.NoBody, Request: r, Header: http.Header{
			"Www-Authenticate": {`DPoP error="use_dpop_nonce"`}, "Dpop-Nonce": {fmt.Sprint("n-", min(sent, 2))},
		}}, nil
	}))
	for n, want := range []int{2, 3, 4} {
		if got := send(t, tr, "https://api.example.com/", "a", nil); got != 401 || sent != want {
			t.Errorf("request %d: status %d, %d sent in all, want %d", n, got, sent, want)
		}
		if got := tr.Nonces.For(mustURL(t, "https://api.example.com/")); got != "n-2" {
			t.Errorf("request %d: the newest nonce is %q", n, got)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// closer counts how often a body is closed.
type closer struct {
	io.Reader
	closed *int
}

func (c closer) Close() error { *c.closed++; return nil }

// A refusal is repeated only if that can help, and the body is there again; else
// it is the caller's, with its body.
func TestNoRepetition(t *testing.T) {
	refusal := http.Header{"Www-Authenticate": {`DPoP error="use_dpop_nonce"`}, "Dpop-Nonce": {"n"}}
	for name, c := range map[string]struct {
		status    int
		header    http.Header
		noRewind  bool
		badRewind bool
		sent      int
	}{
		"a nonce is wanted":    {401, refusal, false, false, 2},
		"the body is gone":     {401, refusal, true, false, 1},
		"it cannot be rewound": {401, refusal, false, true, 1},
		"another status":       {400, refusal, false, false, 1},
		"no nonce":             {401, http.Header{"Www-Authenticate": refusal["Www-Authenticate"]}, false, false, 1},
		"another error":        {401, http.Header{"Www-Authenticate": {`DPoP error="invalid_token"`}, "Dpop-Nonce": {"n"}}, false, false, 1},
		"another scheme":       {401, http.Header{"Www-Authenticate": {`Bearer error="use_dpop_nonce"`}, "Dpop-Nonce": {"n"}}, false, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			sent, closed, answers := 0, 0, 0
			k, s := mustKey(t), new(session)
			s.set(held(t, "a", k))
			tr := newTransport(s, roundTripper(func(r *http.Request) (*http.Response, error) {
				sent++
				got, err := io.ReadAll(r.Body)
				if err != nil || string(got) != "body" {
					t.Errorf("request %d has body %q, %v", sent, got, err)
				}
				_ = r.Body.Close()
				return &http.Response{StatusCode: c.status, Header: c.header, Request: r, Body: closer{strings.NewReader("why"), &answers}}, nil
			}))
			body := func() io.ReadCloser { return closer{strings.NewReader("body"), &closed} }
			req := httptest.NewRequest(http.MethodPost, "https://api.example.com/", body())
			req.Header.Set("Authorization", "DPoP a")
			if !c.noRewind {
				req.GetBody = func() (io.ReadCloser, error) {
					if c.badRewind {
						return nil, errors.New("gone")
					}
					return body(), nil
				}
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			why, err := io.ReadAll(resp.Body)
			if err != nil || string(why) != "why" || resp.StatusCode != c.status {
				t.Errorf("the caller's answer is %d %q, %v", resp.StatusCode, why, err)
			}
			if sent != c.sent || closed != c.sent || answers != c.sent-1 {
				t.Errorf("sent %d, bodies closed %d, answers closed %d; want %d, %d, %d", sent, closed, answers, c.sent, c.sent, c.sent-1)
			}
		})
	}
}

// Whatever is not the session's goes out as it came, and its nonces are not ours.
func TestOthersPass(t *testing.T) {
	for name, header := range map[string]http.Header{
		"no token":           {},
		"a bearer's":         {"Authorization": {"Bearer a"}},
		"another DPoP token": {"Authorization": {"DPoP other"}},
		"its own proof":      {"Authorization": {"DPoP a"}, "Dpop": {"proof"}},
		"two":                {"Authorization": {"DPoP a", "DPoP a"}},
		"only the scheme":    {"Authorization": {"DPoP"}},
	} {
		s := new(session)
		s.set(held(t, "a", mustKey(t)))
		req := httptest.NewRequest(http.MethodGet, "https://api.example.com/", nil)
		req.Header = header
		tr := newTransport(s, roundTripper(func(r *http.Request) (*http.Response, error) {
			if r != req {
				t.Errorf("%s: the request was copied, with %v", name, r.Header)
			}
			return &http.Response{StatusCode: 401, Body: http.NoBody, Request: r, Header: http.Header{
				"Www-Authenticate": {`DPoP error="use_dpop_nonce"`}, "Dpop-Nonce": {"n"},
			}}, nil
		}))
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := tr.Nonces.For(req.URL); got != "" {
			t.Errorf("%s: nonce %q was kept", name, got)
		}
	}
}

func TestSessionWithoutKey(t *testing.T) {
	for name, extra := range map[string]map[string]string{"none": nil, "damaged": {ExtraKey: "s3cret"}} {
		s, closed := new(session), 0
		s.set(evertoken.Token{AccessToken: "a", TokenType: "DPoP", Extra: extra})
		tr := newTransport(s, roundTripper(func(*http.Request) (*http.Response, error) {
			t.Errorf("%s: the token was sent without a proof", name)
			return nil, errors.New("unexpected")
		}))
		req := httptest.NewRequest(http.MethodPost, "https://api.example.com/", closer{strings.NewReader(""), &closed})
		req.Header.Set("Authorization", "DPoP a")
		resp, err := tr.RoundTrip(req)
		if err == nil || !strings.Contains(err.Error(), "key") || strings.Contains(err.Error(), "s3cret") || closed != 1 {
			t.Errorf("%s: %v, %v; body closed %d times", name, resp, err, closed)
		}
	}
}

// The token was attached, and before its key is looked up another session begins
// with another key. The proof is by the token's own key if that is known at all.
func TestKeyFitsTheToken(t *testing.T) {
	api, old, next, s := newResource(t), mustKey(t), mustKey(t), new(session)
	api.bind("old", old)
	api.bind("next", next)
	s.set(held(t, "old", old))
	tr := newTransport(s, api.Client().Transport)
	if got := send(t, tr, api.URL, "old", nil); got != 200 {
		t.Fatalf("status %d", got)
	}
	s.set(held(t, "next", next))
	for _, access := range []string{"old", "next"} {
		if got := send(t, tr, api.URL, access, nil); got != 200 {
			t.Errorf("%s: status %d: %v", access, got, api.faults)
		}
	}
	s.now.Store(nil)
	if got := send(t, tr, api.URL, "next", nil); got != 200 {
		t.Errorf("signed out meanwhile: status %d", got)
	}
}

// Sign-ins, nonces and requests at once: every request is answered, and every
// proof fits its token.
func TestRace(t *testing.T) {
	api, s := newResource(t), new(session)
	tr := newTransport(s, api.Client().Transport)
	keys := []*Key{mustKey(t), mustKey(t), mustKey(t)}
	signIn := func(n int) {
		access, k := fmt.Sprint("a-", n), keys[n%len(keys)]
		api.bind(access, k)
		tr.Keys.Put(access, k) // as the issuer does that makes a token
		s.set(held(t, access, k))
	}
	signIn(0)
	api.Demand()
	var requests, others sync.WaitGroup
	attached := make(chan struct{}) // a request has its token, and is not sent
	others.Go(func() {
		n := 0
		for range attached {
			n++
			if signIn(n); n%5 == 0 {
				api.Demand()
			}
		}
	})
	for range 4 {
		requests.Go(func() {
			for range 50 {
				now, err := s.Token(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				attached <- struct{}{}
				send(t, tr, api.URL, now.AccessToken, strings.NewReader("body"))
			}
		})
	}
	requests.Wait()
	close(attached)
	others.Wait()
	if len(api.faults) != 0 {
		t.Errorf("%d of 200 requests were refused for their proof, such as: %s", len(api.faults), api.faults[0])
	}
}

func BenchmarkProof(b *testing.B) {
	k := mustKey(b)
	s := new(session)
	s.set(held(b, "a", k))
	tr := newTransport(s, roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}))
	req := httptest.NewRequest(http.MethodGet, "https://api.example.com/a", nil)
	req.Header.Set("Authorization", "DPoP a")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}

// What is wrong with a session's key reaches whoever sends a request, and says
// once whose error it is.
func TestNoUsableKey(t *testing.T) {
	for extra, says := range map[string]string{
		"":        "evertoken: dpop: the token of the session is of type DPoP, and the session holds no key: sign in anew",
		"s3cret!": "evertoken: dpop: key: not base64",
	} {
		s, tok := new(session), evertoken.Token{AccessToken: "a", TokenType: "DPoP"}
		if extra != "" {
			tok.Extra = map[string]string{ExtraKey: extra}
		}
		s.set(tok)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "DPoP a")
		if resp, err := newTransport(s, nil).RoundTrip(req); err == nil || err.Error() != says {
			t.Errorf("RoundTrip = %v, %v; want %s", resp, err, says)
		}
	}
}
