package sim

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A link is one connection to the issuer, and what is to befall it.
type link struct {
	p     *process
	dice  *dice         // of what happens on it: goroutines of net/http come and go as they like
	fate  fault         // empty: none
	delay time.Duration // until the issuer answers, or is to have been silent

	began    time.Time // when the dialling began
	connects time.Time // when there was a connection
	slept    bool      // the process stood still between having the connection and sending on it

	// checker.mu guards these.
	attempt *attempt // what was sent on it; nil: nothing yet
	hungUp  bool     // the client has closed it
}

// A conn is the client's end.
type conn struct {
	net.Conn
	link   *link
	write  sync.Once
	ready  atomic.Bool // the client has it
	closed atomic.Bool
}

// dial connects a process to the issuer, unless something is in the way.
func (p *process) dial(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	d := newDice(p.w.seed, p.nextDial())
	if !p.step(d, "before dial", 1) {
		return fail(syscall.ENETDOWN)
	}
	l := p.w.fate(p, d)
	l.began = time.Now()
	wait := d.between(time.Millisecond, 50*time.Millisecond)
	if l.fate == slowDial {
		wait = slowDial.lasts(d)
	}
	if err := p.wait(ctx, min(wait, 30*time.Second)); err != nil {
		return fail(err)
	}
	switch {
	case l.fate == refused:
		return fail(syscall.ECONNREFUSED)
	case l.fate == noName:
		return fail(&net.DNSError{Err: "no such host", Name: address, IsTemporary: true})
	case wait > 30*time.Second:
		return fail(os.ErrDeadlineExceeded)
	}
	client, server := net.Pipe()
	c := &conn{Conn: client, link: l}
	if !p.keep(c) {
		return fail(syscall.ENETDOWN)
	}
	p.w.issuer.accept(server, l)
	l.connects = time.Now()
	if !p.step(d, "after dial", 1) {
		return fail(syscall.ENETDOWN)
	}
	l.connects = time.Now()
	c.ready.Store(true)
	return c, nil
}

// nextDial names a connection. Those of one instant have one name, and so one fate:
// which of them came first is the scheduler's doing.
func (p *process) nextDial() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); !now.Equal(p.dialled) {
		p.dials++
		p.dialled = now
	}
	return fmt.Sprintf("%s connection %d", p.name, p.dials)
}

// Write sends. Only here can a process stop between the last check of its right
// to send and the sending: that is seen from the time that went by.
func (c *conn) Write(b []byte) (int, error) {
	if c.closed.Load() { // by the guard; net/http may or may not notice in time
		return 0, net.ErrClosed
	}
	c.write.Do(func() {
		c.link.p.step(c.link.dice, "before send", 1)
		c.link.p.w.meanwhile(c.link.p, c.link.dice)
		c.link.slept = time.Since(c.link.connects) > 0
	})
	if !c.link.p.pass() {
		return 0, syscall.ECONNRESET
	}
	return c.Conn.Write(b)
}

// Read receives.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.link.p.step(c.link.dice, "after receive", 1) {
		return 0, syscall.ECONNRESET
	}
	c.link.p.pass()
	return n, err
}

// Close hangs up. The first time, the checker is told.
func (c *conn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		if !c.link.p.isDead() {
			c.link.p.w.check.hungUp(c.link)
		}
		c.link.p.drop(c)
	}
	return c.Conn.Close()
}

// A listener hands the server's ends of connections to an http.Server.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "sim", Net: "pipe"} }

// A served is the server's end, which knows its link.
type served struct {
	net.Conn
	link *link
}
