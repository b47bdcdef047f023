package identity

import (
	"io"
	"net"
	"net/http"
	"time"
)

// A window counts sign-in requests by remote address within one minute, after
// which it starts empty: what it holds is bounded by what one minute can bring.
// Server.mu guards it.
type window struct {
	began time.Time
	seen  map[string]int
}

// admit counts one request of addr and reports whether it is within limit.
func (w *window) admit(addr string, limit int, now time.Time) bool {
	if w.seen == nil || now.Sub(w.began) >= time.Minute {
		w.began, w.seen = now, make(map[string]int)
	}
	w.seen[addr]++
	return w.seen[addr] <= limit
}

// limited puts next under the limit of sign-in requests.
func (s *Server) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.admit(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// admit reports whether a sign-in request is within the limit; if not, it has
// answered. As at LightNap the answer is text and has no Retry-After.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) bool {
	if s.cfg.LoginLimit == 0 {
		return true
	}
	s.mu.Lock()
	ok := s.window.admit(remote(r), s.cfg.LoginLimit, s.cfg.Now())
	s.mu.Unlock()
	if !ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, "Too many requests. Please try again later.") // the client may be gone
	}
	return ok
}

// remote returns the host a request came from. A pipe has an address without a port.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
