// Package flight runs one exchange with an issuer: bounded in time, stopped
// before it is written if the right to send is gone, and never after.
package flight

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/benbjohnson/clock"
)

// A Clock tells the time and makes timers.
type Clock interface {
	Now() time.Time
	Timer(d time.Duration) *clock.Timer
}

var (
	// ErrGuard is proof that nothing was sent: when there was a connection the
	// right to send was gone.
	ErrGuard = errors.New("the right to send was lost before the request was written")

	// ErrClosing is proof that nothing was sent: the client was closed first.
	ErrClosing = errors.New("closed before the request was written")
)

// A Plan is how an exchange is to be made.
type Plan struct {
	Clock    Clock
	Right    *Right          // nil: none is needed
	Patience time.Duration   // from when the request is written, or from the start if nobody can tell
	Closing  <-chan struct{} // when closed, what is not yet written is cancelled
}

// overslept is how late a deadline may fire before it is taken for that of a
// process that did not run. Such a process has not been listening: what arrived
// meanwhile waits to be read, and gets this long.
const overslept = 5 * time.Second

// Run makes one exchange in a goroutine that it waits for, and extends the right
// meanwhile. call has to return soon after its context ends. The error wraps
// [ErrGuard] or [ErrClosing] where these are proven, and
// [context.DeadlineExceeded] beside call's own where patience has ended.
func Run[T any](ctx context.Context, p Plan, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &flight{cancel: cancel, plan: p, due: p.Clock.Now().Add(p.Patience)}
	var result T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done) // happens after result and err are set
		result, err = call(f.trace(ctx))
	}()
	f.watch(ctx, done)
	return result, f.explain(ctx, err)
}

// watch waits for the end of the exchange.
func (f *flight) watch(ctx context.Context, done <-chan struct{}) {
	c, right, closing := f.plan.Clock, f.plan.Right, f.plan.Closing
	deadline, beat := newAlarm(c, f.plan.Patience), newAlarm(c, right.Beat())
	defer func() {
		deadline.stop()
		beat.stop()
	}()
	for {
		select {
		case <-done:
			return
		case <-deadline.C:
			if rest := f.rest(deadline); rest > 0 {
				deadline = newAlarm(c, rest)
			} else if !closed(done) {
				f.cancel(context.DeadlineExceeded)
			}
		case <-beat.C:
			// A failure shows in the right: the guard stops what is not yet sent.
			_ = Within(ctx, c, right.Beat(), right.Extend)
			beat = newAlarm(c, right.Beat())
		case <-closing:
			closing = nil
			f.land()
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// rest is how long to go on although a deadline has come: the request may have
// been written since it was set, or the process may have slept over it.
func (f *flight) rest(deadline alarm) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.plan.Clock.Now()
	rest := f.due.Sub(now)
	if now.Sub(deadline.due) > overslept {
		rest = max(rest, overslept)
	}
	return rest
}

// An alarm is a timer that knows when it was to fire; one of zero never does.
type alarm struct {
	C    <-chan time.Time
	due  time.Time
	stop func() bool
}

func newAlarm(c Clock, d time.Duration) alarm {
	if d <= 0 {
		return alarm{stop: func() bool { return false }}
	}
	t := c.Timer(d)
	return alarm{t.C, c.Now().Add(d), t.Stop}
}

// Within runs one step, bounded by d on c. Its goroutine ends before it returns.
func Within(ctx context.Context, c Clock, d time.Duration, step func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := c.Timer(d)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-timer.C:
			cancel(context.DeadlineExceeded)
		case <-ctx.Done():
		}
	}()
	err := step(ctx)
	cancel(nil)
	<-ended
	timer.Stop()
	return err
}

// A flight knows, from the trace of net/http, whether the request can have been
// written, and stops it before if it must: a connection closed in GotConn
// carries nothing. mu guards the rest, so that land and the trace agree on which
// came first.
type flight struct {
	cancel context.CancelCauseFunc
	plan   Plan

	mu      sync.Mutex
	stage   stage
	landing bool
	due     time.Time // when patience ends
}

type stage int

const (
	unknown stage = iota // no word from net/http: the issuer may speak something else
	dialing              // a connection is being made; nothing is written
	stopped              // nothing was, and nothing will be
	written              // the request is, or is about to be, on the wire
)

func (f *flight) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.stage = max(f.stage, dialing)
			f.stopEarly(false)
		},
		GotConn: func(info httptrace.GotConnInfo) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.stopEarly(f.plan.Right.stale())
			if f.stage == stopped {
				_ = info.Conn.Close()
				return
			}
			f.stage, f.due = written, f.plan.Clock.Now().Add(f.plan.Patience)
		},
	})
}

// stopEarly stops a flight that has written nothing, if it has to. With mu held.
func (f *flight) stopEarly(stale bool) {
	switch {
	case f.stage != dialing:
	case f.landing:
		f.stage = stopped
		f.cancel(ErrClosing)
	case stale:
		f.stage = stopped
		f.cancel(ErrGuard)
	}
}

// land asks the exchange to end: at once if it is not written yet, else in its
// own time. An issuer that does not use net/http is given its time as well.
func (f *flight) land() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.landing = true
	f.stopEarly(false)
}

// explain makes what the flight knows part of the error.
func (f *flight) explain(ctx context.Context, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	cause := context.Cause(ctx)
	switch {
	case err == nil || cause == nil:
		return err
	case f.stage == stopped:
		return cause
	case !errors.Is(err, cause):
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
