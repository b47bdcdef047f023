package oauth

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
)

const (
	testToken   = "http://localhost/token"
	oldRefresh  = "s3cret-old-refresh"
	newRefresh  = "s3cret-new-refresh"
	newAccess   = "s3cret-new-access"
	clientName  = "the client"
	clientWord  = "s3cret:+ %&word"
	typeJSON    = "Content-Type: application/json\r\n"
	grantedBody = `{"access_token":"` + newAccess + `","token_type":"bearer","expires_in":3600,"refresh_token":"` + newRefresh + `"}`
)

// reply is one whole HTTP answer.
func reply(status, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\n%s\r\n%s", status, len(body), headers, body)
}

// A sight is a request as the server saw it.
type sight struct {
	method, path string
	header       http.Header
	form         url.Values
	body         string
}

// A farEnd answers each connection with one of its answers, in order, and then
// hangs up. The last one is repeated. Connections are pipes, so that a bubble
// understands them.
type farEnd struct {
	t       *testing.T
	answers []string
	dialErr error // if set, the next dial fails with it, once

	mu    sync.Mutex
	wg    sync.WaitGroup
	seen  []sight
	dials int
	times []time.Time // of the requests
}

// silence is an answer that never comes.
const silence = "silence"

func newFarEnd(t *testing.T, answers ...string) *farEnd {
	t.Helper()
	f := &farEnd{t: t, answers: answers}
	t.Cleanup(f.wg.Wait)
	return f
}

func (f *farEnd) transport() *http.Transport { return &http.Transport{DialContext: f.dial} }

func (f *farEnd) dial(context.Context, string, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials++
	if err := f.dialErr; err != nil {
		f.dialErr = nil
		return nil, err
	}
	near, far := net.Pipe()
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		defer func() { _ = far.Close() }()
		f.serve(far)
	}()
	return near, nil
}

func (f *farEnd) serve(c net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	form, _ := url.ParseQuery(string(body))
	f.mu.Lock()
	f.times = append(f.times, time.Now())
	f.seen = append(f.seen, sight{r.Method, r.URL.RequestURI(), r.Header, form, string(body)})
	answer := f.answers[min(len(f.seen), len(f.answers))-1]
	f.mu.Unlock()
	if answer == silence {
		_, _ = c.Read(make([]byte, 1)) // until the client has had enough
		return
	}
	_, _ = io.Copy(c, strings.NewReader(answer))
}

// requests returns what has been seen so far.
func (f *farEnd) requests() []sight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// only returns the one request that was made.
func (f *farEnd) only() sight {
	f.t.Helper()
	seen := f.requests()
	if len(seen) != 1 {
		f.t.Fatalf("the server saw %d requests, want 1", len(seen))
	}
	return seen[0]
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// failure returns the facts of a failed attempt, and sees to it that they hold
// no secret.
func failure(t *testing.T, err error) *evertoken.RefreshError {
	t.Helper()
	var failed *evertoken.RefreshError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a *RefreshError", err)
	}
	if s := fmt.Sprintf("%v %+v", err, *failed); strings.Contains(s, "s3cret") {
		t.Fatalf("the error holds a secret: %s", s)
	}
	return failed
}

// selfSigned is a certificate that only its key proves.
func selfSigned(t *testing.T, key ed25519.PrivateKey) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "me"}, NotAfter: time.Now().Add(time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
