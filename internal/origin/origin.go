// Package origin says where secrets may be sent.
package origin

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// An Origin is where tokens may go (RFC 6454), in canonical form: lower case,
// with its port. Compare with Matches; the zero value matches nothing.
type Origin struct {
	scheme, host, port string
	authority          string // as most URLs write host and port
}

// Parse reads scheme://host[:port]. The error goes on where the caller's words
// about the field end: "is not a URL".
func Parse(s string) (Origin, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Origin{}, errors.New("is not a URL")
	}
	switch {
	case u.User != nil:
		return Origin{}, errors.New("holds a user name: an origin is scheme://host[:port]")
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return Origin{}, fmt.Errorf("%q is not scheme://host[:port]", s)
	}
	o := Origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: portOf(u)}
	o.authority = strings.TrimSuffix(strings.ToLower(u.Host), ":"+defaultPort(u))
	switch {
	case o.scheme != "https" && o.scheme != "http":
		return Origin{}, fmt.Errorf("%q has neither scheme https nor http", s)
	case !Secure(u):
		return Origin{}, fmt.Errorf("%q would send tokens in the clear: use https, or http on loopback", s)
	}
	return o, nil
}

// Matches says whether u is at the origin. It allocates nothing.
func (o *Origin) Matches(u *url.URL) bool {
	if u.Host == o.authority && u.Scheme == o.scheme && u.Host != "" {
		return true
	}
	return equalFold(u.Scheme, o.scheme) && equalFold(u.Hostname(), o.host) && portOf(u) == o.port
}

// Secure says whether secrets may be sent to u: over https, or to this machine.
func Secure(u *url.URL) bool {
	if equalFold(u.Scheme, "https") {
		return true
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return equalFold(u.Scheme, "http") && (equalFold(host, "localhost") || ip != nil && ip.IsLoopback())
}

// equalFold compares ASCII without regard to case. Other letters that Unicode
// folds into ASCII are not the same host.
func equalFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return defaultPort(u)
}

func defaultPort(u *url.URL) string {
	if equalFold(u.Scheme, "https") {
		return "443"
	}
	return "80"
}
