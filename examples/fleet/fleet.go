package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/lightnap"
)

// A fleet is a server, a session in a store, and the processes that share it.
type fleet struct {
	options
	server *server
	crew   []*member

	mu     sync.Mutex
	missed bool          // somebody found the session over, and nobody has signed in since
	fault  error         // what ended the run early
	stall  time.Duration // the longest that this process itself did not run
}

// A member is the parent's view of one worker and of all its lives.
type member struct {
	n int

	mu      sync.Mutex
	state   string
	process *os.Process // nil: it does not run
	in      io.Closer
	left    bool   // it is to end
	past    report // of the lives before this one
	now     report
	renewed int
	adopted int
	lives   int
}

// A summary is what a run has come to.
type summary struct {
	Renewals   int            `json:"renewals"`
	Again      int            `json:"sent_again_within_grace"`
	SpentTwice int            `json:"spent_twice"`   // refresh tokens, after the grace
	Lost       map[string]int `json:"sessions_lost"` // by cause
	Single     int            `json:"sessions_lost_by_a_single_blow"`
	Requests   int            `json:"requests"`
	Failed     int            `json:"failed"`
	Wronged    int            `json:"failed_although_a_token_was_stored"`
	Slowest    time.Duration  `json:"slowest"`
	Killed     int            `json:"killed"`
	Frozen     int            `json:"frozen"`
	Outages    int            `json:"store_killed"`
	Traces     []string       `json:"traces,omitempty"`
	LastErr    string         `json:"last_error,omitempty"`
	Stall      time.Duration  `json:"machine_stalled"` // the longest time in which the machine ran nothing of us
}

// longStall is a third of the lease of a grace of three seconds: on a machine that
// is busier than that, leases lapse by themselves.
const longStall = 300 * time.Millisecond

// verdict is an error if the client has lost what it could have kept.
func (s summary) verdict(grace bool) error {
	switch {
	case s.Lost[noCause] > 0:
		return fmt.Errorf("%d sessions were lost without a cause", s.Lost[noCause])
	case s.Stall > longStall: // the rest says nothing about the client then
	case grace && s.Single > 0:
		return fmt.Errorf("%d sessions were lost by a single blow although the server has a grace", s.Single)
	case s.Wronged > 0:
		return fmt.Errorf("%d requests failed although the store had a token, the last one with %s", s.Wronged, s.LastErr)
	case s.Renewals == 0:
		return errors.New("nobody renewed anything")
	}
	return nil
}

// newFleet starts the server and signs in.
func newFleet(ctx context.Context, o options) (*fleet, error) {
	if o.store == "" {
		dir, err := os.MkdirTemp("", "fleet-")
		if err != nil {
			return nil, err
		}
		o.store = "file:" + dir
	}
	f := &fleet{options: o}
	for n := range o.workers {
		f.crew = append(f.crew, &member{n: n + 1, state: "starting"})
	}
	var err error
	if f.server, err = startServer(o); err != nil {
		return nil, err
	}
	if err := f.signIn(ctx); err != nil {
		return nil, errors.Join(err, f.server.close())
	}
	return f, nil
}

func (f *fleet) task(worker int) task {
	return task{Store: f.store, Server: f.server.urlOf(worker), Grace: f.grace, Pause: 20 * time.Millisecond}
}

// signIn is the person who signs the whole fleet in.
func (f *fleet) signIn(ctx context.Context) error {
	store, err := open(ctx, f.store)
	if err != nil {
		return err
	}
	defer store.close()
	issuer := &lightnap.Issuer{BaseURL: f.server.url}
	token, err := issuer.Login(ctx, lightnap.Credentials{Login: login, Password: password, RememberMe: true})
	if err != nil {
		return err
	}
	client, err := evertoken.New(ctx, f.task(0).config(store))
	if err != nil {
		return err
	}
	return errors.Join(client.SignIn(ctx, token), client.Close())
}

// run lets the fleet work until its time is up, and calls draw now and then.
func (f *fleet) run(ctx context.Context, draw func()) (summary, error) {
	ctx, cancel := context.WithTimeout(ctx, f.duration)
	defer cancel()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, m := range f.crew {
		all.Go(func() { f.keep(m, stop) })
	}
	if f.chaos {
		all.Go(func() { f.wreak(stop) })
	}
	f.watch(ctx, draw)
	close(stop)
	for _, m := range f.crew {
		m.leave()
	}
	all.Wait()
	sum := f.summary()
	f.mu.Lock()
	defer f.mu.Unlock()
	return sum, errors.Join(f.fault, f.server.close())
}

// watch waits for the end, draws, and signs in again when the session is lost.
func (f *fleet) watch(ctx context.Context, draw func()) {
	const pace = 200 * time.Millisecond
	tick, last := time.NewTicker(pace), time.Now()
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		draw()
		f.mu.Lock()
		f.stall = max(f.stall, time.Since(last)-pace)
		last = time.Now()
		missed, fault := f.missed, f.fault
		f.missed = false
		f.mu.Unlock()
		if fault != nil || f.renewals > 0 && f.summary().Renewals >= f.renewals {
			return
		}
		if missed && f.signIn(ctx) != nil {
			f.miss() // the store may be down: again with the next tick
		}
	}
}

func (f *fleet) miss() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.missed = true
}

func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = err
}

// keep owns the processes of one worker, one after the other, and waits for each.
func (f *fleet) keep(m *member, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		if err := f.life(m); err != nil {
			f.fail(fmt.Errorf("worker %d: %w", m.n, err))
			return
		}
	}
}

// life is one process, from its start to its end. Only an end that nobody has
// caused is an error.
func (f *fleet) life(m *member) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	told, err := json.Marshal(f.task(m.n))
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Env = append(os.Environ(), workerEnv+"="+string(told))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	m.begin(cmd.Process, in)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var r report
		if json.Unmarshal(lines.Bytes(), &r) == nil { // the last line of a killed worker may be cut
			f.heard(m, r)
		}
	}
	err = cmd.Wait()
	if m.end() {
		return nil
	}
	return err
}

func (f *fleet) heard(m *member, r report) {
	if r.Kind == evertoken.SessionEnded {
		f.miss()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = r
	switch r.Kind {
	case evertoken.Renewed:
		m.renewed++
	case evertoken.Adopted:
		m.adopted++
	case evertoken.SessionStarted, evertoken.SessionEnded, evertoken.Failed, evertoken.Checked:
	}
}

func (m *member) begin(p *os.Process, in io.Closer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.process, m.in, m.state = p, in, "running"
	m.lives++
	if m.left {
		m.leaveLocked()
	}
}

// end adds up what a life has done, and says whether somebody ended it.
func (m *member) end() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.past = m.past.plus(m.now)
	m.process, m.now = nil, report{}
	wanted := m.state != "running"
	m.state = "starting"
	return wanted
}

func (r report) plus(o report) report {
	sum := report{
		Requests: r.Requests + o.Requests, Failed: r.Failed + o.Failed, Wronged: r.Wronged + o.Wronged,
		Slowest: max(r.Slowest, o.Slowest), Err: r.Err,
	}
	if o.Err != "" {
		sum.Err = o.Err
	}
	return sum
}

// leave asks the worker to end, also one that is just starting.
func (m *member) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = true
	if m.process != nil {
		m.leaveLocked()
	}
}

func (m *member) leaveLocked() {
	thaw(m.process)
	m.state = "leaving"
	_ = m.in.Close()
}

// wreak kills and freezes workers until the end. Freezes last up to twice as
// long as a lease.
func (f *fleet) wreak(stop <-chan struct{}) {
	dice := rand.New(rand.NewPCG(f.seed, 0)) //nolint:gosec // chance, not a secret
	lease := 15 * time.Second
	if f.grace > 0 {
		lease = min(lease, f.grace/3)
	}
	var frozen sync.WaitGroup
	defer frozen.Wait()
	for {
		pause := time.Duration(dice.Int64N(int64(600 * time.Millisecond)))
		select {
		case <-stop:
			return
		case <-time.After(pause):
		}
		m := f.crew[dice.IntN(len(f.crew))]
		long := time.Duration(dice.Int64N(int64(2 * lease)))
		if dice.Float64() < 0.6 {
			f.kill(m)
		} else {
			frozen.Go(func() { f.freeze(m, long, stop) })
		}
	}
}

func (f *fleet) kill(m *member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil || m.state != "running" {
		return
	}
	over := f.server.ledger.strike(m.n, killed)
	m.state = "killed"
	_ = m.process.Kill()
	over()
}

func (f *fleet) freeze(m *member, d time.Duration, stop <-chan struct{}) {
	m.mu.Lock()
	p := m.process
	if p == nil || m.state != "running" || !freeze(p) {
		m.mu.Unlock()
		return
	}
	over := f.server.ledger.strike(m.n, frozen)
	m.state = "frozen"
	m.mu.Unlock()
	select {
	case <-time.After(d):
	case <-stop:
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	thaw(p)
	over()
	if m.state == "frozen" {
		m.state = "running"
	}
}

func (f *fleet) summary() summary {
	sum := f.server.ledger.summary()
	sum.SpentTwice = f.server.Counts().SpentTwice
	f.mu.Lock()
	sum.Stall = f.stall
	f.mu.Unlock()
	for _, m := range f.crew {
		m.mu.Lock()
		r := m.past.plus(m.now)
		m.mu.Unlock()
		sum.Requests, sum.Failed, sum.Wronged = sum.Requests+r.Requests, sum.Failed+r.Failed, sum.Wronged+r.Wronged
		sum.Slowest = max(sum.Slowest, r.Slowest)
		if r.Err != "" {
			sum.LastErr = r.Err
		}
	}
	return sum
}
