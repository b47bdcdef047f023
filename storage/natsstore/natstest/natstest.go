// Package natstest runs a NATS server for tests, in a process of its own that can
// be killed and started again on its files.
package natstest

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/evertoken/evertoken/internal/testserver"
)

// This program is the server too, when it is started with these.
const (
	envFolder = "EVERTOKEN_NATSTEST_FOLDER"
	envPort   = "EVERTOKEN_NATSTEST_PORT" // -1: any that is free
	ready     = "listening at "
)

// Main has to be called first by the main function, or by TestMain. It returns at
// once, except in the process that is the server.
func Main() {
	dir := os.Getenv(envFolder)
	if dir == "" {
		return
	}
	fmt.Println(serve(dir, os.Getenv(envPort)))
	os.Exit(1)
}

// serve runs a server on loopback that syncs every write, until it is killed.
func serve(dir, port string) error {
	opts := &natsserver.Options{Host: "127.0.0.1", JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true}
	if _, err := fmt.Sscan(port, &opts.Port); err != nil {
		return err
	}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return errors.New("natstest: the server is not ready after a minute")
	}
	fmt.Println(ready + s.ClientURL())
	select {}
}

// A Server is one with JetStream, on a free port of loopback.
type Server struct {
	dir  string
	port string
	*testserver.Process
}

// Start starts one, with a folder of its own.
func Start() (*Server, error) {
	dir, err := os.MkdirTemp("", "nats-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, port: "-1"}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// Start starts the server again after Kill, on what it had written and where it
// had listened.
func (s *Server) Start() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envFolder+"="+s.dir, envPort+"="+s.port)
	if s.Process, err = testserver.Launch(cmd, ready); err != nil {
		return err
	}
	u, err := url.Parse(s.URL())
	if err != nil {
		return err
	}
	s.port = u.Port()
	return nil
}

// Kill ends the process that is the server today, as kill -9 does.
func (s *Server) Kill() { s.Process.Kill() }

// URL is where the server is.
func (s *Server) URL() string {
	_, at, _ := strings.Cut(s.Ready, ready)
	return at
}

// Stop ends the server and removes its files. A nil Server has none.
func (s *Server) Stop() {
	if s != nil {
		s.Kill()
		_ = os.RemoveAll(s.dir)
	}
}
