package main

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/evertoken/evertoken/internal/identity"
)

const (
	login    = "demo@evertoken.dev"
	password = "Passw0rd!demo"
)

// A server is the matching server, which ends a session whose spent refresh
// token comes back after the grace, and a ledger of what it was sent by whom.
type server struct {
	*identity.Server
	ledger *ledger
	url    string
	http   *http.Server
	done   chan error
}

func startServer(o options) (*server, error) {
	id, err := identity.New(identity.Config{
		AccessLifetime:     o.lifetime,
		Rotate:             true,
		DetectReuse:        true,
		ReuseGrace:         o.grace,
		PasswordIterations: 1, // the password is in this file
		Accounts:           []identity.Account{{Email: login, Password: password, Roles: []string{"User"}}},
	})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{Server: id, ledger: newLedger(o.grace), url: "http://" + l.Addr().String(), done: make(chan error, 1)}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

func (s *server) close() error {
	_ = s.http.Close()
	if err := <-s.done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// urlOf is where a worker finds the server: the path says who asks.
func (s *server) urlOf(worker int) string { return s.url + "/worker/" + strconv.Itoa(worker) }

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/worker/")
	if !ok {
		s.Server.ServeHTTP(w, r)
		return
	}
	name, path, _ := strings.Cut(rest, "/")
	worker, err := strconv.Atoi(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	r.URL.Path = "/" + path
	cookie, err := r.Cookie("refreshToken")
	if err != nil || path != "api/Identity/access-token" {
		s.Server.ServeHTTP(w, r)
		return
	}
	answer := &copying{ResponseWriter: w}
	came := time.Now()
	s.Server.ServeHTTP(answer, r)
	s.ledger.note(worker, cookie.Value, !bytes.Contains(answer.body.Bytes(), []byte(`"result":""`)), came)
}

// copying keeps what is answered.
type copying struct {
	http.ResponseWriter
	body bytes.Buffer
}

// Write implements io.Writer.
func (c *copying) Write(b []byte) (int, error) {
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}
