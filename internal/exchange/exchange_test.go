package exchange

import (
	"bufio"
	"errors"
	"net"
	"net/http"
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

func TestOAuthOutcome(t *testing.T) {
	for code, want := range map[string]evertoken.Outcome{
		"invalid_grant": evertoken.Rejected, "invalid_client": evertoken.Misconfigured, "invalid_scope": evertoken.Misconfigured,
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
