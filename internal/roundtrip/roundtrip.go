// Package roundtrip has what an http.RoundTripper on top of another owes to the
// contract of that interface: the caller's request stays as it is, and its body
// is closed on every path.
package roundtrip

import (
	"io"
	"maps"
	"net/http"
)

// With returns a shallow copy of req with one header set. The caller's request and
// its header map stay as they are. The two share the values of the other headers,
// which a RoundTripper may replace but must not change.
func With(req *http.Request, name string, values []string) *http.Request {
	r := *req
	r.Header = maps.Clone(req.Header)
	if r.Header == nil {
		r.Header = make(http.Header, 1)
	}
	r.Header[name] = values[:len(values):len(values)]
	return &r
}

// Rewindable says whether req can be sent twice.
func Rewindable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// Again gives r, a copy of the rewindable request req, a body of its own for
// another sending. The answer to the first one is done with then; if the error
// is not nil, it is not.
func Again(r, req *http.Request, answer *http.Response) error {
	if req.GetBody != nil && req.Body != nil && req.Body != http.NoBody {
		body, err := req.GetBody()
		if err != nil {
			return err
		}
		r.Body = body
	}
	const drained = 64 << 10 // more than this costs more than a new connection
	_, _ = io.CopyN(io.Discard, answer.Body, drained)
	_ = answer.Body.Close()
	return nil
}

// CloseBody closes the body of a request that is not sent.
func CloseBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// CloseIdle closes the idle connections of base, if it has any.
func CloseIdle(base http.RoundTripper) {
	if c, ok := base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
