package evertoken

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/evertoken/evertoken/internal/agenda"
	"github.com/evertoken/evertoken/storage"
)

// PoolConfig configures a [Pool].
type PoolConfig struct {
	// Config is what its sessions have in common. Session and Login must be left
	// empty. OnEvent is called with the events of all sessions.
	Config

	// Login signs a session in unattended: see Config.Login, which must not be
	// set.
	Login func(ctx context.Context, session string) (Token, error)

	// MaxExchanges bounds the requests to the issuer at one time: renewals, logins
	// and revocations. Whoever's token ends first is the first to go. Zero means 16.
	MaxExchanges int

	// IdleAfter is how long a session is kept alive that nobody uses, give or take
	// a CheckInterval. After that it is not renewed any more and leaves memory. Its
	// record stays in the store, from where its next use brings it back. Zero means
	// 24 h. Sessions without a record leave memory with the next check.
	IdleAfter time.Duration
}

// complete is that of Config, and for the rest.
func (c *PoolConfig) complete() error {
	faults := c.Config.check()
	if c.Session != "" {
		faults = append(faults, "Session is set, but Pool.Client names sessions")
	}
	if c.Config.Login != nil {
		faults = append(faults, "Config.Login is set, but PoolConfig.Login takes its place")
	}
	if c.MaxExchanges < 0 {
		faults = append(faults, fmt.Sprintf("MaxExchanges is negative: %d", c.MaxExchanges))
	}
	if c.IdleAfter < 0 {
		faults = append(faults, fmt.Sprintf("IdleAfter is negative: %v", c.IdleAfter))
	}
	c.MaxExchanges = cmp.Or(c.MaxExchanges, 16)
	c.IdleAfter = cmp.Or(c.IdleAfter, 24*time.Hour)
	return c.settle(faults)
}

// A Pool keeps many sessions alive, as [Client] does one: for a server that acts
// for many users. They share one schedule, one store and a bounded number of
// exchanges; a session at rest is less than a kilobyte and no goroutine. It is
// safe for concurrent use.
type Pool struct {
	common

	warned atomic.Bool // of a lifetime within the window

	mu      sync.Mutex
	clients map[string]weak.Pointer[Client] // the agenda holds those that are awake
	made    uint32                          // how many clients
	closed  bool
}

// common is what all sessions of a pool share. It is not changed once there is
// one.
type common struct {
	cfg    Config
	login  func(ctx context.Context, session string) (Token, error) // nil: there is none
	clock  Clock
	store  storage.Store
	sched  schedule
	grace  time.Duration // how long the issuer accepts a spent refresh token
	idle   time.Duration // how long a session stays that nobody uses; zero: for ever
	random func() float64
	mark   string // of the notes of this pool's clients
	single bool   // it is one client's own
	log    *slog.Logger
	level  slog.Level // the least that is logged

	began  time.Time
	values context.Context // those of New's, without its end
	agenda *agenda.Agenda
	herald *herald
	pool   *Pool
}

// NewPool returns a pool without sessions. It fails on a bad configuration. Close
// the pool when it is not needed any more.
func NewPool(cfg PoolConfig) (*Pool, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	return newPool(context.Background(), cfg, mathrand.Float64), nil
}

// newPool takes a complete configuration. What is not sent waits for nothing that
// is, so more turns run at once than exchanges: a store needs less time than an
// issuer, but may hang.
func newPool(ctx context.Context, cfg PoolConfig, random func() float64) *Pool {
	p := &Pool{clients: make(map[string]weak.Pointer[Client])}
	p.common = common{
		cfg: cfg.Config, login: cfg.Login, clock: cfg.Clock, store: cfg.Store, idle: cfg.IdleAfter, random: random,
		sched: schedule{cfg.CheckInterval, cfg.ExpiryWindow, cfg.WindowFraction},
		log:   cfg.Logger, level: slog.LevelDebug,
		began: wall(cfg.Clock), mark: rand.Text(), agenda: agenda.New(cfg.Clock, 3*cfg.MaxExchanges, cfg.MaxExchanges),
		herald: newHerald(cfg.OnEvent), pool: p, values: context.WithoutCancel(ctx),
	}
	if p.log == nil {
		p.log, p.level = slog.Default(), slog.LevelWarn
	}
	if g, ok := cfg.Issuer.(interface{ ReuseGrace() time.Duration }); ok && g.ReuseGrace() > leastGrace {
		p.grace = g.ReuseGrace()
	}
	return p
}

// Client returns the client of a session, which is a name of the application's
// choice: the key of its record in the store. All callers with one name get the
// same client, for as long as anybody holds it; it is as cheap to ask for it with
// each request as to hold it for days. The first time, and after IdleAfter, it
// reads the record, within ctx, and fails if the store cannot be read; see [New].
//
// To close it ends it for everybody, and is not needed: a client that nobody uses
// leaves memory by itself.
func (p *Pool) Client(ctx context.Context, session string) (*Client, error) {
	if session == "" || strings.HasSuffix(session, corrupt) {
		return nil, fmt.Errorf("evertoken: pool: %q is no name for a session", session)
	}
	return p.client(ctx, session)
}

func (p *Pool) client(ctx context.Context, session string) (*Client, error) {
	c, fresh, err := p.find(session)
	if fresh {
		err = c.load(ctx)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// find returns the one client of a session. Whoever made it has to load it.
func (p *Pool) find(session string) (c *Client, fresh bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, ErrClosed
	}
	if c = p.clients[session].Value(); c != nil {
		c.loop.use()
		return c, false, nil
	}
	c = p.newClient(strings.Clone(session))
	p.clients[c.session.key] = weak.Make(c)
	return c, true, nil
}

// newClient makes a client that is asleep. Its first check comes at a random point
// of the first interval, so that sessions which begin together spread.
func (p *Pool) newClient(session string) *Client {
	c := new(Client)
	c.session.common, c.session.key = &p.common, session
	c.session.sleep(new(snapshot))
	c.board.session, c.board.last = &c.session, c.session.known.Load()
	c.board.show(c.board.last, true, 0, nil)
	r := &c.loop
	p.made++
	r.common, r.session, r.board, r.number = &p.common, &c.session, &c.board, p.made
	r.phase = wall(p.clock).Sub(p.began) + time.Duration((1-p.random())*float64(p.sched.interval))
	p.agenda.Open(&r.entry, r)
	return c
}

// load reads the record for the first time, in place of the loop's first turn.
func (c *Client) load(ctx context.Context) error {
	err := c.session.do(ctx, func(ctx context.Context) error {
		err := c.session.read(ctx)
		c.board.know(c.session.known.Load())
		return err
	})
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		c.loop.watch()
		c.session.agenda.File(&c.loop.entry, time.Time{})
		return err
	}
	c.session.agenda.File(&c.loop.entry, c.loop.start(err))
	return nil
}

// Sessions yields the names of the sessions that are in memory, in no order, and
// what their clients are doing. To look is not to use them.
func (p *Pool) Sessions() iter.Seq2[string, Status] {
	return func(yield func(string, Status) bool) {
		p.mu.Lock()
		all := slices.Collect(maps.Values(p.clients))
		p.mu.Unlock()
		for _, w := range all {
			if c := w.Value(); c != nil && !yield(c.session.key, c.Status()) {
				return
			}
		}
	}
}

// Events returns the last 1,024 events of all sessions, oldest first. The slice is
// the caller's.
func (p *Pool) Events() []Event { return p.herald.history() }

// sweep forgets the place of a client that is gone.
func (p *Pool) sweep(session string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.clients[session]; ok && w.Value() == nil {
		delete(p.clients, session)
	}
}

// drop begins to close a client, and forgets it.
func (p *Pool) drop(c *Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.loop.stop()
	if p.clients[c.session.key] == weak.Make(c) {
		delete(p.clients, c.session.key)
	}
}

// Close closes all clients and waits for that: see [Client.Close]. It may be
// called more than once and from several goroutines.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	var all []*Client
	for _, w := range p.clients {
		if c := w.Value(); c != nil {
			c.loop.stop()
			all = append(all, c)
		}
	}
	p.mu.Unlock()
	var err error
	for _, c := range all {
		err = errors.Join(err, c.close())
	}
	p.agenda.Close()
	p.herald.close()
	return err
}
