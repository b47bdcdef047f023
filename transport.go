package evertoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/evertoken/evertoken/internal/origin"
	"github.com/evertoken/evertoken/internal/roundtrip"
)

// A TokenSource has the token for a request. A [*Client] is one.
type TokenSource interface {
	// Token returns a token that is valid now, or an error with which the
	// request fails.
	Token(ctx context.Context) (Token, error)
}

// A Transport is an http.RoundTripper that adds an access token to requests for
// its origins. All others, and requests that have an Authorization header of
// their own, pass as they are. So do those of a redirect chain that has once
// left the origins.
//
// A request that is answered 401 is sent once more, if a [*Client] as Source
// has a different token for it by then and its body can be read again
// (Request.GetBody); else the caller gets the 401.
//
// The fields must not be changed once it is used; it is safe for concurrent use.
type Transport struct {
	// Source has the tokens. Required.
	Source TokenSource

	// Origins are where tokens may be sent: scheme://host[:port], https or
	// loopback http. Required.
	Origins []string

	// Base sends the requests. Nil means http.DefaultTransport.
	Base http.RoundTripper

	wrapper wrapper // nil: a header is all that tokens need

	once    sync.Once
	origins []*origin.Origin
	client  *Client           // Source, if it is one
	wrapped http.RoundTripper // around Base; nil without a wrapper
	fault   error
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.once.Do(t.prepare)
	if t.fault != nil {
		roundtrip.CloseBody(req)
		return nil, t.fault
	}
	resp, err := t.send(req)
	if err == nil && resp != nil && resp.Request == nil {
		resp.Request = req // by which covers knows where a redirect came from
	}
	return resp, err
}

func (t *Transport) send(req *http.Request) (*http.Response, error) {
	if _, own := req.Header["Authorization"]; own {
		return t.base().RoundTrip(req)
	}
	if !t.covers(req) {
		if t.client != nil && req.URL != nil {
			t.client.board.debug("evertoken: not among the origins", slog.String("host", req.URL.Host))
		}
		return t.base().RoundTrip(req)
	}
	if t.client == nil {
		return t.attach(req)
	}
	s, err := t.client.snapshot(req.Context())
	if err != nil {
		roundtrip.CloseBody(req)
		return nil, err
	}
	resp, err := t.under(s).RoundTrip(roundtrip.With(req, "Authorization", s.header[:]))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !roundtrip.Rewindable(req) || forbidden(resp) {
		return resp, err
	}
	return t.replay(req, resp, s)
}

// attach serves a source that only has tokens.
func (t *Transport) attach(req *http.Request) (*http.Response, error) {
	token, err := t.Source.Token(req.Context())
	if err == nil && token.AccessToken == "" {
		err = errors.New("evertoken: Source returned a token without AccessToken")
	}
	if err != nil {
		roundtrip.CloseBody(req)
		return nil, err
	}
	return t.base().RoundTrip(roundtrip.With(req, "Authorization", []string{token.authorization()}))
}

// replay sends a refused request once more with another token, if there is one.
// It owns the refused response only once it is certain to have another.
func (t *Transport) replay(req *http.Request, resp *http.Response, refused *snapshot) (*http.Response, error) {
	s := t.client.replace(req.Context(), refused)
	if s == nil {
		return resp, nil
	}
	again := roundtrip.With(req, "Authorization", s.header[:])
	if err := roundtrip.Again(again, req, resp); err != nil {
		return resp, nil //nolint:nilerr // a body that cannot be rewound makes the 401 the answer
	}
	return t.under(s).RoundTrip(again)
}

// under is what sends a request with the token of s.
func (t *Transport) under(s *snapshot) http.RoundTripper {
	if t.wrapped != nil && !s.bearer() {
		return t.wrapped
	}
	return t.base()
}

// forbidden says that a 401 complains of what a new token would not mend: the
// granted scope (RFC 6750, section 3.1), or the proof of possession (RFC 9449,
// section 7.1).
func forbidden(resp *http.Response) bool {
	for _, challenge := range resp.Header["Www-Authenticate"] {
		if strings.Contains(challenge, "insufficient_scope") || strings.Contains(challenge, "invalid_dpop_proof") {
			return true
		}
	}
	return false
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

// CloseIdleConnections closes those of Base, for http.Client.CloseIdleConnections.
func (t *Transport) CloseIdleConnections() { roundtrip.CloseIdle(t.base()) }

// prepare checks the fields of a Transport that may have been made as a literal.
func (t *Transport) prepare() {
	if t.Source == nil {
		t.fault = errors.New("evertoken: Transport: Source is missing")
		return
	}
	if len(t.Origins) == 0 {
		t.fault = errors.New("evertoken: Transport: Origins is empty")
		return
	}
	for i, s := range t.Origins {
		o, err := origin.Parse(s)
		if err != nil {
			t.fault = fmt.Errorf("evertoken: Transport: Origins[%d] %w", i, err)
			return
		}
		t.origins = append(t.origins, &o)
	}
	t.client, _ = t.Source.(*Client)
	if t.wrapper != nil {
		t.wrapped = t.wrapper.Wrap(t.base(), t.Source)
	}
}

// covers says whether req and all requests whose redirects led to it go to the
// origins. A chain that was outside once may have been told where to come back.
func (t *Transport) covers(req *http.Request) bool {
	for req != nil {
		if req.URL == nil || !t.contains(req.URL) {
			return false
		}
		if req.Response == nil {
			return true
		}
		req = req.Response.Request
	}
	return false // an answer of which nobody knows where it came from
}

func (t *Transport) contains(u *url.URL) bool {
	for _, o := range t.origins {
		if o.Matches(u) {
			return true
		}
	}
	return false
}
