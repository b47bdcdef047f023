package oauth

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/dpop"
	"github.com/evertoken/evertoken/internal/exchange"
)

// A request is one question to the server, whatever number of attempts it takes
// to get it there.
type request struct {
	endpoint string          // empty: the token endpoint
	form     url.Values      // the parameters, without what proves who sends them
	session  evertoken.Token // what it is about; zero for a first token
	bearer   bool            // session's access token is the proof, and the client needs none
	key      *dpop.Key       // what the token is to be bound to; nil: to nothing
	proof    []string        // the secrets of the client that the last attempt carried
}

// tokenRequest asks for a token. The lifetime counts from before the request.
func (i *Issuer) tokenRequest(ctx context.Context, q request) (evertoken.Token, error) {
	if err := i.ready(); err != nil {
		return evertoken.Token{}, err
	}
	if err := i.bind(&q); err != nil {
		return evertoken.Token{}, err
	}
	sent := i.clock.Now()
	a, err := i.send(ctx, &q)
	if err != nil {
		return evertoken.Token{}, err
	}
	t, err := i.token(a, q, sent)
	if err != nil {
		return t, err
	}
	return i.bound(t, q)
}

// send brings a request to the server and the answer back. The fields have been
// validated.
func (i *Issuer) send(ctx context.Context, q *request) (*exchange.Answer, error) {
	if q.endpoint == "" {
		q.endpoint = i.TokenURL
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, q.endpoint, nil)
	if err != nil {
		return nil, misconfigured("oauth: the endpoint is not a URL")
	}
	r.Header.Set("Accept", "application/json")
	attempt := func() (*exchange.Answer, error) {
		return i.http.Send(r, func(r *http.Request) error { return i.finish(r, q) })
	}
	if q.key == nil {
		return attempt()
	}
	return i.withNonce(r, attempt)
}

// finish makes one attempt's request ready for the wire. This is the one place
// for whatever must be made anew for each attempt: assertions and signatures
// carry an instant and an identity of their own, and servers refuse to see them
// twice.
func (i *Issuer) finish(r *http.Request, q *request) error {
	form := url.Values{}
	maps.Copy(form, q.form)
	switch {
	case q.bearer && dpop.Bound(q.session):
		return misconfigured("oauth: the session's token is of type DPoP, and this request would send it as a bearer's")
	case q.bearer:
		r.Header.Set("Authorization", "Bearer "+q.session.AccessToken)
	case i.Client != nil:
		before := r.Header.Clone()
		if err := i.Client.Authenticate(r, form); err != nil {
			return err
		}
		q.proof = proofOf(r, before, form)
	}
	if err := i.Dialect.encode(r, form); err != nil || q.key == nil {
		return err
	}
	return i.prove(r, q.key)
}

// proofOf are the secrets with which a client has just proved itself: whatever it
// put into a header, and the parameters that are made for it.
func proofOf(r *http.Request, before http.Header, form url.Values) []string {
	list := slices.Concat(form["client_secret"], form["client_assertion"])
	for name, values := range r.Header {
		if !slices.Equal(values, before[name]) {
			list = append(list, values...)
		}
	}
	_, bare, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	_, encoded, _ := r.BasicAuth()
	plain, _ := url.QueryUnescape(encoded)
	return append(list, bare, encoded, plain)
}

// secrets are what a server's words must not repeat.
func (q request) secrets() []string {
	list := slices.Clone(q.proof)
	for _, name := range []string{
		"refresh_token", "token", "code", "code_verifier", "device_code", "assertion", "subject_token", "actor_token", "password",
	} {
		list = append(list, q.form[name]...)
	}
	list = append(list, q.session.AccessToken, q.session.RefreshToken)
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// clean makes a server's words fit for an error. They may quote the body as it was
// sent.
func (q request) clean(words string) string {
	for _, s := range q.secrets() {
		words = strings.NewReplacer(s, "[secret]", url.QueryEscape(s), "[secret]").Replace(words)
	}
	return exchange.Clean(words)
}
