package exchange

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/evertoken/evertoken"
)

// A server answers the first request and keeps the connection, then reads the
// second and hangs up. On a kept connection net/http would send a GET a third
// time without a word, and a rotated refresh token would be spent twice.
func TestNoSilentReplay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serveOnce(c, &requests)
		}
	}()
	defer func() {
		_ = l.Close()
		<-done
	}()
	c := New(&http.Transport{})
	for n := range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/?q=s3cret", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.Do(req)
		if n == 0 {
			if err != nil || string(a.Body) != "ok" {
				t.Fatalf("first: %v", err)
			}
			continue
		}
		var failed *evertoken.RefreshError
		if !errors.As(err, &failed) || failed.Outcome != evertoken.Ambiguous || strings.Contains(err.Error(), "s3cret") {
			t.Fatalf("second: %v, want Ambiguous without the query", err)
		}
	}
	if n := requests.Load(); n != 2 {
		t.Fatalf("the server saw %d requests, want 2", n)
	}
}

func serveOnce(c net.Conn, requests *atomic.Int32) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_ = req.Body.Close()
		if requests.Add(1) > 1 {
			return
		}
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	}
}

// refusing is a server of HTTP/2 that refuses each stream. net/http would open
// another one for the same request for as long as the server goes on.
func refusing(t *testing.T) (url string, streams *atomic.Int32, base *http.Transport) {
	t.Helper()
	streams = new(atomic.Int32)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 {
			return
		}
		streams.Add(1)
		panic(http.ErrAbortHandler)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL, streams, srv.Client().Transport.(*http.Transport)
}

// Whatever the transport was made for, and used for, an exchange is HTTP/1.1.
func TestNoHTTP2(t *testing.T) {
	url, streams, base := refusing(t)
	used := base.Clone()
	if resp, err := (&http.Client{Transport: used}).Get(url); err == nil {
		_ = resp.Body.Close()
		t.Fatal("the server answered over HTTP/2")
	}
	if streams.Load() == 0 {
		t.Fatal("the server was not asked over HTTP/2; this test shows nothing")
	}
	streams.Store(0)
	forced := base.Clone()
	forced.Protocols = new(http.Protocols)
	forced.Protocols.SetHTTP2(true)
	for name, tr := range map[string]*http.Transport{"fresh": base, "used": used, "HTTP/2 alone": forced} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := New(tr).Do(req); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := streams.Load(); n != 0 {
		t.Errorf("%d requests went over HTTP/2", n)
	}
}

// A dialer of the old kind is a dialer too.
func TestOwnDialerIsUsed(t *testing.T) {
	refused := errors.New("refused by the test")
	base := &http.Transport{Dial: func(string, string) (net.Conn, error) { return nil, refused }} //nolint:staticcheck // what is tested
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	var failed *evertoken.RefreshError
	if _, err = New(base).Do(req); !errors.Is(err, refused) || !errors.As(err, &failed) || failed.Outcome != evertoken.NotSent {
		t.Errorf("Do = %v, want NotSent and the dialer's error", err)
	}
}

func TestOAuthOutcome(t *testing.T) {
	for code, want := range map[string]evertoken.Outcome{
		"invalid_grant": evertoken.Rejected, "invalid_client": evertoken.Misconfigured, "invalid_scope": evertoken.Misconfigured,
		"use_dpop_nonce": evertoken.Misconfigured, "invalid_target": evertoken.Misconfigured,
		"temporarily_unavailable": evertoken.Unavailable, "server_error": evertoken.Unavailable, "": evertoken.Ambiguous, "odd": evertoken.Ambiguous,
	} {
		if got := OAuthOutcome(code); got != want {
			t.Errorf("%q: %v, want %v", code, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	if got := Clean("a\nb\x1b[31mc\xff"); got != "a b [31mc " {
		t.Errorf("Clean = %q", got)
	}
	if got := Clean(strings.Repeat("é", 500)); len(got) > 210 || !strings.HasSuffix(got, "...") {
		t.Errorf("Clean of a long text has %d bytes", len(got))
	}
}

// What completes a request is called for each attempt, on a copy of its own, and
// its failure is proof that nothing was sent.
func TestSendFinishesEachAttempt(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Header.Get("X-Attempt") + r.Header.Get("X-Left")))
	}))
	defer srv.Close()
	dials := 0
	base := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials == 1 {
			return nil, errors.New("refused by the test")
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	attempts := 0
	a, err := New(base).Send(req, func(r *http.Request) error {
		attempts++
		if attempts == 1 {
			r.Header.Set("X-Left", "!") // must not be there the second time
		}
		r.Header.Set("X-Attempt", strconv.Itoa(attempts))
		return nil
	})
	if err != nil || string(a.Body) != "2" || len(req.Header) != 0 {
		t.Errorf("the server saw attempt %q, %v; the request has %v", a.Body, err, req.Header)
	}

	fault := errors.New("no key")
	known := &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: fault}
	for _, tt := range []struct {
		err  error
		want evertoken.Outcome
		n    int
	}{{fault, evertoken.NotSent, 3}, {known, evertoken.Misconfigured, 1}} {
		dials, attempts = 1, 0
		_, err := New(base).Send(req, func(*http.Request) error {
			attempts++
			return tt.err
		})
		var failed *evertoken.RefreshError
		if !errors.As(err, &failed) || failed.Outcome != tt.want || !errors.Is(err, fault) || dials != 1 || attempts != tt.n {
			t.Errorf("%v after %d attempts and %d dials, want %v", err, attempts, dials-1, tt.want)
		}
	}
}
