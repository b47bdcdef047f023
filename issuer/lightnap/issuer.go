// Package lightnap speaks the identity API of LightNap servers, whose refresh
// token is a cookie.
//
//	issuer := &lightnap.Issuer{BaseURL: "https://api.example.com"}
//	token, err := issuer.Login(ctx, lightnap.Credentials{Login: "me@example.com", Password: password, RememberMe: true})
//	if err != nil { ... }
//	client, err := evertoken.New(ctx, evertoken.Config{Issuer: issuer})
//	if err != nil { ... }
//	err = client.SignIn(ctx, token)
package lightnap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
	"github.com/evertoken/evertoken/internal/origin"
)

// An Issuer is the client's side of one LightNap server. It keeps no session:
// the value of the refresh cookie is the RefreshToken of the tokens that it
// returns. The cookie is sent to the identity API alone, over https or to this
// machine. An Issuer is safe for concurrent use; its fields must not be changed
// once it is used.
type Issuer struct {
	// BaseURL is where the server is, without "/api". Required.
	BaseURL string

	// Transport has the proxy, the certificates and the dialer to use; it is
	// copied. Nil means as http.DefaultTransport, but with a dialer of its own: a
	// program that has given that one a DialContext sets it here as well.
	Transport *http.Transport

	// DeviceDetails is what the server shows its user for this session. Empty
	// means the operating system.
	DeviceDetails string

	once   sync.Once
	client *exchange.Client
	base   *url.URL
	fault  error
}

var _ evertoken.Issuer = (*Issuer)(nil)

// prepare checks the fields of an Issuer that was made as a literal.
func (i *Issuer) prepare() {
	u, err := url.Parse(i.BaseURL)
	switch {
	case i.BaseURL == "":
		i.fault = errors.New("lightnap: BaseURL is missing")
	case !strings.Contains(i.BaseURL, "://"):
		i.fault = errors.New("lightnap: BaseURL has no https:// (on loopback: http://)")
	case err != nil:
		i.fault = errors.New("lightnap: BaseURL is not a URL")
	case u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		i.fault = errors.New("lightnap: BaseURL is not scheme://host[:port][/path]")
	case !origin.Secure(u):
		i.fault = fmt.Errorf("lightnap: BaseURL %s: only https, or http on loopback", u)
	}
	i.base, i.client = u, exchange.New(i.Transport)
}

// Validate tells what is wrong with the fields. It need not be called: the other
// methods fail with the same error.
func (i *Issuer) Validate() error {
	i.once.Do(i.prepare)
	return i.fault
}

// Origins returns where the server's access tokens may be sent: to itself. It is
// nil for a bad BaseURL.
func (i *Issuer) Origins() []string {
	if i.Validate() != nil {
		return nil
	}
	return []string{i.base.Scheme + "://" + i.base.Host}
}

// Refresh implements [evertoken.Issuer]. It sends t's cookie and nothing else of
// it; without one the error is Rejected, as it is for a cookie that is dead.
func (i *Issuer) Refresh(ctx context.Context, t evertoken.Token) (evertoken.Token, error) {
	if t.RefreshToken == "" {
		return evertoken.Token{}, &evertoken.RefreshError{Outcome: evertoken.Rejected, Err: errors.New("lightnap: there is no refresh token")}
	}
	return i.tokenFrom(i.call(ctx, http.MethodGet, "access-token", nil, cookie(t)))
}

// Revoke ends t's session at the server, as logging out does. One that has ended
// already is no error (as in RFC 7009, section 2.2). Access tokens live on until
// they expire.
func (i *Issuer) Revoke(ctx context.Context, t evertoken.Token) error {
	_, _, err := i.call(ctx, http.MethodGet, "logout", nil, cookie(t))
	var failed *evertoken.RefreshError
	if errors.As(err, &failed) && failed.Outcome == evertoken.Rejected {
		return nil
	}
	return err
}

// tokenFrom makes a token of an answer. The cookie counts even beside an error:
// an answer whose body was lost may have replaced it.
func (i *Issuer) tokenFrom(result json.RawMessage, a *exchange.Answer, err error) (evertoken.Token, error) {
	var t evertoken.Token
	if a != nil {
		t.RefreshToken, t.RefreshExpiry = newestCookie(a.Header)
	}
	if err != nil {
		return t, err
	}
	if t.AccessToken, err = accessToken(result); err != nil {
		return t, &evertoken.RefreshError{StatusCode: a.StatusCode, Err: err}
	}
	if t.AccessToken == "" {
		// A server whose cookie is dead says so with an empty result.
		return evertoken.Token{}, &evertoken.RefreshError{Outcome: evertoken.Rejected, StatusCode: a.StatusCode, Err: errors.New("lightnap: the session has ended at the server")}
	}
	return t, nil
}

// A decoration adds to a request what proves who sends it.
type decoration func(*http.Request) error

// cookie adds the refresh cookie. Only identity API requests pass here. What
// cannot be the value of one (RFC 6265, section 4.1.1) is not sent: net/http would
// refuse some of it, and the server read the rest as something else.
func cookie(t evertoken.Token) decoration {
	return func(r *http.Request) error {
		for n := range len(t.RefreshToken) {
			if c := t.RefreshToken[n]; c <= ' ' || c >= 0x7f || strings.IndexByte(`",;\`, c) >= 0 {
				return fmt.Errorf("lightnap: refresh token cannot stand in a cookie: byte %d is %#x", n, c)
			}
		}
		if t.RefreshToken != "" {
			r.Header.Set("Cookie", cookieName+"="+t.RefreshToken)
		}
		return nil
	}
}

func bearer(t evertoken.Token) decoration {
	return func(r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+t.AccessToken)
		return nil
	}
}

// call makes one request to the identity API and opens the answer's envelope.
// The answer stands beside an error too, as far as it arrived.
func (i *Issuer) call(ctx context.Context, method, path string, in any, proofs ...decoration) (json.RawMessage, *exchange.Answer, error) {
	if err := i.Validate(); err != nil {
		return nil, nil, &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: err}
	}
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, nil, &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: fmt.Errorf("lightnap: %s: %w", path, err)}
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, i.base.JoinPath("api/Identity", path).String(), body)
	if err != nil {
		return nil, nil, &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: fmt.Errorf("lightnap: %s: bad path", path)}
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, add := range proofs {
		if err := add(req); err != nil {
			return nil, nil, &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: err}
		}
	}
	answer, err := i.client.Do(req)
	if err != nil {
		return nil, answer, err
	}
	result, err := open(answer)
	return result, answer, err
}

// device is what the server is told of this session; it must not be empty.
func (i *Issuer) device() string {
	if d := strings.TrimSpace(i.DeviceDetails); d != "" {
		return d
	}
	return "Go (" + runtime.GOOS + "/" + runtime.GOARCH + ")"
}
