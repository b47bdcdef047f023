// Package exchange makes one request to an issuer: send, classify, cap. The
// issuers share it, so that all of them know alike whether a refresh token can
// have been spent.
package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/origin"
)

// The most that is read of an answer; token answers are far smaller.
const maxBody, maxHeader = 1 << 20, 64 << 10

// An Answer is what came back, whole or in part.
type Answer struct {
	StatusCode int
	Header     http.Header
	Body       []byte
}

// A Client sends requests to one issuer. It is safe for concurrent use, follows
// no redirect and keeps neither cookies nor connections.
type Client struct {
	http *retryablehttp.Client
}

// New returns a client that dials as base does. Nil means with the settings of
// http.DefaultTransport, but not with its dialer, which cannot be told from the
// standard one. base itself is not used or changed.
//
// Connections are not kept, and HTTP/2 is not spoken: on a connection that turns
// out to be dead net/http silently sends a GET, or a POST with an
// Idempotency-Key, once more, and over HTTP/2 it repeats whatever the server
// refuses, as often as it does so. Without a dialer of its own, base gets one
// whose keep-alive tells a dead path from a slow server within seconds.
func New(base *http.Transport) *Client {
	if base == nil {
		if t, ok := http.DefaultTransport.(*http.Transport); ok {
			base = t.Clone()
			base.DialContext = nil
		} else {
			base = &http.Transport{Proxy: http.ProxyFromEnvironment}
		}
	}
	t := base.Clone()
	t.DisableKeepAlives = true
	t.ForceAttemptHTTP2, t.HTTP2 = false, nil
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.NextProtos = nil // a transport that was used offers HTTP/2 here
	}
	if t.MaxResponseHeaderBytes == 0 {
		t.MaxResponseHeaderBytes = maxHeader
	}
	if t.DialContext == nil && t.Dial == nil { //nolint:staticcheck // base may still use it
		dialer := &net.Dialer{
			Timeout:         30 * time.Second,
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3},
		}
		t.DialContext = dialer.DialContext
	}
	return &Client{&retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     tracer{t},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax:     2,
		RetryWaitMin: 100 * time.Millisecond,
		RetryWaitMax: time.Second,
		CheckRetry:   onlyNotSent,
		Backoff:      retryablehttp.DefaultBackoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}}
}

// onlyNotSent repeats what provably has not reached the issuer, and nothing else.
func onlyNotSent(ctx context.Context, _ *http.Response, err error) (bool, error) {
	var failed *evertoken.RefreshError
	return ctx.Err() == nil && errors.As(err, &failed) && failed.Outcome == evertoken.NotSent, nil
}

// A Finisher completes one attempt's request: adds what must be made anew each
// time it goes out, such as a signature with a timestamp. The request is the
// attempt's own copy and may have no body yet.
type Finisher func(*http.Request) error

type finisherKey struct{}

// Send is Do for a request that finish completes for each attempt on the wire. An
// error of finish is proof that the attempt was not sent.
func (c *Client) Send(req *http.Request, finish Finisher) (*Answer, error) {
	return c.Do(req.WithContext(context.WithValue(req.Context(), finisherKey{}, finish)))
}

// Do sends one request and reads the answer. The error, if any, is an
// [*evertoken.RefreshError] of an exchange that did not come to its end; the
// answer beside it holds what had arrived by then, and is nil if nothing had.
// What a complete answer means is for the issuer to say: see [Unexplained].
func (c *Client) Do(req *http.Request) (*Answer, error) {
	if !origin.Secure(req.URL) {
		return nil, &evertoken.RefreshError{
			Outcome: evertoken.Misconfigured,
			Err:     fmt.Errorf("issuer at %s://%s: only https, or http on loopback", req.URL.Scheme, req.URL.Host),
		}
	}
	r, err := retryablehttp.FromRequest(req)
	if err != nil {
		return nil, &evertoken.RefreshError{Outcome: evertoken.NotSent, Err: bare(err)}
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, typed(req.Context(), err)
	}
	defer resp.Body.Close()
	a := &Answer{StatusCode: resp.StatusCode, Header: resp.Header}
	a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return a, &evertoken.RefreshError{StatusCode: a.StatusCode, Err: fmt.Errorf("answer was cut off: %w", ended(req.Context(), unquoted(err)))}
	case len(a.Body) > maxBody:
		a.Body = a.Body[:maxBody]
		return a, &evertoken.RefreshError{StatusCode: a.StatusCode, Err: fmt.Errorf("answer is longer than %d bytes", maxBody)}
	}
	return a, nil
}

// typed finds the tracer's verdict in what the layers above made of it.
func typed(ctx context.Context, err error) error {
	var failed *evertoken.RefreshError
	if errors.As(err, &failed) {
		return failed
	}
	return &evertoken.RefreshError{Err: ended(ctx, bare(err))}
}

// bare drops the URL that net/http puts into its errors: its query may hold
// secrets.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// errMalformed stands for net/http's complaint about an answer: that quotes the
// line it could not read, which may be the one that sets a cookie.
var errMalformed = errors.New("answer is no well-formed HTTP")

// unquoted keeps an error of a connection and drops one of an answer.
func unquoted(err error) error {
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, context.Canceled) {
		return err
	}
	return errMalformed
}

// ended tells why the context ended, if that is what broke the exchange: the
// caller's deadline may be on a clock of its own.
func ended(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// A tracer stands below everything that could repeat a request, and tells from
// the trace of a single attempt whether it can have reached the issuer.
type tracer struct {
	base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t tracer) RoundTrip(req *http.Request) (*http.Response, error) {
	req, err := finished(req)
	if err != nil {
		return nil, err
	}
	var began, wrote atomic.Bool
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn:      func(string) { began.Store(true) },
		WroteHeaders: func() { wrote.Store(true) },
		WroteRequest: func(httptrace.WroteRequestInfo) { wrote.Store(true) },
	})
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err == nil {
		return resp, nil
	}
	if began.Load() && !wrote.Load() {
		return nil, &evertoken.RefreshError{Outcome: evertoken.NotSent, Err: ended(req.Context(), bare(err))}
	}
	return nil, &evertoken.RefreshError{Err: ended(req.Context(), unquoted(bare(err)))}
}

// finished returns the request of this attempt. The one that came stays as it
// is, for the next attempt.
func finished(req *http.Request) (*http.Request, error) {
	finish, ok := req.Context().Value(finisherKey{}).(Finisher)
	if !ok {
		return req, nil
	}
	attempt := req.Clone(req.Context())
	if err := finish(attempt); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		var failed *evertoken.RefreshError
		if errors.As(err, &failed) {
			return nil, err
		}
		return nil, &evertoken.RefreshError{Outcome: evertoken.NotSent, Err: err}
	}
	return attempt, nil
}
