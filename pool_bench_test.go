package evertoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// BenchmarkPool shows what a session at rest takes of memory, beside its token,
// and what a check costs, however many sessions there are that are not due:
//
//	go test -run - -bench Pool .
func BenchmarkPool(b *testing.B) {
	for _, sessions := range []int{1000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			c := newCity(b, sessions)
			most, before := 0, c.looks.Load()
			for b.Loop() {
				most = max(most, c.checks(500))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(c.looks.Load()-before), "ns/check")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(c.memory, "B/session")
			b.ReportMetric(float64(most), "goroutines")
		})
	}
}

// At rest a session is less than a kilobyte, beside its token, and no goroutine.
func TestSessionsAtRest(t *testing.T) {
	const sessions = 2000
	before := runtime.NumGoroutine()
	c := newCity(t, sessions)
	if c.memory > 1000 {
		t.Errorf("%.0f bytes a session", c.memory)
	}
	if n := runtime.NumGoroutine() - before; n > 2 {
		t.Errorf("%d goroutines at rest", n)
	}
	if n := c.checks(sessions) - before; n > 150 {
		t.Errorf("%d goroutines for %d checks at once", n, sessions)
	}
	if err := c.pool.Close(); err != nil { // waits for the last of them
		t.Error(err)
	}
	for i, client := range c.clients {
		if r := &client.loop; r.ctx != nil || r.wish != nil || r.taken != nil || r.gate != nil || client.session.turn != nil {
			t.Fatalf("client %d holds on to what a turn has made", i)
		}
	}
}

// A city is a pool with many sessions whose tokens are not due for years.
type city struct {
	tb       testing.TB
	pool     *Pool
	clients  []*Client
	sessions int
	before   int // heap without the sessions
	tokens   int // heap of their tokens alone
	memory   float64
	clock    *jumpingClock
	looks    atomic.Int64
	until    atomic.Int64                  // how many looks end a wait
	reached  atomic.Pointer[chan struct{}] // closed then
	most     atomic.Int64                  // goroutines seen meanwhile
	storage.Store
}

func newCity(tb testing.TB, sessions int) *city {
	c := &city{tb: tb, sessions: sessions, Store: storage.NewMemory(), clock: &jumpingClock{Clock: clock.New()}}
	c.settle()
	c.clients = make([]*Client, sessions)
	cfg := PoolConfig{Config: Config{
		Issuer: &farIssuer{}, Store: c, Clock: c.clock, Logger: slog.New(slog.DiscardHandler), CheckInterval: 24 * time.Hour,
	}, IdleAfter: math.MaxInt64}
	if err := cfg.complete(); err != nil {
		tb.Fatal(err)
	}
	made := 0
	c.pool = newPool(tb.Context(), cfg, func() float64 { // their checks are evenly spread
		made++
		return 1 - float64(made)/float64(sessions)
	})
	tb.Cleanup(func() { _ = c.pool.Close() })
	for i := range sessions {
		client, err := c.pool.Client(tb.Context(), citizen(i))
		if err != nil {
			tb.Fatal(err)
		}
		c.clients[i] = client
	}
	c.memory = c.measure()
	return c
}

func citizen(i int) string { return fmt.Sprintf("user-%07d", i) }

// settle stores the sessions, and weighs their tokens: the struct, its strings and
// the header that is ready for requests.
func (c *city) settle() {
	type kept struct {
		Token
		header string
	}
	before := heap()
	all := make([]*kept, c.sessions)
	for i := range all {
		t, err := c.token(i).normalize(time.Now())
		var data []byte
		if err == nil {
			data, err = record.First(record.Tokens(t), causeSignIn).Encode()
		}
		if err == nil {
			_, err = c.Save(c.tb.Context(), citizen(i), data, "")
		}
		if err != nil {
			c.tb.Fatal(err)
		}
	}
	c.before = heap()
	stored := c.before - before
	for i := range all {
		t := c.token(i)
		h := t.authorization()
		t.AccessToken = h[len("Bearer "):]
		all[i] = &kept{t, h}
	}
	c.tokens = heap() - before - stored
	runtime.KeepAlive(all)
}

func (c *city) token(i int) Token {
	return Token{
		AccessToken: fmt.Sprintf("%0600d", i), RefreshToken: fmt.Sprintf("%040d", i),
		TokenType: "Bearer", Expiry: time.Now().Add(maxLifetime),
	}
}

// measure is what a session takes beside its token and its record.
func (c *city) measure() float64 { return float64(heap()-c.before-c.tokens) / float64(c.sessions) }

// heap is what is in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Load implements storage.Store.
func (c *city) Load(ctx context.Context, key string) (storage.Item, error) {
	n := c.looks.Add(1)
	if n%50 == 0 {
		c.most.Store(max(c.most.Load(), int64(runtime.NumGoroutine())))
	}
	if n == c.until.Load() {
		close(*c.reached.Load())
	}
	return c.Store.Load(ctx, key)
}

// Acquire implements storage.Leaser: nothing is to be sent.
func (c *city) Acquire(context.Context, string, time.Duration) (storage.Lease, error) {
	return nil, errors.New("a renewal")
}

// checks lets time pass until n checks are due, waits for the last of them to
// look, and returns how many goroutines there were. Some checks may still have been
// to come from before, and look once for both: then more time has to pass.
func (c *city) checks(n int) (most int) {
	reached := make(chan struct{})
	c.reached.Store(&reached)
	c.until.Store(c.looks.Load() + int64(n))
	first, err := c.pool.Client(c.tb.Context(), citizen(0))
	if err != nil {
		c.tb.Fatal(err)
	}
	for pass := n + 2; ; pass = n/50 + 1 {
		c.clock.offset.Add(int64(24*time.Hour) / int64(c.sessions) * int64(pass))
		first.loop.poke() // to have the agenda look at the clock
		select {
		case <-reached:
			return int(c.most.Swap(0))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A jumpingClock is ahead of the machine's.
type jumpingClock struct {
	clock.Clock
	offset atomic.Int64
}

// Now implements Clock.
func (c *jumpingClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.offset.Load())) }
