package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken"
)

// A process is one life of one program that stays signed in.
type process struct {
	*host
	w        *world
	slot     string // which program; it keeps its name over restarts
	name     string // slot and life
	dice     *dice  // of the client itself; its steps with the store and its sign-ins may meet in one instant
	data     *dice  // of steps with the record
	right    *dice  // of steps with the lease
	logins   *dice
	client   client
	stop     chan struct{} // closed when it is to end by itself; world.mu guards that, and stopping
	stopping bool
	closed   atomic.Bool

	mu      sync.Mutex
	conns   map[*conn]struct{}
	dials   int
	dialled time.Time // when the last of these was
	visits  int       // of people who sign in or out

	// checker.mu guards what follows.
	owner        string        // marks its notes; empty: there was none yet
	note         string        // the digest in its last note; empty: something was sent since
	notedAt      time.Time     // when that was stored
	failedToSave time.Time     // when the store failed it last
	signsIn      bool          // somebody has signed in here, or Login has
	signsOut     bool          // somebody has signed out here
	leftOut      bool          // it has not signed in since it signed out
	met          bool          // it has found a record in the store
	missing      bool          // and not any more
	maySince     time.Time     // since when it has the lease
	mayUntil     time.Time     // and until when, as far as it can know
	beat         time.Time     // when it asked to extend that last
	ttl          time.Duration // for how long
	seen         string        // the session that it found in the store last; empty: none
	seenAt       time.Time     // when
	sends        []time.Time   // of the last hour
}

// start is a process's beginning. It fails where evertoken.New does, and then
// there is nothing to end.
func (w *world) start(slot int, life int) (*process, error) {
	name := fmt.Sprintf("p%d.%d", slot+1, life)
	p := &process{
		host: newHost(w.skews[slot]), w: w, slot: fmt.Sprintf("p%d", slot+1), name: name,
		dice: newDice(w.seed, name), data: newDice(w.seed, name+" data"), right: newDice(w.seed, name+" right"), logins: newDice(w.seed, name+" logins"),
		stop: make(chan struct{}), conns: make(map[*conn]struct{}),
	}
	w.power(slot, p.host)
	var err error
	issuer := p.issuer(&http.Transport{DialTLSContext: p.dial, DialContext: p.dial})
	if w.rival != nil {
		p.client, err = newPeer(w.ctx, p, issuer)
	} else {
		p.client, err = newClient(w.ctx, p.config(issuer), p.dice.float)
	}
	if err != nil {
		p.die()
		w.store.left(p)
		return nil, err
	}
	return p, nil
}

// config is what the program asks of evertoken.
func (p *process) config(issuer evertoken.Issuer) evertoken.Config {
	w := p.w
	cfg := evertoken.Config{
		Issuer:         issuer,
		Origins:        []string{baseURL},
		Store:          w.store.open(p),
		Session:        sessionKey,
		CheckInterval:  w.interval,
		ExpiryWindow:   w.window,
		WindowFraction: w.fraction,
		Base:           api{p},
		Clock:          p.host,
		Logger:         slog.New(slog.NewTextHandler(leakDetector{p}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnEvent:        p.event,
	}
	if w.login {
		cfg.Login = p.login
	}
	return cfg
}

// die is the end of a process that is not asked: from now on nothing it does
// reaches the world, and the world sees its connections closed.
func (p *process) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isDead() {
		return
	}
	close(p.dead)
	p.w.check.died(p)
	for c := range p.conns {
		_ = c.Conn.Close()
	}
}

// keep notes a connection, so that it is closed with the process; false if that
// is dead already.
func (p *process) keep(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isDead() {
		_ = c.Conn.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// connected is how many connections the client has been given. One that it has
// given up waiting for it cannot close.
func (p *process) connected() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if c.ready.Load() {
			n++
		}
	}
	return n
}

// visit marks the time in which somebody signs in or out here. Close does not wait
// for them.
func (p *process) visit(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.visits += n
}

func (p *process) visited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.visits > 0
}

func (p *process) drop(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// step is where a process meets the world: it may be killed or frozen there. It
// is false if it must not go on.
func (p *process) step(d *dice, where string, weight float64) bool {
	if p.closed.Load() && !p.visited() {
		p.w.check.violate("%s is at work after Close: %s", p.slot, where)
	}
	switch {
	case p.isDead():
		return false
	case p.w.strikes(d, kill, p.slot, weight):
		p.w.trace.add(p.slot, "is killed %s", where)
		p.die()
		return false
	case p.w.strikes(d, frozen, p.slot, math.Sqrt(weight)): // who only reads has something to lose here as well
		p.stall(d, frozen, where)
	case p.w.strikes(d, suspend, p.slot, math.Sqrt(weight)):
		p.stall(d, suspend, where)
	}
	return p.pass()
}

func (p *process) stall(d *dice, f fault, where string) {
	long := f.lasts(d)
	if p.freeze(long, f == suspend) {
		p.w.check.disturbed(time.Now().Add(long))
		p.w.trace.add(p.slot, "%s %s for %v", f, where, long.Round(time.Second))
	}
}

// wait lets d pass for an operation that ends early with ctx.
func (p *process) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		p.pass()
		return context.Cause(ctx)
	case <-p.dead:
	}
	if !p.pass() {
		return errStore
	}
	return nil
}

// login is Config.Login. It goes past the network, but it may fail.
func (p *process) login(ctx context.Context) (evertoken.Token, error) {
	called := time.Now()
	p.w.check.loggingIn(p) // what happens from here on is too late to keep it from that
	if !p.step(p.logins, "before login", 1) {
		return evertoken.Token{}, net.ErrClosed
	}
	if err := p.wait(ctx, p.logins.between(10*time.Millisecond, time.Second)); err != nil {
		return evertoken.Token{}, err
	}
	if l := p.w.fate(p, p.logins); l.fate != "" && l.fate != slow && l.fate != slowDial {
		return evertoken.Token{}, errors.New("sim: the identity provider is not to be reached")
	}
	t, err := p.w.issuer.signIn(called)
	if !p.step(p.logins, "after login", 1) {
		return evertoken.Token{}, net.ErrClosed
	}
	return t, err
}

// event is Config.OnEvent.
func (p *process) event(e evertoken.Event) {
	if p.isDead() || e.Kind == evertoken.Checked {
		return
	}
	text := string(e.Kind)
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	p.w.trace.tell(p.slot, "%s", text)
	p.w.check.told(p, e, text)
}

// A leakDetector is where the client's log goes: no secret may be in it. A replay
// shows it.
type leakDetector struct{ p *process }

// Write implements io.Writer.
func (d leakDetector) Write(line []byte) (int, error) {
	d.p.w.check.leak("log", string(line))
	d.p.w.trace.aside(d.p.slot, string(bytes.TrimSpace(line)))
	return len(line), nil
}

// An api is the far end of a process's own requests.
type api struct{ p *process }

// RoundTrip implements http.RoundTripper.
func (a api) RoundTrip(r *http.Request) (*http.Response, error) {
	p := a.p
	if p.isDead() {
		return nil, net.ErrClosed
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.w.check.used(p, r.URL, token)
	if err := p.wait(r.Context(), 20*time.Millisecond); err != nil { // requests run in no order: they draw nothing
		return nil, err
	}
	if r.URL.Host != "localhost" {
		return reply(r, http.StatusOK, http.Header{}), nil
	}
	if r.URL.Path == "/elsewhere" {
		return reply(r, http.StatusFound, http.Header{"Location": {"https://elsewhere.example.com/and/back"}}), nil
	}
	resp := p.w.issuer.profile(r)
	resp.Request = r
	return resp, nil
}

func reply(r *http.Request, status int, h http.Header) *http.Response {
	return &http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: h, Body: http.NoBody, Request: r}
}

// get makes one request to the protected API and returns its status.
func (p *process) get(ctx context.Context, url string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := p.client.HTTP().Do(r)
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}
