package evertest

import (
	"context"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Outage takes the server off the network for d, by its own clock: connections are
// refused, at a port of [Server.Listen] closed, and no request is answered, neither by
// the issuer nor by the API. It takes the place of the outage before; zero ends that.
func (s *Server) Outage(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.back = s.now().Add(d)
}

func (s *Server) isOut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Before(s.back)
}

// dial connects to the server, if that is on the network.
func (s *Server) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if s.isOut() {
		return nil, &net.OpError{Op: "dial", Net: "pipe", Err: syscall.ECONNREFUSED}
	}
	return s.pipes.dial(ctx, network, address)
}

// reachable closes connections of before an outage, and those that no dial of ours
// has made.
func (s *Server) reachable(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.isOut() {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}
