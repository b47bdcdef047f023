package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	apiOrigin  = "https://api.example.com"
	apiAddress = apiOrigin + "/v1/items"
	appAccess  = "/app/installations/1/access_tokens" // where a GitHub App gets its tokens
)

// A farEnd is the issuer and the API of one client. The API is a RoundTripper, so
// that nothing but the client is measured; the issuer is a server. An access
// token is the instant at which it ends, so that the API needs no lock to tell.
type farEnd struct {
	life  time.Duration // of access tokens, from the moment of the answer
	delay time.Duration // of each answer of the issuer
	fault fault

	http      *http.Server
	served    chan struct{} // closed when the server has ended
	transport *http.Transport

	mu      sync.Mutex
	asked   int       // exchanges that reached the issuer
	minted  int       // of those, answered with a token
	last    time.Time // when that was, the last time
	used    sync.Map  // access tokens that the API has seen
	expires atomic.Int64
}

// A fault is what is wrong with an issuer.
type fault struct {
	refuses func(asked int) bool // with 503, by the number of the exchange, from one
	down    func(minted int, since time.Duration) bool
}

// newFarEnd returns one whose issuer answers at once, on l, which dial reaches.
func newFarEnd(life time.Duration, l net.Listener, dial func(context.Context, string, string) (net.Conn, error)) *farEnd {
	f := &farEnd{life: life, served: make(chan struct{})}
	f.http = &http.Server{Handler: http.HandlerFunc(f.issue), ReadHeaderTimeout: time.Minute}
	f.transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		if f.isDown() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		return dial(ctx, l.Addr().Network(), l.Addr().String())
	}}
	go func() {
		defer close(f.served)
		_ = f.http.Serve(l) // ends with close
	}()
	return f
}

// listen returns a farEnd on a port of loopback.
func listen(life time.Duration) (*farEnd, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return newFarEnd(life, l, new(net.Dialer).DialContext), nil
}

func (f *farEnd) close() {
	_ = f.http.Close()
	<-f.served
}

// url is a path at the issuer, for those who dial with transport.
func (f *farEnd) url(path string) string { return "http://localhost" + path }

func (f *farEnd) isDown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault.down != nil && f.fault.down(f.minted, time.Since(f.last))
}

// issue is the token endpoint of OAuth 2.0, and that of GitHub.
func (f *farEnd) issue(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked++
	refused := f.fault.refuses != nil && f.fault.refuses(f.asked)
	f.mu.Unlock()
	pause := time.NewTimer(f.delay)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-r.Context().Done():
		return
	}
	if refused {
		http.Error(w, "unavailable", http.StatusServiceUnavailable)
		return
	}
	token, expiry := f.mint()
	answer := map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(f.life / time.Second)}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == appAccess {
		w.WriteHeader(http.StatusCreated)
		answer = map[string]any{"token": token, "expires_at": expiry.Add(time.Minute - late(f.life))}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *farEnd) mint() (token string, expiry time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.minted++
	f.last = time.Now()
	expiry = f.last.Add(f.life)
	f.expires.Store(expiry.UnixNano())
	return strconv.FormatInt(expiry.UnixNano(), 10), expiry
}

// left is how long the newest token can still be used at an instant.
func (f *farEnd) left(at time.Time) time.Duration {
	return time.Duration(f.expires.Load() - at.UnixNano())
}

// RoundTrip is the API: it knows a token that has ended.
func (f *farEnd) RoundTrip(r *http.Request) (*http.Response, error) {
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	expiry, err := strconv.ParseInt(token, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the API was sent no token: %w", err)
	}
	if _, seen := f.used.Load(expiry); !seen {
		f.used.Store(expiry, true)
	}
	status := http.StatusOK
	if time.Now().UnixNano() >= expiry {
		status = http.StatusUnauthorized
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// counts are how many exchanges reached the issuer, how many of them it answered
// with a token, and how many of those the API has seen.
func (f *farEnd) counts() (asked, minted, used int) {
	f.used.Range(func(any, any) bool { used++; return true })
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked, f.minted, used
}
