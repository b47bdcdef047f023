package main

import (
	"errors"
	"maps"
	"net/http"
	"time"
)

// A floor does by hand only what no client can leave out: it looks whether the
// request goes to the right origin and the token has not expired, and sends a
// shallow copy with its own header map and one header more.
type floor struct {
	scheme, host  string
	authorization []string
	expiry        time.Time
	base          http.RoundTripper
}

var errFloor = errors.New("floor: another origin, or an expired token")

// RoundTrip implements http.RoundTripper.
func (f *floor) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != f.scheme || req.URL.Host != f.host || !time.Now().Before(f.expiry) {
		return nil, errFloor
	}
	r := *req
	r.Header = maps.Clone(req.Header)
	r.Header["Authorization"] = f.authorization
	return f.base.RoundTrip(&r)
}
