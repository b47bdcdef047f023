package evertest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"time"
)

// A Fault is what happens to one refresh instead of a plain answer. next is the
// issuer; a Fault of one's own may let it answer, or not.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Script says what becomes of the next refreshes, one after the other: requests for
// an access token by cookie, or at the OAuth token endpoint. A nil fault is a plain
// answer. What was asked for earlier comes first.
func (s *Server) Script(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Fail lets f happen to each of the next n refreshes: see [Server.Script].
func (s *Server) Fail(n int, f Fault) { s.Script(slices.Repeat([]Fault{f}, n)...) }

func (s *Server) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.nextFault(); f != nil {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) nextFault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return nil
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return f
}

// Stall says nothing at all until the client hangs up. The issuer sees nothing.
func Stall() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// Busy answers 429 and asks the client to come back after d, in whole seconds. The
// issuer sees nothing.
func Busy(d time.Duration) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.Seconds())))
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

// Status answers with an HTTP status and a page of HTML, as a proxy does. The
// issuer sees nothing.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, "<html><h1>%d %s</h1></html>", code, http.StatusText(code))
	}
}

// Delay lets the issuer answer only after d.
func Delay(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// DropBefore closes the connection before the issuer has seen the request.
func DropBefore() Fault {
	return func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
}

// DropAfter closes the connection once the issuer has processed the request: the
// reply is lost, and with it a rotated refresh token.
func DropAfter() Fault {
	return func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
}

// LoseBody delivers the status and the headers of the issuer's reply, with a
// rotated cookie, and closes the connection in the middle of the body.
func LoseBody() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		body := answer.Body.Bytes()
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(answer.Code)
		_, _ = bytes.NewReader(body[:len(body)/2]).WriteTo(w)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
