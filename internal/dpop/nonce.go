package dpop

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
)

const (
	maxOrigins = 256
	maxNonce   = 1 << 10 // bytes; it travels back in a header with each request
)

// Nonces are the newest that each server has given. The zero value has none. It
// is safe for concurrent use: of answers that come at once any may be the last,
// and a nonce that is outdated thereby costs one more round trip.
type Nonces struct {
	mu     sync.Mutex
	newest map[string]string // by origin
}

// For returns the nonce for a request to u; empty for none.
func (n *Nonces) For(u *url.URL) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newest[origin(u)]
}

// Note keeps the nonce in an answer from u, of whatever status, and returns it;
// empty for none.
func (n *Nonces) Note(u *url.URL, h http.Header) string {
	values := h["Dpop-Nonce"]
	if len(values) != 1 || !wellFormed(values[0]) { // RFC 9449, section 8: there must not be more than one
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.newest == nil {
		n.newest = make(map[string]string)
	}
	key := origin(u)
	if _, known := n.newest[key]; !known && len(n.newest) >= maxOrigins {
		n.forgetOne()
	}
	n.newest[key] = values[0]
	return values[0]
}

// forgetOne drops any: its server will say again what it wants.
func (n *Nonces) forgetOne() {
	for key := range n.newest {
		delete(n.newest, key)
		return
	}
}

// wellFormed is 1*NQCHAR (RFC 6749, appendix A), and not too long.
func wellFormed(nonce string) bool {
	for i := range len(nonce) {
		if c := nonce[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return nonce != "" && len(nonce) <= maxNonce
}

func origin(u *url.URL) string { return strings.ToLower(u.Scheme + "://" + u.Host) }
