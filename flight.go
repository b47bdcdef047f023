package evertoken

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// leaseTTL bounds for how long a holder that died or froze keeps others from
// sending.
const leaseTTL = 15 * time.Second

// A right is the lease under which an exchange is made; nil where the store has
// none to give. The loop owns it; the guard reads confirmed from the exchange's
// goroutine, hence the lock.
type right struct {
	lease   storage.Lease
	ttl     time.Duration
	lasting bool // it cannot lapse while this process lives
	clock   Clock

	mu        sync.Mutex
	confirmed time.Time // with its monotonic reading
}

func newRight(l storage.Lease, ttl time.Duration, c Clock) *right {
	lasting, ok := l.(interface{ Lasting() bool })
	return &right{lease: l, ttl: ttl, lasting: ok && lasting.Lasting(), clock: c, confirmed: c.Now()}
}

// extend is the heartbeat. The lease counts from before the call: no reply can
// make it last longer than the store believes.
func (r *right) extend(ctx context.Context) error {
	asked := r.clock.Now()
	if err := r.lease.Extend(ctx); err != nil {
		return &storeError{"lease", err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed = asked
	return nil
}

// stale says that the right may be gone, by either clock: the monotonic one
// stands still while a machine sleeps, and the wall clock can be set.
func (r *right) stale() bool {
	if r == nil || r.lasting {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now, limit := r.clock.Now(), 2*r.ttl/3
	return now.Sub(r.confirmed) > limit || now.Round(0).Sub(r.confirmed.Round(0)) > limit
}

func (r *right) release() {
	if r != nil {
		r.lease.Release()
	}
}

// errGuard ends an exchange whose right to send was gone when it had a
// connection.
var errGuard = errors.New("evertoken: the right to send was lost before the request was written")

// A flight is one exchange under way. It knows, from the trace of net/http,
// whether the request can have been written, and stops it before if it must: a
// connection closed in GotConn carries nothing. stage and landing are guarded
// by mu, so that land and the trace agree on which came first.
type flight struct {
	cancel context.CancelCauseFunc
	right  *right

	mu      sync.Mutex
	stage   stage
	landing bool
	guarded bool // the guard gave up: nothing was sent
}

type stage int

const (
	unknown stage = iota // no word from net/http: the issuer may speak something else
	dialing              // a connection is being made; nothing is written
	written              // the request is, or is about to be, on the wire
)

func (f *flight) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.stage = max(f.stage, dialing)
			f.stopEarly()
		},
		GotConn: func(info httptrace.GotConnInfo) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.right.stale() {
				f.guarded = true
				f.cancel(errGuard)
			}
			if f.guarded || f.stopEarly() {
				_ = info.Conn.Close()
				return
			}
			f.stage = written
		},
	})
}

// stopEarly cancels a flight that is to land and has written nothing. With mu held.
func (f *flight) stopEarly() bool {
	if !f.landing || f.stage != dialing {
		return false
	}
	f.cancel(ErrClosed)
	return true
}

// land asks the exchange to end: at once if it is not written yet, else in its
// own time. An issuer that does not use net/http is given its time as well.
func (f *flight) land() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.landing = true
	f.stopEarly()
}

// exchange runs call in a goroutine that it waits for, extends the lease
// meanwhile, and gives up after d. Closing the client lets it land.
func (r *refresher) exchange(held *right, d time.Duration, call func(context.Context) (Token, error)) (Token, error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.ctx))
	defer cancel(nil)
	f := &flight{cancel: cancel, right: held}
	type result struct {
		token Token
		err   error
	}
	done := make(chan result, 1)
	go func() {
		t, err := call(f.trace(ctx))
		done <- result{t, err}
	}()
	deadline := r.clock.Timer(d)
	defer deadline.Stop()
	closing := r.ctx.Done()
	for {
		beat, stop := r.heartbeat(held)
		select {
		case res := <-done:
			stop()
			return res.token, f.explain(ctx, res.err)
		case <-deadline.C:
			cancel(context.DeadlineExceeded)
		case <-beat:
			// A failure shows in confirmed: the guard stops what is not yet sent.
			_ = r.within(ctx, storeTimeout, held.extend)
		case <-closing:
			closing = nil
			f.land()
		}
		stop()
	}
}

// heartbeat fires once when the lease is to be extended; never without one.
func (r *refresher) heartbeat(held *right) (<-chan time.Time, func()) {
	if held == nil {
		return nil, func() {}
	}
	t := r.clock.Timer(held.ttl / 3)
	return t.C, func() { t.Stop() }
}

// explain makes the proof that the flight holds part of the error.
func (f *flight) explain(ctx context.Context, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case f.guarded:
		return &RefreshError{Outcome: NotSent, Err: errGuard}
	case f.stage == dialing && errors.Is(context.Cause(ctx), ErrClosed):
		return &RefreshError{Outcome: NotSent, Err: ErrClosed}
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded):
		e := &RefreshError{Outcome: Ambiguous, Err: context.DeadlineExceeded}
		var known *RefreshError
		if errors.As(err, &known) && known.Outcome != Ambiguous {
			e.Outcome = known.Outcome
		}
		return e
	}
	return err
}
