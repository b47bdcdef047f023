package evertoken

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A State is what a client is, in one word.
type State string

// The states of a client.
const (
	SignedOut State = "signed out" // there is no session, or the issuer has ended it
	SignedIn  State = "signed in"  // all is well
	Degraded  State = "degraded"   // signed in, but the last attempt to renew or to save failed
	Closed    State = "closed"     // Close was called
)

// A Kind says what an [Event] tells.
type Kind string

// The kinds of events.
const (
	SessionStarted Kind = "session started" // by SignIn or Login here, or seen in the store
	SessionEnded   Kind = "session ended"   // by SignOut here or elsewhere, or by the issuer's verdict
	Renewed        Kind = "renewed"         // a new token, made here
	Adopted        Kind = "adopted"         // a newer token of this session, made by another process
	Failed         Kind = "failed"          // an attempt to renew, to sign in or to use the store
	Checked        Kind = "checked"         // a check found nothing to renew
)

// Why a renewal was made, as Event.Reason, Status.Reason and the stored record
// tell it.
const (
	causeDue     = "due"     // a check found less than the window left
	causeExpired = "expired" // a request or a check found it at its end
	causeRefused = "401"     // a server refused it
	causeAsked   = "asked"   // Client.Refresh
	causeSignIn  = "sign-in" // SignIn or Login
)

// A Status is what a client is doing, and why. It holds no secret.
type Status struct {
	State          State
	Since          time.Time // when State began
	Expiry         time.Time // of the access token; zero: none, or unknown
	NextCheck      time.Time // when the refresher looks again; zero: never
	LastRefresh    time.Time // when the newest token was obtained or adopted; zero: never
	Reason         string    // why: "due", "expired", "401", "asked" or "sign-in"
	Err            error     // what failed last; nil once it has succeeded
	Failures       int       // attempts that failed in a row
	PersistPending bool      // the newest token is not in the store yet
	StoreErr       error     // what the store failed at last; nil: it works
	Lease          string    // who may send: "here", "elsewhere" as far as the record tells, or "", nobody
	Waiting        int       // callers that wait for a token or a renewal now
}

// Who may send, as Status.Lease tells it.
const (
	leaseHere      = "here"      // this client, which is sending or still has to save
	leaseElsewhere = "elsewhere" // another process has an attempt open
)

// An Event is one thing that happened to a session. It holds no secret.
type Event struct {
	Time    time.Time
	Kind    Kind
	Reason  string    // why a renewal was made: see Status.Reason
	Outcome Outcome   // of a Failed attempt whose Err is a [*RefreshError]
	Err     error     // of Failed, and of SessionEnded by a verdict
	Expiry  time.Time // of the access token afterwards
	Next    time.Time // after Failed: when it is tried again; zero: with the next check

	// Took is how long the exchange with the issuer took that a Renewed, a Failed,
	// a SessionStarted by Login or a SessionEnded by a verdict tells of. Zero means
	// that nothing was sent.
	Took    time.Duration
	Waiting int // callers that waited for a token or a renewal then
}

// history is how many events a client remembers: two hours of checks.
const history = 128

// eventQueue bounds what a slow OnEvent callback can hold up. Status always
// tells the newest state, so an event that finds no room may be dropped.
const eventQueue = 64

// A board is where the client tells what it does: to Status, to the log and to
// the OnEvent callback. Its one goroutine, which runs the callback in order, is
// owned by close, and exists only if there is a callback.
type board struct {
	clock Clock
	log   *slog.Logger
	level slog.Level // the least that is logged

	mu     sync.Mutex
	status Status
	last   *snapshot  // the newest that was told of
	events chan Event // nil without a callback, and after close
	done   chan struct{}
	past   []Event // the last ones; grows up to history and is a ring from then on
	oldest int     // where the ring begins

	// For the log: what it has to tell, and what it has told.
	trouble  string   // what is wrong; see troubleOf
	named    []string // what it has warned of since all was well
	remarked State    // the last it told
	leaving  bool     // somebody signs out here

	waiting atomic.Int64 // callers that wait for the loop
}

func newBoard(cfg *Config, last *snapshot) *board {
	b := &board{clock: cfg.Clock, log: cfg.Logger, level: slog.LevelDebug, last: last, done: make(chan struct{})}
	if b.log == nil {
		b.log, b.level = slog.Default(), slog.LevelWarn
	}
	b.status = Status{State: SignedOut, Since: wall(b.clock)}
	if cfg.OnEvent == nil {
		close(b.done)
		return b
	}
	events := make(chan Event, eventQueue)
	b.events = events
	go func() {
		defer close(b.done)
		for e := range events {
			cfg.OnEvent(e)
		}
	}()
	return b
}

func (b *board) read() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Waiting = int(b.waiting.Load())
	return s
}

// history returns what was told, oldest first.
func (b *board) history() []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Concat(b.past[b.oldest:], b.past[:b.oldest])
}

// keepLocked has room for an event in any case.
func (b *board) keepLocked(e Event) {
	if len(b.past) < history {
		b.past = append(b.past, e)
		return
	}
	b.past[b.oldest] = e
	b.oldest = (b.oldest + 1) % history
}

// change sets the status, which stays as it is once the client is closed. Since
// moves with the state.
func (b *board) change(f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.status.State
	if before == Closed {
		return
	}
	f(&b.status)
	if b.status.State != before {
		b.status.Since = wall(b.clock)
	}
}

// show tells how things stand with the newest session: whether it is saved, how
// many attempts have failed in a row, and what failed last.
func (b *board) show(k *snapshot, saved bool, failures int, err error) {
	alive := k.alive(wall(b.clock))
	b.change(func(s *Status) {
		b.trouble = troubleOf(k, alive, err)
		s.Expiry, s.Reason, s.LastRefresh = k.life.expiry, k.Cause, k.life.issued
		s.Failures, s.PersistPending, s.Err = failures, !saved, err
		switch {
		case !k.exists(), k.Over && !alive:
			s.State = SignedOut
		case err != nil || !saved || k.Over || !alive:
			s.State = Degraded
		default:
			s.State = SignedIn
		}
	})
}

// lease tells who may send.
func (b *board) lease(who string) { b.change(func(s *Status) { s.Lease = who }) }

// store tells what the store failed at; nil if it works.
func (b *board) store(err error) { b.change(func(s *Status) { s.StoreErr = err }) }

// plan tells when the loop looks again. With that all is known that a round has
// brought.
func (b *board) plan(next time.Time) {
	b.change(func(s *Status) { s.NextCheck = next })
	b.remark()
}

// report tells what has become of the session since the last report: that it
// began, that it ended, or that another process made it a newer token. Whoever
// comes first with a piece of news tells it, and nobody tells it twice. what says
// more of it; the result is empty if there was nothing new.
func (b *board) report(n *snapshot, what Event) Kind {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.last
	b.last = n
	switch {
	case old.exists() && !n.exists(), n.Over && !old.Over:
		what.Kind = SessionEnded
	case n.exists() && n.SID != old.SID:
		what.Kind = SessionStarted
	case n.SID == old.SID && n.Gen > old.Gen:
		what.Kind = Adopted
	default:
		return ""
	}
	what.Reason, what.Expiry = n.Cause, n.life.expiry
	b.tellLocked(what)
	return what.Kind
}

// made notes that n is news of our own making, of which its maker will tell.
func (b *board) made(n *snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = n
}

// tell logs an event and hands it to the callback's goroutine, never waiting.
func (b *board) tell(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tellLocked(e)
}

func (b *board) tellLocked(e Event) {
	e.Time, e.Waiting = wall(b.clock), int(b.waiting.Load())
	b.keepLocked(e)
	b.write(e)
	if b.events == nil {
		return
	}
	select {
	case b.events <- e:
	default:
	}
}

// close waits until the callback has seen every event. Nothing is told after it.
func (b *board) close() {
	b.remark()
	b.mu.Lock()
	if b.events != nil {
		close(b.events)
		b.events = nil
	}
	b.mu.Unlock()
	<-b.done
}

// wall is the time on the wall clock alone: a machine that slept has to see
// that tokens grew older, and the monotonic clock stands still meanwhile.
func wall(c Clock) time.Time { return c.Now().Round(0) }
