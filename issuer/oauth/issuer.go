package oauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/dpop"
	"github.com/evertoken/evertoken/internal/exchange"
	"github.com/evertoken/evertoken/internal/origin"
)

// An Issuer is the client's side of one authorization server. It keeps no
// session. It is safe for concurrent use; its fields must not be changed once it
// is used. URLs are https, or http on loopback.
type Issuer struct {
	// TokenURL is the token endpoint (RFC 6749, section 3.2). Required.
	TokenURL string

	// RevocationURL ends sessions (RFC 7009). Empty: signing out is local, and
	// the server learns nothing of it.
	RevocationURL string

	// DeviceURL is where Device begins (RFC 8628, section 3.1).
	DeviceURL string

	// AuthURL is where Authorize sends the browser (RFC 6749, section 3.1).
	AuthURL string

	// IssuerURL is the server's own name for itself (RFC 8414). If it is set,
	// Authorize refuses answers of another issuer (RFC 9207).
	IssuerURL string

	// IssuerInAnswers says that the server always names itself in what the
	// browser brings back, so that an answer without a name is refused too.
	IssuerInAnswers bool

	// Client tells the server which program asks, and proves it. Nil sends no
	// client_id: few servers allow that.
	Client ClientAuth

	// Scope is asked for with each first token. A renewal keeps what was
	// granted. Empty: what the server grants by default.
	Scope []string

	// Params are further parameters for each first token, such as "audience" or
	// "resource" (RFC 8707).
	Params url.Values

	// Grant is how Mint gets a token with nobody present. If it is set, a session
	// that has no refresh token is renewed by it as well.
	Grant Grant

	// APIs are where the access tokens may be sent: scheme://host[:port]. There
	// is no default, because that is rarely the server which issues them. Needed
	// unless the Config of the client has Origins.
	APIs []string

	// Dialect is what the server does in its own way. Zero: as RFC 6749 says.
	Dialect Dialect

	// DPoP asks for tokens that are bound to a key (RFC 9449), so that whoever
	// steals one cannot use it. Sign-in makes the key; it is kept with the session,
	// as "dpop_key" in Token.Extra, and a session that has one is renewed with it
	// whatever this field says. A server that answers with a bearer token is taken
	// at its word.
	DPoP bool

	// Transport has the proxy, the certificates and the dialer to use; it is
	// copied. Nil means as http.DefaultTransport, but with a dialer of its own: a
	// program that has given that one a DialContext sets it here as well.
	Transport *http.Transport

	// Clock is for tests: the one of the Config. Nil means the machine's.
	Clock evertoken.Clock

	once   sync.Once
	http   *exchange.Client
	clock  evertoken.Clock
	fault  error
	keys   dpop.Keyring
	nonces dpop.Nonces
}

var _ evertoken.Issuer = (*Issuer)(nil)

// Validate tells all that is wrong with the fields. It need not be called: the
// other methods fail with the same error.
func (i *Issuer) Validate() error {
	i.once.Do(i.prepare)
	return i.fault
}

// ready is Validate for a method that makes an exchange.
func (i *Issuer) ready() error {
	if err := i.Validate(); err != nil {
		return &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: err}
	}
	return nil
}

// prepare checks the fields of an Issuer that was made as a literal.
func (i *Issuer) prepare() {
	i.http, i.clock = exchange.New(i.Transport), i.Clock
	if i.clock == nil {
		i.clock = clock.New()
	}
	var faults []string
	if i.TokenURL == "" {
		faults = append(faults, "TokenURL is missing")
	}
	for _, f := range []struct{ name, url string }{
		{"TokenURL", i.TokenURL}, {"RevocationURL", i.RevocationURL}, {"DeviceURL", i.DeviceURL}, {"AuthURL", i.AuthURL},
	} {
		if err := checkURL(f.url); f.url != "" && err != nil {
			faults = append(faults, fmt.Sprintf("%s %v", f.name, err))
		}
	}
	if c, ok := i.Client.(mutualTLS); ok && !c.hasCertificate(i.Transport) {
		faults = append(faults, "Transport has no client certificate, which MutualTLS needs")
	}
	if i.IssuerInAnswers && i.IssuerURL == "" {
		faults = append(faults, "IssuerURL is missing, which IssuerInAnswers needs")
	}
	for n, s := range i.APIs {
		if _, err := origin.Parse(s); err != nil {
			faults = append(faults, fmt.Sprintf("APIs[%d] %v", n, err))
		}
	}
	for n, s := range i.Scope {
		if s == "" || strings.ContainsAny(s, " \t\r\n") {
			faults = append(faults, fmt.Sprintf("Scope[%d] is empty or holds a space", n))
		}
	}
	if len(faults) > 0 {
		i.fault = errors.New("oauth: " + strings.Join(faults, "; "))
	}
}

// misconfigured is a fault of whoever uses the package.
func misconfigured(words string) error {
	return &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: errors.New(words)}
}

// checkURL says what is wrong with an endpoint. It does not quote it: a query
// may hold a key.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return errors.New("is not scheme://host[:port]/path")
	case !origin.Secure(u):
		return fmt.Errorf("at %s://%s: only https, or http on loopback", u.Scheme, u.Host)
	}
	return nil
}

// Origins returns APIs. It is nil if Validate finds a fault.
func (i *Issuer) Origins() []string {
	if i.Validate() != nil {
		return nil
	}
	return slices.Clone(i.APIs)
}

// ReuseGrace returns the dialect's.
func (i *Issuer) ReuseGrace() time.Duration { return i.Dialect.ReuseGrace }

// Refresh implements [evertoken.Issuer]. Without a refresh token it uses Grant;
// without that either, the session is over.
func (i *Issuer) Refresh(ctx context.Context, t evertoken.Token) (evertoken.Token, error) {
	fresh, err := i.renew(ctx, t)
	fresh.Extra = merged(t.Extra, fresh.Extra)
	return fresh, err
}

func (i *Issuer) renew(ctx context.Context, t evertoken.Token) (evertoken.Token, error) {
	switch {
	case i.Dialect.RenewByBearer && t.AccessToken != "":
		return i.tokenRequest(ctx, request{session: t, bearer: true})
	case i.Dialect.RenewByBearer:
	case t.RefreshToken != "":
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {t.RefreshToken}}
		return i.tokenRequest(ctx, request{form: form, session: t})
	case i.Grant != nil:
		return i.Mint(ctx)
	}
	err := errors.New("oauth: there is nothing to renew the session with: no refresh token, and no Grant")
	return evertoken.Token{}, &evertoken.RefreshError{Outcome: evertoken.Rejected, Err: err}
}

// merged keeps what an answer did not mention. Extra maps are never modified.
func merged(old, fresh map[string]string) map[string]string {
	if len(fresh) == 0 {
		return old
	}
	all := maps.Clone(old)
	if all == nil {
		return fresh
	}
	maps.Copy(all, fresh)
	return all
}

// Revoke ends t's session at the server (RFC 7009): by its refresh token, whose
// end is that of the access token too (section 2.1), or by the access token if
// that is all there is. Without a RevocationURL it does nothing.
func (i *Issuer) Revoke(ctx context.Context, t evertoken.Token) error {
	if err := i.ready(); err != nil || i.RevocationURL == "" {
		return err
	}
	q := request{endpoint: i.RevocationURL, session: t}
	switch {
	case i.Dialect.RevokeByBearer:
		q.bearer = true
	case t.RefreshToken != "":
		q.form = url.Values{"token": {t.RefreshToken}, "token_type_hint": {"refresh_token"}}
	default:
		q.form = url.Values{"token": {t.AccessToken}, "token_type_hint": {"access_token"}}
	}
	a, err := i.send(ctx, &q)
	if err != nil {
		return err
	}
	if succeeded(a) && !exchange.HTML(a) {
		return nil
	}
	doc, _ := parse(a)
	return i.refusal(a, doc, q)
}
