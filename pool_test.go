package evertoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken/internal/record"
)

// A crowd is the far end of many sessions: their refresh tokens tell whose they
// are, and which in a row.
type crowd struct {
	clock    Clock
	lifetime time.Duration
	over     chan struct{}

	mu      sync.Mutex
	meets   func(ctx context.Context, session string) error // before each answer
	sent    []string                                        // the refresh tokens, in order
	revoked []string
	now     int // requests under way
	most    int // of them at once, so far
}

func (c *crowd) mint(session string, n int) Token {
	return Token{
		AccessToken:  fmt.Sprintf("access-%s-%d", session, n),
		RefreshToken: fmt.Sprintf("%s-%d", session, n),
		Expiry:       c.clock.Now().Add(c.lifetime),
	}
}

// request is what all requests to the issuer have in common.
func (c *crowd) request(ctx context.Context, session string) error {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	meets := c.meets
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now--
	}()
	if meets == nil {
		return nil
	}
	return meets(ctx, session)
}

func (c *crowd) Refresh(ctx context.Context, t Token) (Token, error) {
	session, number, _ := strings.Cut(t.RefreshToken, "-")
	c.mu.Lock()
	c.sent = append(c.sent, t.RefreshToken)
	c.mu.Unlock()
	if err := c.request(ctx, session); err != nil {
		return Token{}, err
	}
	n, err := strconv.Atoi(number)
	return c.mint(session, n+1), err
}

func (c *crowd) Revoke(ctx context.Context, t Token) error {
	session, _, _ := strings.Cut(t.RefreshToken, "-")
	c.mu.Lock()
	c.revoked = append(c.revoked, t.RefreshToken)
	c.mu.Unlock()
	return c.request(ctx, session)
}

func (c *crowd) revocations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.revoked)
}

func (c *crowd) Origins() []string { return []string{"https://api.example.com"} }

// meet has each request from now on met by f.
func (c *crowd) meet(f func(ctx context.Context, session string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meets = f
}

func (c *crowd) sentBy(session string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sent {
		if strings.HasPrefix(s, session+"-") {
			n++
		}
	}
	return n
}

func (c *crowd) atOnce() (now, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, c.most
}

// slow does not answer the sessions of these names before the end of the test.
func (c *crowd) slow(names ...string) func(context.Context, string) error {
	return func(ctx context.Context, session string) error {
		if !slices.Contains(names, session) {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-c.over:
		}
		return context.Cause(ctx)
	}
}

// A town is a pool in a bubble, whose own time it keeps.
type town struct {
	*world // its client is not used
	crowd  *crowd
	store  *hookedStore
	pool   *Pool
}

// A bubbleClock is the time of a bubble, so that it began at the epoch.
type bubbleClock struct{ clock.Clock }

func (c bubbleClock) Now() time.Time {
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // see package synctest
	return epoch.Add(c.Clock.Now().Sub(began))
}

// Add lets time go by.
func (c bubbleClock) Add(d time.Duration) { <-time.After(d) }

// Set lets it go by until t.
func (c bubbleClock) Set(t time.Time) { c.Add(t.Sub(c.Now())) }

// pass lets time go by.
func (w *town) pass(d time.Duration) {
	w.clock.Add(d)
	synctest.Wait()
}

// inTown runs f with a pool whose sessions have their first check a full interval
// after the start.
func inTown(t *testing.T, lifetime time.Duration, change func(*PoolConfig), f func(*testing.T, *town)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &town{world: &world{t: t, clock: bubbleClock{clock.New()}}, store: newHookedStore()}
		w.crowd = &crowd{clock: w.clock, lifetime: lifetime, over: make(chan struct{})}
		cfg := PoolConfig{Config: Config{Issuer: w.crowd, Clock: w.clock, Store: w.store, Logger: slog.New(slog.DiscardHandler)}}
		cfg.OnEvent = func(e Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		}
		if change != nil {
			change(&cfg)
		}
		if err := cfg.complete(); err != nil {
			t.Fatal(err)
		}
		w.pool = newPool(t.Context(), cfg, func() float64 { return w.draw })
		defer func() {
			close(w.crowd.over)
			if err := w.pool.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
		f(t, w)
	})
}

func (w *town) client(session string) *Client {
	w.t.Helper()
	c, err := w.pool.Client(w.t.Context(), session)
	if err != nil {
		w.t.Fatalf("Client(%q): %v", session, err)
	}
	return c
}

func (w *town) signIn(sessions ...string) {
	w.t.Helper()
	for _, s := range sessions {
		if err := w.client(s).SignIn(w.t.Context(), w.crowd.mint(s, 1)); err != nil {
			w.t.Fatalf("SignIn of %s: %v", s, err)
		}
	}
	synctest.Wait()
}

// has leaves a record as an earlier process has, whose token expires in left.
func (w *town) has(session string, left time.Duration) {
	w.t.Helper()
	t := w.crowd.mint(session, 1)
	t.IssuedAt, t.Expiry = w.clock.Now().Add(left-w.crowd.lifetime), w.clock.Now().Add(left)
	t, err := t.normalize(w.clock.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(session, record.First(record.Tokens(t), causeSignIn))
}

func (w *town) put(session string, r record.Record) {
	w.t.Helper()
	data, err := r.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	item, _ := w.store.Memory.Load(w.t.Context(), session)
	if _, err := w.store.Memory.Save(w.t.Context(), session, data, item.Version); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) stored(session string) (record.Record, error) {
	item, err := w.store.Memory.Load(w.t.Context(), session)
	if err != nil {
		return record.Record{}, err
	}
	return record.Decode(session, item.Data)
}

// want asks for a token as a request does, for a minute at most.
func (w *town) want(session, access string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if t, err := w.client(session).Token(ctx); err != nil || t.AccessToken != access {
		w.t.Errorf("Token of %s = %q, %v; want %q", session, t.AccessToken, err, access)
	}
}

// asking waits for a token in a goroutine.
func (w *town) asking(session string) <-chan error {
	got := make(chan error, 1)
	c := w.client(session)
	go func() { _, err := c.Token(w.t.Context()); got <- err }()
	synctest.Wait()
	return got
}

// blocked has each request to the issuer wait until it is told to proceed.
func (w *town) blocked() (proceed chan struct{}) {
	proceed = make(chan struct{})
	w.crowd.meet(func(context.Context, string) error { <-proceed; return nil })
	return proceed
}

// loads counts the looks at records from now on.
func (w *town) loads() *atomic.Int32 {
	var n atomic.Int32
	w.store.meet(func(_ context.Context, step, _ string) error {
		if step == "load" {
			n.Add(1)
		}
		return nil
	})
	return &n
}

// Each session is kept as one that is alone.
func TestPoolKeepsSessionsAlive(t *testing.T) {
	inTown(t, 10*time.Minute, nil, func(t *testing.T, w *town) {
		w.signIn("ann", "bob")
		w.pass(3 * time.Minute)
		w.signIn("cid")
		w.pass(57 * time.Minute)
		for session, n := range map[string]int{"ann": 10, "bob": 10, "cid": 9} {
			if got := w.crowd.sentBy(session); got != n {
				t.Errorf("%s was renewed %d times, want %d", session, got, n)
			}
			access := fmt.Sprintf("access-%s-%d", session, n+1)
			w.want(session, access)
			if r, err := w.stored(session); err != nil || r.Tokens.AccessToken != access {
				t.Errorf("stored for %s: %q, %v", session, r.Tokens.AccessToken, err)
			}
		}
		if got := w.count(Renewed); got != 29 {
			t.Errorf("%d events", got)
		}
		for _, e := range w.events {
			if got := w.client(e.Session).Status().Expiry; e.Expiry.After(got) {
				t.Errorf("%+v, but the token expires at %v", e, got)
			}
		}
	})
}

// One client serves a session, whoever asks for it, and its requests carry that
// session's token.
func TestOneClientPerSession(t *testing.T) {
	inTown(t, time.Hour, func(c *PoolConfig) {
		c.Base = roundTripFunc(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: r.Header, Body: http.NoBody}, nil
		})
	}, func(t *testing.T, w *town) {
		w.has("ann", time.Hour)
		w.has("bob", time.Hour)
		loads := w.loads()
		clients := make(chan *Client, 9)
		for range cap(clients) {
			go func() { clients <- w.client("ann") }()
		}
		ann := <-clients
		for range cap(clients) - 1 {
			if c := <-clients; c != ann {
				t.Error("another client for the same session")
			}
		}
		if loads.Load() != 1 {
			t.Errorf("the record was read %d times", loads.Load())
		}
		for session, c := range map[string]*Client{"ann": ann, "bob": w.client("bob")} {
			resp, err := c.HTTP().Get("https://api.example.com/")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if got := resp.Header.Get("Authorization"); got != "Bearer access-"+session+"-1" {
				t.Errorf("%s sends %q", session, got)
			}
		}
	})
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A pool that is started again with all its sessions spreads their first checks
// over the interval, and with them all others.
func TestFirstChecksSpread(t *testing.T) {
	const sessions = 600
	inTown(t, time.Hour, nil, func(t *testing.T, w *town) {
		for i := range sessions {
			w.has(strconv.Itoa(i), time.Hour)
		}
		for i := range sessions {
			w.draw = float64(i*7919%sessions) / sessions
			w.client(strconv.Itoa(i))
		}
		loads := w.loads()
		for second := range 180 {
			before := loads.Load()
			w.pass(time.Second)
			if n := loads.Load() - before; n != sessions/60 {
				t.Fatalf("second %d: %d looks, want %d", second, n, sessions/60)
			}
		}
	})
}

// However many tokens have expired, no more requests go to the issuer at once than
// it is to be given; nobody is forgotten, and who waits holds no goroutine.
func TestMaxExchanges(t *testing.T) {
	const sessions = 200
	inTown(t, time.Hour, func(c *PoolConfig) { c.MaxExchanges = 4 }, func(t *testing.T, w *town) {
		proceed := w.blocked()
		for i := range sessions {
			w.has(strconv.Itoa(i), -time.Minute)
		}
		before := runtime.NumGoroutine()
		for i := range sessions {
			w.client(strconv.Itoa(i)) // their first check is at once
		}
		w.pass(time.Second)
		if now, most := w.crowd.atOnce(); now != 4 || most != 4 {
			t.Errorf("%d requests are under way, up to %d at once", now, most)
		}
		if n := runtime.NumGoroutine() - before; n > 3*4 {
			t.Errorf("%d goroutines", n)
		}
		got := w.asking("0")
		close(proceed)
		w.pass(time.Second)
		if err := <-got; err != nil {
			t.Errorf("Token = %v", err)
		}
		for i := range sessions {
			w.want(strconv.Itoa(i), fmt.Sprintf("access-%d-2", i))
		}
		if _, most := w.crowd.atOnce(); most != 4 || len(w.crowd.sent) != sessions {
			t.Errorf("up to %d at once, %d in all", most, len(w.crowd.sent))
		}
	})
}

// Whose token ends first comes first; whose attempts fail comes after those whose
// do not.
func TestUrgency(t *testing.T) {
	inTown(t, time.Hour, func(c *PoolConfig) { c.MaxExchanges = 1 }, func(t *testing.T, w *town) {
		w.has("failing", -time.Minute)
		w.crowd.meet(func(context.Context, string) error {
			return &RefreshError{Outcome: Unavailable, RetryAfter: 90 * time.Second}
		})
		w.client("failing")
		w.pass(time.Second)
		proceed := w.blocked()
		w.has("first", -time.Minute)
		w.client("first")
		synctest.Wait()
		for _, left := range []int{4, 2, 3} {
			session := fmt.Sprintf("%dmin", left)
			w.has(session, time.Duration(left)*time.Minute)
			w.client(session)
		}
		w.pass(90 * time.Second)
		w.has("expired", -time.Minute)
		w.client("expired")
		synctest.Wait()
		close(proceed)
		w.pass(time.Second)
		if got, want := strings.Join(w.crowd.sent, " "), "failing-1 first-1 expired-1 2min-1 3min-1 4min-1 failing-1"; got != want {
			t.Errorf("sent %s\nwant %s", got, want)
		}
	})
}

// An issuer that does not answer for one session makes no other's token expire,
// and neither does a store that hangs at one record, or a Login that takes its
// minute.
func TestSlowSessionDelaysNoOther(t *testing.T) {
	inTown(t, 10*time.Minute, func(c *PoolConfig) {
		c.MaxExchanges = 3
		slow := c.Issuer.(*crowd).slow("login")
		c.Login = func(ctx context.Context, session string) (Token, error) {
			return Token{}, errors.Join(errDisk, slow(ctx, session))
		}
	}, func(t *testing.T, w *town) {
		w.crowd.meet(w.crowd.slow("slow"))
		w.signIn("slow", "hangs")
		w.store.meet(func(ctx context.Context, step, session string) error {
			if session == "hangs" {
				<-ctx.Done()
			}
			return context.Cause(ctx)
		})
		w.client("login")
		var healthy []string
		for i := range 20 {
			healthy = append(healthy, strconv.Itoa(i))
		}
		w.signIn(healthy...)
		for range 60 {
			w.pass(time.Minute)
			for _, s := range healthy {
				if !w.client(s).session.served.Load().alive(w.clock.Now()) {
					t.Fatalf("the token of %s has expired", s)
				}
			}
		}
		if w.crowd.sentBy("slow") == 0 || w.client("slow").Status().State != Degraded {
			t.Error("nothing was slow")
		}
	})
}

// Who waits for another process, or to try again, keeps nobody from the issuer.
func TestWaitBetweenAttemptsHoldsNoSlot(t *testing.T) {
	inTown(t, time.Hour, func(c *PoolConfig) { c.MaxExchanges = 1 }, func(t *testing.T, w *town) {
		w.has("ann", -time.Minute)
		r, err := w.stored("ann")
		if err != nil {
			t.Fatal(err)
		}
		w.put("ann", r.Announced("another process", causeDue, w.clock.Now()))
		ann := w.asking("ann") // looks again in 3 s
		w.has("bob", -time.Minute)
		w.want("bob", "access-bob-2")
		if w.crowd.sentBy("ann") != 0 {
			t.Error("it did not wait for the other process")
		}
		w.pass(4 * time.Second)
		if err := <-ann; err != nil || w.crowd.sentBy("ann") != 1 {
			t.Errorf("Token = %v", err)
		}
	})
}

// Who waits for its turn at the issuer goes on looking: a token that another
// process has made meanwhile is used, and spares the exchange.
func TestAdoptedWhileWaitingForASlot(t *testing.T) {
	inTown(t, time.Hour, func(c *PoolConfig) { c.MaxExchanges = 1 }, func(t *testing.T, w *town) {
		proceed := w.blocked()
		w.has("ann", -time.Minute)
		ann := w.asking("ann")
		w.has("bob", -time.Minute)
		bob := w.asking("bob")
		r, err := w.stored("bob")
		if err != nil {
			t.Fatal(err)
		}
		w.put("bob", renewedElsewhere(w.clock.Now(), time.Hour)(r))
		w.pass(time.Minute)
		if err := <-bob; err != nil {
			t.Errorf("Token of bob = %v", err)
		}
		w.want("bob", "elsewhere")
		close(proceed)
		if err := <-ann; err != nil {
			t.Errorf("Token of ann = %v", err)
		}
		w.pass(2 * time.Minute)
		if n := w.crowd.sentBy("bob"); n != 0 {
			t.Errorf("bob was renewed %d times", n)
		}
	})
}

// A check whose turn at the issuer comes later is not forgotten, and wishes that
// come meanwhile are fulfilled one after the other.
func TestCheckThatWaitsForASlot(t *testing.T) {
	for _, wished := range []bool{false, true} {
		checkThatWaits(t, wished)
	}
}

func checkThatWaits(t *testing.T, wished bool) {
	t.Helper()
	inTown(t, 10*time.Minute, func(c *PoolConfig) { c.MaxExchanges = 1 }, func(t *testing.T, w *town) {
		proceed := w.blocked()
		w.has("ann", -time.Minute)
		w.client("ann")
		w.signIn("bob")
		w.pass(6 * time.Minute) // bob is due; ann's attempt takes 60 s at least, and fails
		if n := w.crowd.sentBy("bob"); n != 0 {
			t.Fatalf("bob was renewed %d times", n)
		}
		refreshed := make(chan error, 1)
		if wished {
			go func() { refreshed <- w.client("bob").Refresh(t.Context()) }()
			synctest.Wait()
		}
		close(proceed)
		w.pass(time.Second) // no check is due before a minute has passed
		w.want("bob", "access-bob-2")
		if wished {
			if err := <-refreshed; err != nil {
				t.Errorf("Refresh = %v", err)
			}
		}
	})
}

// Revocations go to the issuer as well.
func TestSignOutsShareTheSlots(t *testing.T) {
	inTown(t, time.Hour, func(c *PoolConfig) { c.MaxExchanges = 2 }, func(t *testing.T, w *town) {
		names := []string{"a", "b", "c", "d", "e"}
		w.signIn(names...)
		proceed := w.blocked()
		var out sync.WaitGroup
		for _, s := range names {
			out.Go(func() {
				if err := w.client(s).SignOut(t.Context()); err != nil {
					t.Errorf("SignOut of %s: %v", s, err)
				}
			})
		}
		synctest.Wait()
		if now, _ := w.crowd.atOnce(); now != 2 {
			t.Errorf("%d at once", now)
		}
		close(proceed)
		out.Wait()
		if _, most := w.crowd.atOnce(); most != 2 || len(w.crowd.revocations()) != len(names) {
			t.Errorf("%d revoked, up to %d at once", len(w.crowd.revocations()), most)
		}
	})
}

// A revocation that found no turn in time is made by the checks, in their turn.
func TestRevocationThatWaitsForASlot(t *testing.T) {
	inTown(t, time.Hour, func(c *PoolConfig) { c.MaxExchanges = 1 }, func(t *testing.T, w *town) {
		w.signIn("ann")
		w.has("slow", -time.Minute)
		w.crowd.meet(w.crowd.slow("slow"))
		w.client("slow")
		synctest.Wait()
		out := make(chan error)
		go func() { out <- w.client("ann").SignOut(t.Context()) }()
		w.pass(11 * time.Second)
		if err := <-out; !errors.Is(err, context.DeadlineExceeded) || len(w.crowd.revocations()) != 0 {
			t.Errorf("SignOut = %v", err)
		}
		w.pass(2 * time.Minute)
		if _, most := w.crowd.atOnce(); most != 1 {
			t.Errorf("%d at once", most)
		}
		if got := strings.Join(w.crowd.revocations(), " "); got != "ann-1" {
			t.Errorf("revoked %q", got)
		}
		if n := w.count(SessionEnded); n != 1 {
			t.Errorf("%d sessions ended", n)
		}
	})
}

// A pool tells of its sessions and of what happened to them; a client of what
// happened to its own.
func TestPoolTells(t *testing.T) {
	inTown(t, time.Hour, nil, func(t *testing.T, w *town) {
		alice, bob := w.client("alice"), w.client("bob")
		w.signIn("alice", "bob")
		w.crowd.meet(func(context.Context, string) error { return &RefreshError{Outcome: Rejected} })
		if err := bob.Refresh(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("of a session that was revoked: %v", err)
		}
		w.pass(time.Second)
		got := maps.Collect(w.pool.Sessions())
		if len(got) != 2 || got["alice"].State != SignedIn || got["alice"] != alice.Status() || got["bob"].Err == nil {
			t.Errorf("sessions: %v", got)
		}
		for range w.pool.Sessions() {
			break
		}
		var told []string
		for _, e := range w.pool.Events() {
			told = append(told, e.Session+" "+string(e.Kind))
		}
		if want := []string{"alice session started", "bob session started", "bob session ended"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		if got := alice.Events(); len(got) != 1 || got[0].Session != "alice" {
			t.Errorf("alice has %v", got)
		}
		if got := bob.Events(); len(got) != 2 || got[1].Outcome != Rejected {
			t.Errorf("bob has %v", got)
		}
	})
}

// To look at a session is not to use it.
func TestLookingIsNotUsing(t *testing.T) {
	inTown(t, time.Hour, func(c *PoolConfig) { c.IdleAfter = 3 * time.Minute }, func(t *testing.T, w *town) {
		w.signIn("alice")
		for range 6 {
			w.pass(time.Minute)
			for range w.pool.Sessions() {
			}
		}
		for name, s := range w.pool.Sessions() {
			if !s.NextCheck.IsZero() {
				t.Errorf("%s is kept awake: %+v", name, s)
			}
		}
	})
}
