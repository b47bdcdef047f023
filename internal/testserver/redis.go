package testserver

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Redis is a Redis server on a socket in a folder of its own.
type Redis struct {
	dir  string
	args []string
	*Process
}

// HowRedis tells how to get one.
const HowRedis = "apt-get install redis-server, or set EVERTOKEN_TEST_REDIS to its URL"

// StartRedis starts a server with further arguments ("--appendonly", "yes"). The
// error is [ErrNotInstalled] if there is none on this machine.
func StartRedis(args ...string) (*Redis, error) {
	if _, err := program("redis-server"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "redis-") // a socket's path must be short
	if err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	r := &Redis{dir: dir, args: args}
	if err := r.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return r, nil
}

// Start starts the server again, on what it had written.
func (r *Redis) Start() error {
	path, err := program("redis-server")
	if err != nil {
		return err
	}
	args := slices.Concat([]string{
		"--port", "0", "--unixsocket", r.socket(), "--dir", r.dir, "--save", "", "--daemonize", "no",
	}, r.args)
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = attributes(nil)
	r.Process, err = start(cmd, "ready to accept connections")
	return err
}

func (r *Redis) socket() string { return filepath.Join(r.dir, "s") }

// URL is where the server is, as redis.ParseURL reads it.
func (r *Redis) URL() string { return (&url.URL{Scheme: "unix", Path: r.socket()}).String() }

// Kill ends the server as kill -9 does. Start starts it again.
func (r *Redis) Kill() { r.end(os.Kill) } // of its own: a method value must end today's process, not the first

// Stop ends the server for good and removes its folder.
func (r *Redis) Stop() {
	if r == nil {
		return
	}
	r.end(os.Kill)
	_ = os.RemoveAll(r.dir)
}
