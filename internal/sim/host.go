package sim

import (
	"maps"
	"sync"
	"time"
	"unsafe"

	"github.com/benbjohnson/clock"
)

// A host is what one process runs on: a clock that may be wrong, a processor
// that may stop, a power cord. It is an evertoken.Clock.
//
// Goroutines cannot be stopped from outside. So a frozen process stops where it
// meets the world: its clock stands still, its timers do not fire, and what it
// does with the store and the network waits in [host.pass].
type host struct {
	dead chan struct{} // closed when the process was killed
	real clock.Clock   // the bubble's

	mu     sync.Mutex
	offset time.Duration              // of the wall clock
	lost   time.Duration              // for how long the monotonic clock has stood still
	frozen *freeze                    // nil: it runs
	woke   time.Time                  // when it was frozen last, the end
	slept  time.Time                  // and the beginning, if its monotonic clock went on; zero: it did not
	dues   map[time.Duration]struct{} // when timers are to fire, some of them past
}

// A freeze is a time in which a process does not run. In a deep one the machine
// sleeps, and its monotonic clock stands still as well.
type freeze struct {
	since  time.Time
	deep   bool
	held   int // how many goroutines wait for its end
	thawed chan struct{}
}

func newHost(offset time.Duration) *host {
	return &host{dead: make(chan struct{}), real: clock.New(), offset: offset, dues: make(map[time.Duration]struct{})}
}

// Now implements evertoken.Clock.
func (h *host) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.nowLocked()
	return twoReadings(now.Add(h.offset), h.monotonicLocked(now))
}

// bubble is the true time, as far as the process has lived.
func (h *host) bubble() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.nowLocked()
}

// stoodStill says that the process has been frozen since t.
func (h *host) stoodStill(t time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.frozen != nil || h.woke.After(t)
}

// justWoke says that the process has woken less than d ago from a freeze that
// lasted from before t until late after, and that it could measure.
func (h *host) justWoke(d time.Duration, t time.Time, late time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.frozen == nil && !h.slept.IsZero() && h.slept.Before(t) && h.woke.After(t.Add(late)) && time.Since(h.woke) < d
}

// asleep is how much the monotonic clock has lost so far.
func (h *host) asleep() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

func (h *host) nowLocked() time.Time {
	if h.frozen != nil {
		return h.frozen.since
	}
	return time.Now()
}

// monotonicLocked is never zero, which would mean that there is no such reading.
func (h *host) monotonicLocked(now time.Time) time.Duration {
	return now.Sub(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)) - h.lost
}

func (h *host) monotonic() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.monotonicLocked(h.nowLocked())
}

// Timer implements evertoken.Clock. Like the operating system's, timers run on
// the monotonic clock. The inner timer can be stopped as any; its channel is the
// host's.
func (h *host) Timer(d time.Duration) *clock.Timer {
	now, due := h.appoint(d)
	fired := make(chan time.Time, 1)
	t := h.real.AfterFunc(due-now, func() {
		if h.reach(due) {
			fired <- h.Now()
		}
	})
	t.C = fired
	return t
}

// appoint returns the monotonic time, and when a timer of d is to fire: so far
// from all others that none of them meet. Who waits for two gets the one or the
// other by chance if both have fired, and that chance is not the seed's.
func (h *host) appoint(d time.Duration) (now, due time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now = h.monotonicLocked(h.nowLocked())
	maps.DeleteFunc(h.dues, func(due time.Duration, _ struct{}) bool { return due < now })
	due = now + d
	for taken := true; taken; due++ {
		_, taken = h.dues[due]
	}
	due--
	h.dues[due] = struct{}{}
	return now, due
}

// reach waits until the host runs and its monotonic clock has come to due. It is
// false if the process dies first.
func (h *host) reach(due time.Duration) bool {
	for h.pass() {
		rest := due - h.monotonic()
		if rest <= 0 {
			return true
		}
		select {
		case <-time.After(rest):
		case <-h.dead:
		}
	}
	return false
}

// pass holds a goroutine for as long as the process is frozen. It is false once
// the process is dead: then nothing it does may reach the world. Those that were
// held go on one after the other, in the order in which they came, for the order
// must not be the scheduler's.
func (h *host) pass() bool {
	for {
		thawed, place := h.queue()
		if thawed == nil {
			return !h.isDead()
		}
		select {
		case <-thawed:
			<-time.After(time.Duration(place) * time.Microsecond)
		case <-h.dead:
			return false
		}
	}
}

// queue returns what tells of the end of the present freeze, and the place of
// this goroutine among those who wait for it.
func (h *host) queue() (<-chan struct{}, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.frozen == nil {
		return nil, 0
	}
	h.frozen.held++
	return h.frozen.thawed, h.frozen.held
}

func (h *host) isDead() bool {
	select {
	case <-h.dead:
		return true
	default:
		return false
	}
}

// freeze stops the process for d; false if it has been stopped already.
func (h *host) freeze(d time.Duration, deep bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.frozen != nil {
		return false
	}
	h.frozen = &freeze{since: time.Now(), deep: deep, thawed: make(chan struct{})}
	time.AfterFunc(d, h.thaw)
	return true
}

func (h *host) isFrozen() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.frozen != nil
}

func (h *host) thaw() {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.frozen
	if f == nil {
		return
	}
	h.slept = f.since
	if f.deep {
		h.lost += time.Since(f.since)
		h.slept = time.Time{}
	}
	h.frozen, h.woke = nil, time.Now()
	close(f.thawed)
}

// set moves the wall clock.
func (h *host) set(offset time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offset = offset
}

// twoReadings makes a time whose wall clock and monotonic clock disagree, as
// they do after a machine slept. Package time has no way to make one, and none
// is needed outside of a simulation; TestHostClock proves that the layout holds.
func twoReadings(wall time.Time, monotonic time.Duration) time.Time {
	since1885 := wall.Unix() - time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	t := time.Time{}
	parts := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	const hasMonotonic = 1 << 63
	parts.wall = hasMonotonic | uint64(since1885)<<30 | uint64(wall.Nanosecond())
	parts.ext = int64(monotonic)
	return t
}
