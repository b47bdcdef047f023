package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/evertoken/evertoken/internal/identity"
)

// A localServer is the matching server in this process. Its refresh tokens can
// be used once: a client that spent one twice would lose the session.
type localServer struct {
	core *identity.Server
	url  string
	stop func() // waits for the server's goroutine
}

// startServer serves on a free loopback port.
func startServer(o options) (*localServer, error) {
	core, err := identity.New(identity.Config{
		AccessLifetime:  o.lifetime,
		SessionLifetime: time.Hour,
		Rotate:          true,
		DetectReuse:     true,
		// The account is gone with the process; its hash need not withstand anybody.
		PasswordIterations: 1000,

		Accounts: []identity.Account{{Email: o.login, Password: o.password, Roles: []string{"User"}}},
	})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: core, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "quickstart: server:", err)
		}
	}()
	stop := func() {
		_ = server.Close()
		<-done
	}
	return &localServer{core, "http://" + l.Addr().String(), stop}, nil
}
