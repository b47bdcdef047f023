package evertoken

import (
	"errors"
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
	Checked        Kind = "checked"         // a check found nothing to renew; not told of the sessions of a Pool
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

// A lease is who may send, as Status.Lease tells it.
type lease uint8

const (
	leaseNowhere   lease = iota
	leaseHere            // this client, which is sending or still has to save
	leaseElsewhere       // another process has an attempt open
)

func (l lease) String() string { return [...]string{"", "here", "elsewhere"}[l] }

// An Event is one thing that happened to a session. It holds no secret.
type Event struct {
	Session string // whose it is: Config.Session, or the name given to Pool.Client
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

// How many events are remembered: two hours of checks of a client of its own.
const (
	history     = 128
	poolHistory = 1024
)

// eventQueue bounds what a slow OnEvent callback can hold up. Status always
// tells the newest state, so an event that finds no room may be dropped.
const eventQueue = 64

// A board is where a client tells what it does: to Status, to the log and to the
// herald.
type board struct {
	*session

	mu      sync.Mutex
	state   State
	since   time.Duration // when state began, counted from common.began
	next    time.Duration // when the loop looks again, likewise; negative: never
	shown   *snapshot     // the newest session
	unsaved bool
	may     lease
	failed  int32 // attempts in a row
	err     error
	broken  error     // what the store failed at last; nil: it works
	last    *snapshot // the newest that was told of

	talk *talk // what the log has to tell besides; nil: all is well

	waiting atomic.Int32 // callers that wait for the loop
}

// A herald remembers the events of all sessions, and hands them to the OnEvent
// callback, in order. Its one goroutine is owned by close, and exists only if there
// is a callback.
type herald struct {
	mu     sync.Mutex
	most   int        // that are remembered
	past   []Event    // grows up to most and is a ring from then on
	oldest int        // where the ring begins
	events chan Event // nil without a callback, and after close
	done   chan struct{}
}

func newHerald(callback func(Event)) *herald {
	h := &herald{most: poolHistory, done: make(chan struct{})}
	if callback == nil {
		close(h.done)
		return h
	}
	events := make(chan Event, eventQueue)
	h.events = events
	go func() {
		defer close(h.done)
		for e := range events {
			callback(e)
		}
	}()
	return h
}

func (b *board) read() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.shown
	return Status{
		State: b.state, Since: b.began.Add(b.since), Expiry: k.life.expiry, LastRefresh: k.life.issued, Reason: k.Cause,
		Err: b.err, Failures: int(b.failed), PersistPending: b.unsaved, StoreErr: b.broken,
		Lease: b.may.String(), Waiting: int(b.waiting.Load()), NextCheck: b.nextCheck(),
	}
}

// nextCheck is zero if there is none.
func (b *board) nextCheck() time.Time {
	if b.next < 0 {
		return time.Time{}
	}
	return b.began.Add(b.next)
}

// enter begins a state, which has no end once the client is closed.
func (b *board) enter(state State) {
	if b.state != state && b.state != Closed {
		t := b.talking()
		t.leaving = t.leaving && state != SignedIn
		b.state, b.since = state, wall(b.clock).Sub(b.began)
	}
}

// lease tells who may send.
func (b *board) lease(who lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.may = who
}

// store tells what the store failed at; nil if it works.
func (b *board) store(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = err
}

// show tells how things stand with the newest session: whether it is saved, how
// many attempts have failed in a row, and what failed last.
func (b *board) show(k *snapshot, saved bool, failures int32, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Closed {
		return
	}
	alive := k.alive(wall(b.clock))
	b.shown, b.unsaved, b.failed, b.err = k, !saved, failures, err
	b.ails(troubleOf(k, alive, err))
	switch {
	case !k.exists(), k.Over && !alive:
		b.enter(SignedOut)
	case err != nil || !saved || k.Over || !alive:
		b.enter(Degraded)
	default:
		b.enter(SignedIn)
	}
}

// plan tells when the loop looks again; zero for never. With that all is known that
// a turn has brought.
func (b *board) plan(next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next = -1; !next.IsZero() && b.state != Closed {
		b.next = next.Sub(b.began)
	}
	b.remark()
}

// close tells that the client is closed.
func (b *board) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Closed {
		return
	}
	b.enter(Closed)
	b.next = -1
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
	if n.err != nil && !errors.Is(n.err, ErrSignedOut) {
		return "" // the record could not be read: that is no news of the session
	}
	b.last = n
	switch {
	case old.SID != "" && !n.exists(), n.Over && !old.Over:
		what.Kind = SessionEnded
	case n.exists() && n.SID != old.SID:
		what.Kind = SessionStarted
	case n.SID == old.SID && n.Gen > old.Gen && !old.asleep():
		what.Kind = Adopted
	default:
		return ""
	}
	what.Reason, what.Expiry = n.Cause, n.life.expiry
	b.tellLocked(what)
	return what.Kind
}

// know notes n as what is known already, or as news of our own making, of which
// its maker will tell.
func (b *board) know(n *snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = n
}

// sleep notes that the session has left memory. Its state remains, as far as it is
// known.
func (b *board) sleep(n *snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last, b.shown, b.next = n, n, -1
}

// tell logs an event and tells the herald.
func (b *board) tell(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tellLocked(e)
}

func (b *board) tellLocked(e Event) {
	e.Session, e.Time, e.Waiting = b.key, wall(b.clock), int(b.waiting.Load())
	b.write(e)
	b.herald.cry(e)
}

// cry keeps an event, and hands it to the callback's goroutine, never waiting.
func (h *herald) cry(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.past) < h.most {
		h.past = append(h.past, e)
	} else {
		h.past[h.oldest] = e
		h.oldest = (h.oldest + 1) % h.most
	}
	if h.events == nil {
		return
	}
	select {
	case h.events <- e:
	default:
	}
}

// history returns what was told, oldest first.
func (h *herald) history() []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Concat(h.past[h.oldest:], h.past[:h.oldest])
}

// close waits until the callback has seen every event. Nothing is told after it.
func (h *herald) close() {
	h.mu.Lock()
	if h.events != nil {
		close(h.events)
		h.events = nil
	}
	h.mu.Unlock()
	<-h.done
}

// wall is the time on the wall clock alone: a machine that slept has to see
// that tokens grew older, and the monotonic clock stands still meanwhile.
func wall(c Clock) time.Time { return c.Now().Round(0) }
