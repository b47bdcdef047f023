package xoauth2

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

// verdict says what a failed attempt means. It is read from what w saw, and not
// from x/oauth2's error, whose text quotes the answer's body.
func (w *wire) verdict(secrets ...string) *evertoken.RefreshError {
	var failed *evertoken.RefreshError
	if errors.As(w.failed, &failed) {
		return failed
	}
	if w.answer == nil { // x/oauth2 could not make a request of its configuration
		return &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: errors.New("xoauth2: Config.Endpoint.TokenURL is not a URL")}
	}
	e := exchange.Unexplained(w.answer)
	said := read(w.answer)
	for _, s := range secrets { // servers have been seen to repeat what they were sent
		if s != "" {
			said.Description = strings.ReplaceAll(said.Description, s, "...")
		}
	}
	explain(e, said)
	if said.Code == "" && w.answer.StatusCode/100 == 2 {
		e.Err = fmt.Errorf("xoauth2: the answer (%s) is not a token answer with an access_token", mediaType(w.answer.Header))
	}
	return e
}

// An oauthError is an error answer of RFC 6749, section 5.2; zero if it is none.
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// read finds the OAuth error in an answer of one of the two forms that x/oauth2
// reads.
func read(a *exchange.Answer) (said oauthError) {
	switch mediaType(a.Header) {
	case "application/x-www-form-urlencoded", "text/plain":
		if values, err := url.ParseQuery(string(a.Body)); err == nil {
			said = oauthError{values.Get("error"), values.Get("error_description")}
		}
	default:
		if json.Unmarshal(a.Body, &said) != nil {
			return oauthError{}
		}
	}
	return said
}

// explain adds an OAuth error to what the status says.
func explain(e *evertoken.RefreshError, said oauthError) {
	if o := exchange.OAuthOutcome(said.Code); o != evertoken.Ambiguous {
		e.Outcome = o
	}
	e.Code, e.Description = exchange.Clean(said.Code), exchange.Clean(said.Description)
}

func mediaType(h http.Header) string {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return "no content type"
	}
	return kind
}

// unminted says why a source gave no token. Minting spends nothing, so what is
// not a verdict is tried again with backoff: [evertoken.Unavailable].
func unminted(err error) *evertoken.RefreshError {
	var failed *evertoken.RefreshError
	if errors.As(err, &failed) {
		return failed
	}
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) {
		return &evertoken.RefreshError{Outcome: evertoken.Unavailable, Err: fmt.Errorf("xoauth2: source: %w", speakable(err))}
	}
	a := &exchange.Answer{Header: http.Header{}}
	if said.Response != nil {
		a.StatusCode, a.Header = said.Response.StatusCode, said.Response.Header
	}
	e := exchange.Unexplained(a)
	explain(e, oauthError{said.ErrorCode, said.ErrorDescription})
	if e.Outcome == evertoken.Ambiguous {
		e.Outcome = evertoken.Unavailable
	}
	return e
}

// speakable returns the part of an error of a source that may be shown. Sources
// are known to put whole answers into theirs, so only the errors of the network
// and of contexts keep their text; of others the type remains.
func speakable(err error) error {
	var dial *net.OpError
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &name):
		return name
	case errors.As(err, &dial):
		return dial
	case errors.As(err, &certificate):
		return certificate
	}
	return fmt.Errorf("an error of type %T, which may quote an answer", err)
}
