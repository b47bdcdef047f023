package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A wire carries connections to the server of a store, and cuts all of them now
// and then, whatever is on the way.
type wire struct {
	net.Listener
	network, to string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	cuts  int
	all   sync.WaitGroup
}

// newWire listens where the server does but for the folder, or on another port.
func newWire(t *testing.T, network, to string) *wire {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "wire-") // a socket's path must be short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		at = filepath.Join(dir, filepath.Base(to))
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, network: network, to: to, conns: make(map[net.Conn]struct{})}
	w.all.Go(w.accept)
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
		w.all.Wait()
	})
	return w
}

func (w *wire) accept() {
	for {
		near, err := w.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial(w.network, w.to)
		if err != nil { // it is being restarted
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.conns[near], w.conns[far] = struct{}{}, struct{}{}
		w.mu.Unlock()
		w.all.Go(func() { w.carry(near, far) })
		w.all.Go(func() { w.carry(far, near) })
	}
}

// carry ends both directions with the first that ends.
func (w *wire) carry(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		_ = c.Close()
		delete(w.conns, c)
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
	}
	w.cuts++
}

// fray cuts once a second or so.
func (w *wire) fray(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(rand.Int64N(int64(2 * time.Second)))):
			w.cut()
		}
	}
}

func TestWire(t *testing.T) {
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	w := newWire(t, "tcp", far.Addr().String())
	near, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	conn, err := far.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := near.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Fatalf("carried %q, %v", got, err)
	}
	w.cut()
	if _, err := conn.Read(got); err == nil {
		t.Error("the far end is not cut off")
	}
	if _, err := near.Read(got); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the near end is not cut off")
	}
}
