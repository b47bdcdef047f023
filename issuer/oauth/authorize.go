package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/dpop"
	"github.com/evertoken/evertoken/internal/exchange"
	"github.com/evertoken/evertoken/internal/origin"
)

// A Browser is how a person on this machine signs in.
type Browser struct {
	// Open shows the URL to the person: starts their browser, or prints it. It
	// returns once that is under way; its error ends the sign-in. Required.
	Open func(ctx context.Context, url string) error

	// Listen is where the browser brings the answer: host:port on loopback.
	// Empty means "127.0.0.1:0", any free port, which servers that heed RFC 8252
	// accept whatever port was registered. "[::1]:0" is the other choice.
	Listen string

	// Path of the redirect URI, as registered. Empty means "/callback".
	Path string
}

// Authorize signs in a person on this machine: with an authorization code that
// comes back over loopback (RFC 8252) and is worth nothing to anybody else (PKCE,
// RFC 7636). It waits until the person has decided, or ctx ends. A refusal is
// [evertoken.Rejected].
func (i *Issuer) Authorize(ctx context.Context, b Browser) (evertoken.Token, error) {
	t, err := i.authorize(ctx, b)
	if err != nil {
		return evertoken.Token{}, fmt.Errorf("oauth: authorize: %w", err)
	}
	return t, nil
}

func (i *Issuer) authorize(ctx context.Context, b Browser) (evertoken.Token, error) {
	if err := i.ready(); err != nil {
		return evertoken.Token{}, err
	}
	switch {
	case i.AuthURL == "":
		return evertoken.Token{}, misconfigured("AuthURL is missing")
	case b.Open == nil:
		return evertoken.Token{}, misconfigured("Browser.Open is missing")
	case b.Path != "" && b.Path[0] != '/':
		return evertoken.Token{}, misconfigured("Browser.Path does not begin with a slash")
	}
	v := &visit{issuer: i, path: or(b.Path, "/callback"), state: rand.Text(), verifier: rand.Text() + rand.Text(), answer: make(chan answer, 1)}
	var err error
	if v.key, err = i.newKey(); err != nil {
		return evertoken.Token{}, err
	}
	stop, err := v.listen(ctx, or(b.Listen, "127.0.0.1:0"))
	if err != nil {
		return evertoken.Token{}, err
	}
	defer stop()
	if err := b.Open(ctx, v.url()); err != nil {
		return evertoken.Token{}, fmt.Errorf("open: %w", err)
	}
	select {
	case got := <-v.answer:
		if got.err != nil {
			return evertoken.Token{}, got.err
		}
		return i.tokenRequest(ctx, request{key: v.key, form: url.Values{
			"grant_type": {"authorization_code"}, "code": {got.code}, "redirect_uri": {v.redirect}, "code_verifier": {v.verifier},
		}})
	case <-ctx.Done():
		return evertoken.Token{}, fmt.Errorf("waiting for the browser: %w", context.Cause(ctx))
	}
}

// A visit is one trip of the browser to the server and back.
type visit struct {
	issuer   *Issuer
	path     string
	redirect string // the URI that it comes back to
	state    string // proof that it was sent by us
	verifier string // RFC 7636, section 4.1
	key      *dpop.Key
	answer   chan answer
}

type answer struct {
	code string
	err  error
}

// listen serves the redirect URI until stop is called.
func (v *visit) listen(ctx context.Context, address string) (stop func(), err error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !origin.Secure(&url.URL{Scheme: "http", Host: net.JoinHostPort(host, "0")}) {
		return nil, misconfigured("Browser.Listen is not host:port on loopback")
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), l.Close())
	}
	v.redirect = (&url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: v.path}).String()
	srv := &http.Server{Handler: v, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // ends with ErrServerClosed; a listener that fails is noticed by ctx
	}()
	return func() {
		// The person's page is on its way; a browser's idle connections are not waited for.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
		<-done
	}, nil
}

// url is where the browser is sent (RFC 6749, section 4.1.1).
func (v *visit) url() string {
	u, err := url.Parse(v.issuer.AuthURL)
	if err != nil {
		return "" // it has been validated
	}
	q := u.Query()
	for name, values := range v.issuer.complete(nil) {
		q[name] = values
	}
	challenge := sha256.Sum256([]byte(v.verifier))
	q.Set("response_type", "code")
	q.Set("redirect_uri", v.redirect)
	q.Set("state", v.state)
	q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:]))
	q.Set("code_challenge_method", "S256")
	if v.key != nil {
		q.Set("dpop_jkt", v.key.Thumbprint()) // binds the code as well (RFC 9449, section 10)
	}
	if c := v.issuer.Client; c != nil && c.ClientID() != "" {
		q.Set("client_id", c.ClientID())
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// ServeHTTP is the browser coming back. Whatever does not know the state was not
// sent by us: it is turned away, and the real one is still waited for.
func (v *visit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	q := r.URL.Query()
	switch {
	case r.URL.Path != v.path:
		page(w, http.StatusNotFound, "There is nothing here.")
	case r.Method != http.MethodGet:
		page(w, http.StatusMethodNotAllowed, "There is nothing here.")
	case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(v.state)) != 1:
		page(w, http.StatusBadRequest, "This is not the sign-in that was begun on this machine.")
	default:
		got := v.read(q)
		if got.err != nil {
			page(w, http.StatusOK, "The sign-in did not succeed. You may close this window.")
		} else {
			page(w, http.StatusOK, "You may close this window.")
		}
		select {
		case v.answer <- got:
		default: // a reload: the first answer counts
		}
	}
}

// page shows fixed words only: nothing that came with the request.
func page(w http.ResponseWriter, status int, words string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html lang=\"en\"><title>Sign-in</title><p>"+words+"</p></html>\n")
}

// read takes the answer out of a query that knows the state (RFC 6749, section
// 4.1.2), once it is certain that the right server gave it (RFC 9207).
func (v *visit) read(q url.Values) answer {
	i, iss := v.issuer, q.Get("iss")
	switch {
	case q.Has("iss") && i.IssuerURL != "" && iss != i.IssuerURL:
		return answer{err: fmt.Errorf("the answer is of issuer %q, not of %q", exchange.Clean(iss), i.IssuerURL)}
	case !q.Has("iss") && i.IssuerInAnswers:
		return answer{err: fmt.Errorf("the answer does not name its issuer, as %q always does", i.IssuerURL)}
	case q.Get("error") != "":
		code := q.Get("error")
		e := &evertoken.RefreshError{Outcome: exchange.OAuthOutcome(code), Code: exchange.Clean(code), Description: exchange.Clean(q.Get("error_description"))}
		if code == "access_denied" {
			e.Outcome = evertoken.Rejected
		}
		return answer{err: e}
	case q.Get("code") == "":
		return answer{err: errors.New("the answer has neither code nor error")}
	}
	return answer{code: q.Get("code")}
}
