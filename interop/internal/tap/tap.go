// Package tap records what an issuer and its server say to each other, byte for
// byte, without changing any of it.
package tap

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// A Tap is a dialer that listens in. The zero value is ready. Issuers use a
// connection for one exchange each, so a connection is an exchange.
type Tap struct {
	// TLS is whom to trust. Nil: whom the system does. It is set before use.
	TLS *tls.Config

	mu    sync.Mutex
	conns []*conn
}

// An Exchange is what went over one connection. It holds secrets.
type Exchange struct {
	Began time.Time
	sent  []byte
	got   []byte
}

// Transport returns a transport for an issuer. It goes straight to the server,
// whatever the environment says of proxies: what a proxy is told of an encrypted
// connection is of no use.
func (t *Tap) Transport() *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	secure := &tls.Dialer{NetDialer: dialer, Config: t.TLS}
	return &http.Transport{
		DialContext:    t.listening(dialer.DialContext),
		DialTLSContext: t.listening(secure.DialContext),
	}
}

type dial func(ctx context.Context, network, addr string) (net.Conn, error)

// listening wraps a dialer, so that its connections are recorded.
func (t *Tap) listening(d dial) dial {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		tapped := &conn{Conn: c, began: time.Now()}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.conns = append(t.conns, tapped)
		return tapped, nil
	}
}

// Exchanges returns all of them so far, the oldest first.
func (t *Tap) Exchanges() []Exchange {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Exchange, len(t.conns))
	for i, c := range t.conns {
		all[i] = c.exchange()
	}
	return all
}

// Last returns the newest exchange; zero if there was none.
func (t *Tap) Last() Exchange {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.conns) == 0 {
		return Exchange{}
	}
	return t.conns[len(t.conns)-1].exchange()
}

type conn struct {
	net.Conn
	began time.Time

	mu        sync.Mutex
	sent, got bytes.Buffer
}

// Read notes what came before anybody acts on it.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got.Write(p[:n])
	return n, err
}

// Write notes first: the answer may be read before the call returns.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.sent.Write(p)
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// exchange copies what has been said so far.
func (c *conn) exchange() Exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Exchange{c.began, bytes.Clone(c.sent.Bytes()), bytes.Clone(c.got.Bytes())}
}

// An Answer is what a server said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Answer reads what came back. Without a whole answer it is false.
func (x Exchange) Answer() (Answer, bool) {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(x.got)), nil)
	if err != nil {
		return Answer{}, false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, body}, err == nil
}

// Raw is the answer as it came, for somebody to be played to.
func (x Exchange) Raw() []byte { return x.got }

// A Renewal is an exchange that sent a refresh token.
type Renewal struct {
	Digest [sha256.Size]byte // of the token
	Status int               // 0: no answer came
	Again  bool              // the server refused the proof of possession, not the token, and wants to be asked again
}

// Renewals returns those among all exchanges, the oldest first.
func (t *Tap) Renewals() []Renewal {
	var all []Renewal
	for _, x := range t.Exchanges() {
		if token := x.form().Get("refresh_token"); token != "" {
			a, _ := x.Answer()
			all = append(all, Renewal{sha256.Sum256([]byte(token)), a.Status, a.wantsNonce()})
		}
	}
	return all
}

// NoncesWanted counts the answers that ask for a nonce (RFC 9449, section 8).
func (t *Tap) NoncesWanted() int {
	n := 0
	for _, x := range t.Exchanges() {
		if a, _ := x.Answer(); a.wantsNonce() {
			n++
		}
	}
	return n
}

// wantsNonce says that the proof of possession was refused, not what it was for.
func (a Answer) wantsNonce() bool { return bytes.Contains(a.Body, []byte(`"use_dpop_nonce"`)) }

// form is what was sent; empty for anything but a form that went out whole.
func (x Exchange) form() url.Values {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(x.sent)))
	if err != nil || r.ParseForm() != nil {
		return nil
	}
	return r.PostForm
}

// SpentTwice counts the refresh tokens that were sent again after a server may
// have taken them. Those of several clients may be joined.
func SpentTwice(renewals []Renewal) int {
	times := map[[sha256.Size]byte]int{}
	twice := 0
	for _, r := range renewals {
		if r.Again {
			continue
		}
		if times[r.Digest]++; times[r.Digest] > 1 {
			twice++
		}
	}
	return twice
}
