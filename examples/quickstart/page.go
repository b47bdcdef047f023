package main

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/statuspage"
)

// A page is the status page of a client, served for as long as it is wanted.
type page struct {
	url  string
	stop func() // waits for the server's goroutine
}

// servePage listens at address. A port alone means this machine only: what the
// page tells is no secret, but it is nobody else's business either.
func servePage(address string, client *evertoken.Client) (*page, error) {
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: statuspage.Handler(client), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // until it is stopped
	}()
	stop := func() {
		_ = server.Close()
		<-done
	}
	return &page{"http://" + l.Addr().String(), stop}, nil
}
