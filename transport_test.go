package evertoken

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/benbjohnson/clock"
)

// A tape is the far end of a transport: it records what arrives and answers
// with the status that answer gives.
type tape struct {
	auth   []string
	bodies []string
	closed int
	answer func(n int, r *http.Request) int
	header http.Header
}

type countingBody struct {
	io.Reader
	tape *tape
}

func (b countingBody) Close() error { b.tape.closed++; return nil }

func (s *tape) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(data)
		_ = r.Body.Close()
	}
	s.auth = append(s.auth, r.Header.Get("Authorization"))
	s.bodies = append(s.bodies, body)
	status := 200
	if s.answer != nil {
		status = s.answer(len(s.auth), r)
	}
	header := s.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Request: r, Body: io.NopCloser(strings.NewReader("answer"))}, nil
}

// signedInClient is a client on the real clock whose issuer mints access-2 next.
func signedInClient(t *testing.T, base http.RoundTripper, origins ...string) (*Client, *farIssuer) {
	t.Helper()
	return signedIn(t, Config{Origins: origins, Base: base, Logger: slog.New(slog.DiscardHandler)})
}

// Where a redirect came from is known also if Base does not say what it answers.
func TestRedirectsOfABaseThatNamesNoRequest(t *testing.T) {
	var seen []string
	base := answering(func(r *http.Request) (*http.Response, error) {
		seen = append(seen, r.URL.Host+" "+r.Header.Get("Authorization"))
		rec := httptest.NewRecorder()
		switch r.URL.String() {
		case "https://api.example.com/start":
			http.Redirect(rec, r, "https://api.example.com/next", http.StatusFound)
		case "https://api.example.com/next":
			http.Redirect(rec, r, "https://elsewhere.example/", http.StatusFound)
		case "https://elsewhere.example/":
			http.Redirect(rec, r, "https://api.example.com/end", http.StatusFound)
		}
		return rec.Result(), nil
	})
	c, _ := signedInClient(t, base)
	resp, err := c.HTTP().Get("https://api.example.com/start")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	want := []string{"api.example.com Bearer access-1", "api.example.com Bearer access-1", "elsewhere.example ", "api.example.com "}
	if !slices.Equal(seen, want) {
		t.Errorf("the servers saw %q", seen)
	}
}

// A request without a body has none when it is sent again, even if it could.
func TestReplayOfARequestWithGetBodyAndNoBody(t *testing.T) {
	var bodies []bool
	c, _ := signedInClient(t, answering(func(r *http.Request) (*http.Response, error) {
		bodies = append(bodies, r.Body != nil)
		rec := httptest.NewRecorder()
		if len(bodies) == 1 {
			rec.WriteHeader(http.StatusUnauthorized)
		}
		return rec.Result(), nil
	}))
	req, err := http.NewRequest(http.MethodPost, "https://api.example.com/", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	req.Body, req.ContentLength = nil, 0
	resp, err := c.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if !slices.Equal(bodies, []bool{false, false}) {
		t.Errorf("bodies: %t", bodies)
	}
}

func signedIn(t *testing.T, cfg Config) (*Client, *farIssuer) {
	t.Helper()
	issuer := &farIssuer{clock: clock.New(), lifetime: time.Hour}
	cfg.Issuer = issuer
	c, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	if err := c.SignIn(t.Context(), issuer.mint()); err != nil {
		t.Fatal(err)
	}
	return c, issuer
}

func do(t *testing.T, c *http.Client, req *http.Request) (int, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func newRequest(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestTokenGoesToItsOriginsOnly(t *testing.T) {
	for url, want := range map[string]string{
		"https://api.example.com/x":         "Bearer access-1",
		"https://API.example.com:443/x":     "Bearer access-1",
		"https://api.example.com:8443/x":    "",
		"http://api.example.com/x":          "",
		"https://example.com/x":             "",
		"https://api.example.com.evil.io/x": "",
		"https://api.example.com./x":        "",
		"https://evil.io/api.example.com":   "",
		"https://api.eKample.com/x":         "",
		"http://127.0.0.1:8080/x":           "Bearer access-1",
		"http://127.0.0.1:8081/x":           "",
	} {
		far := &tape{}
		c, _ := signedInClient(t, far, "https://Api.Example.com", "http://127.0.0.1:8080")
		req := newRequest(t, "GET", url, nil)
		do(t, c.HTTP(), req)
		if far.auth[0] != want {
			t.Errorf("%s: Authorization %q, want %q", url, far.auth[0], want)
		}
		if req.Header.Get("Authorization") != "" {
			t.Errorf("%s: the caller's request was changed", url)
		}
	}
}

func TestOwnAuthorizationIsLeftAlone(t *testing.T) {
	far := &tape{answer: func(int, *http.Request) int { return 401 }}
	c, issuer := signedInClient(t, far)
	req := newRequest(t, "GET", "https://api.example.com/x", nil)
	req.SetBasicAuth("me", "pw")
	if status, _ := do(t, c.HTTP(), req); status != 401 || len(far.auth) != 1 || !strings.HasPrefix(far.auth[0], "Basic ") {
		t.Fatalf("status %d, sent %q", status, far.auth)
	}
	if issuer.calls() != 0 {
		t.Fatal("somebody else's 401 renewed our token")
	}
}

func TestReplayAfter401(t *testing.T) {
	type stream struct{ io.Reader } // hides what http.NewRequest could rewind
	for _, tt := range []struct {
		name     string
		body     io.Reader
		first    int // the first answer; the next is 200
		header   http.Header
		status   int
		requests int
		renewals int
	}{
		{"no body", nil, 401, nil, 200, 2, 1},
		{"a body that can be rewound", strings.NewReader("hello"), 401, nil, 200, 2, 1},
		{"a body that cannot", stream{strings.NewReader("hello")}, 401, nil, 401, 1, 0},
		{"a body of nothing", http.NoBody, 401, nil, 200, 2, 1},
		{"an expired token", nil, 401, http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}, 200, 2, 1},
		{"insufficient_scope", nil, 401, http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope"`}}, 401, 1, 0},
		{"invalid_dpop_proof", nil, 401, http.Header{"Www-Authenticate": {`DPoP error="invalid_dpop_proof"`}}, 401, 1, 0},
		{"forbidden", nil, 403, nil, 403, 1, 0},
		{"a proxy's own", nil, 407, nil, 407, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			far := &tape{header: tt.header, answer: func(n int, _ *http.Request) int {
				return map[bool]int{true: tt.first, false: 200}[n == 1]
			}}
			c, issuer := signedInClient(t, far)
			req := newRequest(t, "POST", "https://api.example.com/x", tt.body)
			if tt.body == http.NoBody {
				req.Body, req.GetBody = http.NoBody, nil
			}
			status, body := do(t, c.HTTP(), req)
			if status != tt.status || len(far.auth) != tt.requests || issuer.calls() != tt.renewals || body != "answer" {
				t.Fatalf("status %d %q, %d requests, %d renewals", status, body, len(far.auth), issuer.calls())
			}
			if tt.requests == 2 && (far.auth[1] != "Bearer access-2" || far.bodies[1] != far.bodies[0]) {
				t.Fatalf("replayed with %q, body %q", far.auth[1], far.bodies[1])
			}
		})
	}
}

// A body is what a refused answer brought: it knows how far it was read.
type trackedBody struct {
	io.Reader
	read   int
	closed bool
}

func (b *trackedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += n
	return n, err
}

func (b *trackedBody) Close() error { b.closed = true; return nil }

// The refused answer is drained, so that its connection can be used again, but
// no further than is worth it, and closed before the request is sent again.
func TestRefusedAnswerIsDrained(t *testing.T) {
	for size, want := range map[int]int{100: 100, 1 << 20: 64 << 10} {
		refused := &trackedBody{Reader: io.LimitReader(strings.NewReader(strings.Repeat("x", size)), int64(size))}
		sent := 0
		c, _ := signedInClient(t, answering(func(r *http.Request) (*http.Response, error) {
			if sent++; sent == 1 {
				return &http.Response{StatusCode: 401, Header: http.Header{}, Body: refused, Request: r}, nil
			}
			if refused.read < want || refused.read > want+32<<10 || !refused.closed {
				t.Errorf("%d of %d bytes were read, closed %t", refused.read, size, refused.closed)
			}
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		}))
		if status, _ := do(t, c.HTTP(), newRequest(t, "GET", "https://api.example.com/x", nil)); status != 200 {
			t.Errorf("status %d", status)
		}
	}
}

// Once is once, even if there is yet another token by then.
func TestReplayIsNotRepeated(t *testing.T) {
	var c *Client
	far := &tape{answer: func(n int, _ *http.Request) int {
		if n > 2 {
			return 200
		}
		if err := c.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh: %v", err)
		}
		return 401
	}}
	c, _ = signedInClient(t, far)
	if status, _ := do(t, c.HTTP(), newRequest(t, "GET", "https://api.example.com/x", nil)); status != 401 || len(far.auth) != 2 {
		t.Errorf("status %d after %d requests", status, len(far.auth))
	}
}

func TestBodyThatCannotBeRewoundAfterAll(t *testing.T) {
	far := &tape{answer: func(int, *http.Request) int { return 401 }}
	c, _ := signedInClient(t, far)
	req := newRequest(t, "POST", "https://api.example.com/x", strings.NewReader("hello"))
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	if status, body := do(t, c.HTTP(), req); status != 401 || body != "answer" || len(far.auth) != 1 {
		t.Errorf("status %d %q after %d requests", status, body, len(far.auth))
	}
}

// What Base does to the request is seen neither by the caller nor by others.
func TestRequestOfTheCallerStays(t *testing.T) {
	c, _ := signedInClient(t, answering(func(r *http.Request) (*http.Response, error) {
		if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer access-1" {
			t.Errorf("Authorization %q", got)
		}
		r.Header.Add("X", "added by Base")
		r.Header.Add("Authorization", "added by Base")
		r.Header.Set("Y", "set by Base")
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}))
	for range 2 {
		req := newRequest(t, "GET", "https://api.example.com/x", nil)
		req.Header["X"] = []string{"mine"}
		do(t, c.HTTP(), req)
		if len(req.Header) != 1 || len(req.Header["X"]) != 1 {
			t.Errorf("the caller's header is %v", req.Header)
		}
	}
}

// A request with a valid token costs a copy of it and of its header map, and
// nothing else: that is what these figures are for five headers.
func TestSignedRequestAllocates(t *testing.T) {
	answer := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}
	c, _ := signedInClient(t, answering(func(*http.Request) (*http.Response, error) { return answer, nil }))
	transport := c.Transport()
	req := newRequest(t, "GET", "https://api.example.com/x", nil)
	for _, name := range []string{"Accept", "Accept-Language", "Traceparent", "User-Agent", "X-Request-Id"} {
		req.Header.Set(name, "value")
	}
	send := func() {
		if _, err := transport.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
	}
	const runs = 200
	count, bytes := testing.AllocsPerRun(runs, send), uint64(math.MaxUint64)
	for range 10 { // the least: what else runs in this process adds to it
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			send()
		}
		runtime.ReadMemStats(&after)
		bytes = min(bytes, (after.TotalAlloc-before.TotalAlloc)/runs)
	}
	if count > 3 || bytes > 720 {
		t.Errorf("a request takes %v allocations and %d B", count, bytes)
	}
}

// Not every request comes by way of an http.Client, which sees to a header.
func TestRequestWithoutHeader(t *testing.T) {
	far := &tape{}
	c, _ := signedInClient(t, far)
	req := newRequest(t, "GET", "https://api.example.com/x", nil)
	req.Header = nil
	resp, err := c.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if far.auth[0] != "Bearer access-1" || req.Header != nil {
		t.Errorf("sent %q; the caller's header is %v", far.auth[0], req.Header)
	}
}

func TestFailedRenewalHandsOverThe401(t *testing.T) {
	far := &tape{answer: func(int, *http.Request) int { return 401 }}
	c, issuer := signedInClient(t, far)
	issuer.then(fails(&RefreshError{Outcome: Unavailable, StatusCode: 503}))
	if status, body := do(t, c.HTTP(), newRequest(t, "GET", "https://api.example.com/x", nil)); status != 401 || body != "answer" {
		t.Fatalf("status %d, body %q, want the 401 intact", status, body)
	}
}

func TestBodyIsClosedWithoutAToken(t *testing.T) {
	signedOut, _ := signedInClient(t, &tape{})
	if err := signedOut.SignOut(t.Context()); err != nil {
		t.Fatal(err)
	}
	api := []string{"https://api.example.com"}
	for want, transport := range map[string]*Transport{
		"Transport: Source is missing": {},
		"Transport: Origins is empty":  {Source: failingSource{}},
		"Transport: Origins[1]":        {Source: failingSource{}, Origins: []string{"https://x", "api.example.com"}},
		"no token here":                {Source: failingSource{}, Origins: api},
		"without AccessToken":          {Source: fixedSource{}, Origins: api},
		"signed out":                   {Source: signedOut, Origins: api},
	} {
		far := &tape{}
		req := newRequest(t, "POST", "https://api.example.com/x", countingBody{strings.NewReader("x"), far})
		resp, err := transport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "evertoken: ") || !strings.Contains(err.Error(), want) || far.closed != 1 {
			t.Errorf("error %v, want %q; body closed %d times", err, want, far.closed)
		}
	}
}

type failingSource struct{}

func (failingSource) Token(context.Context) (Token, error) {
	return Token{}, errors.New("evertoken: no token here")
}

type fixedSource Token

func (s fixedSource) Token(context.Context) (Token, error) { return Token(s), nil }

func TestForeignTokenSource(t *testing.T) {
	for kind, want := range map[string]string{"": "Bearer abc", "bearer": "Bearer abc", "DPoP": "DPoP abc", "MAC": "MAC abc"} {
		far := &tape{answer: func(int, *http.Request) int { return 401 }}
		c := &http.Client{Transport: &Transport{Source: fixedSource{AccessToken: "abc", TokenType: kind}, Origins: []string{"https://api.example.com"}, Base: far}}
		if status, _ := do(t, c, newRequest(t, "GET", "https://api.example.com/x", nil)); status != 401 || len(far.auth) != 1 || far.auth[0] != want {
			t.Errorf("type %q: status %d, sent %q", kind, status, far.auth)
		}
		do(t, c, newRequest(t, "GET", "https://evil.example.com/x", nil))
		if far.auth[1] != "" {
			t.Errorf("sent %q elsewhere", far.auth[1])
		}
	}
}

// A request without a URL is for Base to refuse.
func TestRequestWithoutURL(t *testing.T) {
	refused := errors.New("no URL")
	transport := &Transport{Source: fixedSource{AccessToken: "abc"}, Origins: []string{"https://api.example.com"}, Base: answering(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("Authorization") != "" {
			t.Error("it was given the token")
		}
		return nil, refused
	})}
	resp, err := transport.RoundTrip(&http.Request{})
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, refused) {
		t.Errorf("RoundTrip = %v", err)
	}
}

// idle counts what http.Client.CloseIdleConnections comes to.
type idle struct {
	http.RoundTripper
	closed int
}

func (i *idle) CloseIdleConnections() { i.closed++ }

func TestIdleConnections(t *testing.T) {
	base := &idle{}
	c, _ := signedInClient(t, base)
	c.HTTP().CloseIdleConnections()
	if base.closed != 1 {
		t.Errorf("closed %d times", base.closed)
	}
	(&Transport{Base: &tape{}}).CloseIdleConnections() // a Base without any
}

// A second host learns nothing from a redirect, nor does the first one when the
// chain comes back.
func TestRedirectToAnotherHost(t *testing.T) {
	seen := map[string]string{}
	record := func(r *http.Request) { seen[r.URL.Path] = r.Header.Get("Authorization") }
	var home, away *httptest.Server
	away = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record(r)
		http.Redirect(w, r, home.URL+"/back", http.StatusFound)
	}))
	defer away.Close()
	home = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record(r)
		switch r.URL.Path {
		case "/start":
			http.Redirect(w, r, "/inside", http.StatusFound)
		case "/inside":
			http.Redirect(w, r, away.URL+"/away", http.StatusFound)
		case "/back":
			http.Redirect(w, r, "/stay", http.StatusFound)
		}
	}))
	defer home.Close()
	c, _ := signedInClient(t, nil, home.URL)
	do(t, c.HTTP(), newRequest(t, "GET", home.URL+"/start", nil))
	want := "map[/away: /back: /inside:Bearer access-1 /start:Bearer access-1 /stay:]"
	if got := fmt.Sprint(seen); got != want {
		t.Fatalf("tokens seen: %s\nwant:        %s", got, want)
	}
}

// An issuer that cannot be dialled does not hold up Close, nor is that a failure.
func TestCloseWhileDialing(t *testing.T) {
	var log strings.Builder
	dialing, over := make(chan struct{}), make(chan struct{})
	defer close(over) // net/http goes on dialling for the next request
	base := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		close(dialing)
		<-over
		return nil, errors.New("unreachable")
	}}
	c, issuer := signedIn(t, Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	issuer.then(func(ctx context.Context, _ Token) (Token, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:1", nil)
		if err != nil {
			return Token{}, err
		}
		resp, err := base.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return Token{}, err
	})
	refreshed := make(chan error)
	go func() { refreshed <- c.Refresh(t.Context()) }()
	<-dialing
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-refreshed; !errors.Is(err, ErrClosed) {
		t.Fatalf("Refresh = %v, want ErrClosed", err)
	}
	if log.Len() != 0 {
		t.Fatalf("Close was logged as a failure: %s", log.String())
	}
}
