package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// A pipe accepts connections that never leave the process, which a synctest
// bubble understands.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// onPipe does something with a farEnd in the process.
func onPipe[T any](life time.Duration, do func(*farEnd) (T, error)) (T, error) {
	p := &pipe{conns: make(chan net.Conn), closed: make(chan struct{})}
	f := newFarEnd(life, p, p.dial)
	defer f.close()
	return do(f)
}

func (p *pipe) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipe) Addr() net.Addr  { return p }
func (p *pipe) Network() string { return "pipe" }
func (p *pipe) String() string  { return "pipe" }
