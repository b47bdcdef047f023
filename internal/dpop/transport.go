package dpop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/roundtrip"
)

const scheme = "DPoP" // of an Authorization header (RFC 9449, section 7.1)

// UseNonce is the error code with which a server asks for its nonce in the proof
// (RFC 9449, sections 8 and 9). It has not looked at the grant, or done what was
// requested.
const UseNonce = "use_dpop_nonce"

// A Transport adds a proof to each request that carries an access token of the
// scheme DPoP, and sends it once more if the server wants its nonce in it and
// the body can be read again. Requests of other schemes, with a proof of their
// own, or with a token whose key it does not know pass as they are.
//
// It is to stand below [evertoken.Transport], which decides where tokens go and
// which sends a refused request again, through here: with another proof. The
// fields must not be changed once it is used; it is safe for concurrent use.
type Transport struct {
	Base   http.RoundTripper
	Source evertoken.TokenSource // of the session
	Keys   *Keyring
	Nonces *Nonces
	Now    func() time.Time
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	access := accessToken(req)
	if access == "" {
		return t.Base.RoundTrip(req)
	}
	key, err := t.key(req.Context(), access)
	if err != nil {
		roundtrip.CloseBody(req)
		return nil, err
	}
	if key == nil {
		return t.Base.RoundTrip(req)
	}
	nonce := t.Nonces.For(req.URL)
	first, err := t.proven(req, key, access, nonce)
	if err != nil {
		roundtrip.CloseBody(req)
		return nil, err
	}
	resp, err := t.Base.RoundTrip(first)
	if err != nil {
		return nil, err
	}
	wanted := t.Nonces.Note(req.URL, resp.Header)
	if wanted == "" || wanted == nonce || !asksForNonce(resp) {
		return resp, nil
	}
	return t.again(req, resp, key, access, wanted)
}

// again sends a request once more with the nonce that its server wants, if its
// body can be read again; else the refusal is the answer.
func (t *Transport) again(req *http.Request, refused *http.Response, key *Key, access, nonce string) (*http.Response, error) {
	if !roundtrip.Rewindable(req) {
		return refused, nil
	}
	r, err := t.proven(req, key, access, nonce)
	if err != nil {
		return refused, nil //nolint:nilerr // the refusal is an answer, and nothing is lost
	}
	if err := roundtrip.Again(r, req, refused); err != nil {
		return refused, nil //nolint:nilerr // a body that cannot be read again makes the refusal the answer
	}
	resp, err := t.Base.RoundTrip(r)
	if err == nil {
		t.Nonces.Note(req.URL, resp.Header)
	}
	return resp, err
}

// key returns the key of an access token, or nil for a token that is not the
// session's. That may also be one which another process has replaced a moment
// ago and which this one has never used before: its server refuses it without a
// proof, and evertoken.Transport sends the request again with the next.
func (t *Transport) key(ctx context.Context, access string) (*Key, error) {
	if k := t.Keys.Get(access); k != nil {
		return k, nil
	}
	session, err := t.Source.Token(ctx)
	if err != nil || session.AccessToken != access {
		return nil, nil //nolint:nilerr // without a session it is not the session's
	}
	k, err := KeyOf(session)
	if err == nil && k == nil {
		err = errors.New("dpop: the token of the session is of type DPoP, and the session holds no key: sign in anew")
	}
	if err != nil {
		return nil, fmt.Errorf("evertoken: %w", err)
	}
	t.Keys.Put(access, k)
	return k, nil
}

// proven returns a copy of req with a proof.
func (t *Transport) proven(req *http.Request, key *Key, access, nonce string) (*http.Request, error) {
	proof, err := key.Sign(Proof{Method: req.Method, URI: Target(req), Access: access, Nonce: nonce, At: t.Now()})
	if err != nil {
		return nil, fmt.Errorf("evertoken: %w", err)
	}
	return roundtrip.With(req, "Dpop", []string{proof}), nil
}

// accessToken returns the token of a request that has no proof yet; empty if
// there is nothing to prove.
func accessToken(req *http.Request) string {
	values := req.Header["Authorization"]
	if req.Header["Dpop"] != nil || len(values) != 1 {
		return ""
	}
	kind, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(kind, scheme) {
		return ""
	}
	return strings.TrimLeft(token, " ")
}

func asksForNonce(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	for _, c := range parseChallenges(resp.Header["Www-Authenticate"]) {
		if strings.EqualFold(c.scheme, scheme) && c.params["error"] == UseNonce {
			return true
		}
	}
	return false
}

// CloseIdleConnections closes those of Base, for http.Client.CloseIdleConnections.
func (t *Transport) CloseIdleConnections() { roundtrip.CloseIdle(t.Base) }
