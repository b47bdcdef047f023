package oauth

import (
	"net/http"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/dpop"
	"github.com/evertoken/evertoken/internal/exchange"
)

// newKey makes the key of a session that begins; nil if it is to have none.
func (i *Issuer) newKey() (*dpop.Key, error) {
	if !i.DPoP {
		return nil, nil
	}
	k, err := dpop.NewKey()
	if err != nil {
		return nil, &evertoken.RefreshError{Outcome: evertoken.NotSent, Err: err}
	}
	return k, nil
}

// bind gives a request for a token its key: the session's own, for a refresh
// token is bound to it, or a new one. A bound session without its key is not
// tried: the server's refusal would end it, and that would be our fault.
func (i *Issuer) bind(q *request) error {
	if q.key != nil {
		return nil
	}
	k, err := dpop.KeyOf(q.session)
	switch {
	case err != nil:
		return &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: err}
	case k == nil && dpop.Bound(q.session):
		return misconfigured("oauth: the session's token is of type DPoP, and its Extra holds no key")
	case k == nil:
		k, err = i.newKey()
	}
	q.key = k
	i.keys.Put(q.session.AccessToken, k)
	return err
}

// bound keeps the key with a new token. It is kept beside a bearer token too:
// the refresh token may be bound all the same (RFC 9449, section 5).
func (i *Issuer) bound(t evertoken.Token, q request) (evertoken.Token, error) {
	if q.key == nil {
		if dpop.Bound(t) {
			// The refresh token counts all the same: it has replaced the one that was sent.
			return evertoken.Token{RefreshToken: t.RefreshToken}, misconfigured("oauth: the server's token is of type DPoP, and there is no key: set Issuer.DPoP")
		}
		return t, nil
	}
	text, err := q.key.Text()
	if err != nil {
		return evertoken.Token{RefreshToken: t.RefreshToken}, &evertoken.RefreshError{Err: err}
	}
	if t.Extra == nil { // else it was made with t, and nobody else has it yet
		t.Extra = map[string]string{}
	}
	t.Extra[dpop.ExtraKey] = text
	i.keys.Put(t.AccessToken, q.key)
	return t, nil
}

// prove adds a proof to one attempt.
func (i *Issuer) prove(r *http.Request, k *dpop.Key) error {
	proof, err := k.Sign(dpop.Proof{Method: r.Method, URI: dpop.Target(r), Nonce: i.nonces.For(r.URL), At: i.clock.Now()})
	if err != nil {
		return err
	}
	r.Header.Set("DPoP", proof)
	return nil
}

// withNonce makes an attempt, and one more if the server refused it for want of
// its nonce (RFC 9449, section 8). That spends nothing twice: a request without
// a good proof is refused before its grant is looked at.
func (i *Issuer) withNonce(r *http.Request, attempt func() (*exchange.Answer, error)) (*exchange.Answer, error) {
	before := i.nonces.For(r.URL)
	a, err := attempt()
	if a == nil {
		return nil, err
	}
	wanted := i.nonces.Note(r.URL, a.Header)
	if err != nil || wanted == "" || wanted == before || !i.wantsNonce(a) {
		return a, err
	}
	if a, err = attempt(); a != nil {
		i.nonces.Note(r.URL, a.Header)
	}
	return a, err
}

func (i *Issuer) wantsNonce(a *exchange.Answer) bool {
	if a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusUnauthorized {
		return false
	}
	doc, ok := parse(a)
	return ok && i.Dialect.code(doc) == dpop.UseNonce
}

// Wrap adds to each request with a token that is bound to a key the proof that
// the key is here. It is for [evertoken.Transport], which calls it.
func (i *Issuer) Wrap(base http.RoundTripper, s evertoken.TokenSource) http.RoundTripper {
	_ = i.Validate() // whoever sends the first token request is told
	return &dpop.Transport{Base: base, Source: s, Keys: &i.keys, Nonces: &i.nonces, Now: i.clock.Now}
}
