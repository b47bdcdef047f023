package xoauth2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"golang.org/x/oauth2"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

// errRepeated stops x/oauth2 from sending a grant again that may have been
// processed.
var errRepeated = errors.New("xoauth2: the request is not repeated: the refresh token may have been spent")

// A wire carries the requests of one attempt and keeps what came back. x/oauth2
// makes them one after the other, so it needs no lock.
type wire struct {
	client *exchange.Client
	sent   bool
	answer *exchange.Answer // the newest; nil if none arrived whole
	failed error            // of the newest exchange
}

// context has x/oauth2 send its requests through w. All values of ctx stay, and
// with them the trace that guards the exchange.
func (w *wire) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
		Transport:     w,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if w.sent && !w.refusedClient() {
		_ = req.Body.Close() // a strings.Reader: its Close cannot fail
		return nil, errRepeated
	}
	w.sent = true
	w.answer, w.failed = w.client.Do(req)
	if w.failed != nil {
		w.answer = nil
		return nil, w.failed
	}
	a := w.answer
	return &http.Response{
		StatusCode: a.StatusCode,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        a.Header,
		Body:          io.NopCloser(bytes.NewReader(a.Body)),
		ContentLength: int64(len(a.Body)),
		Request:       req,
	}, nil
}

// refusedClient says that the newest answer complains of the client or of its
// request: then the grant was not looked at.
func (w *wire) refusedClient() bool {
	return w.answer != nil && exchange.OAuthOutcome(read(w.answer).Code) == evertoken.Misconfigured
}
