package flight

import (
	"context"
	"sync"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// A Right is a lease that is held: the right to send. A nil Right is that of a
// store which has none to give; it never lapses. Its owner extends and releases
// it; the guard of an exchange reads it from other goroutines, hence the lock.
type Right struct {
	lease   storage.Lease
	ttl     time.Duration
	lasting bool
	clock   Clock

	mu        sync.Mutex
	confirmed time.Time // with its monotonic reading; zero: not yet
}

// Hold takes over a lease that was just acquired. When that was nobody knows: the
// store may have let its caller wait, and the process may have been frozen since.
// So the right counts as stale until it is extended.
func Hold(l storage.Lease, ttl time.Duration, c Clock) *Right {
	lasting, ok := l.(interface{ Lasting() bool })
	return &Right{lease: l, ttl: ttl, lasting: ok && lasting.Lasting(), clock: c}
}

// Beat is how often the right is to be extended; zero for a nil Right.
func (r *Right) Beat() time.Duration {
	if r == nil {
		return 0
	}
	return r.ttl / 3
}

// Lasting says that the right cannot lapse while this process lives.
func (r *Right) Lasting() bool { return r != nil && r.lasting }

// Extend holds the right for another ttl. It counts from before the call: no
// reply can make it last longer than the store believes.
func (r *Right) Extend(ctx context.Context) error {
	asked := r.clock.Now()
	if err := r.lease.Extend(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed = asked
	return nil
}

// stale says that the right may be gone, by either clock: the monotonic one
// stands still while a machine sleeps, and the wall clock can be set.
func (r *Right) stale() bool {
	if r == nil || r.lasting {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now, limit := r.clock.Now(), 2*r.ttl/3
	return r.confirmed.IsZero() || now.Sub(r.confirmed) > limit || now.Round(0).Sub(r.confirmed.Round(0)) > limit
}

// Release ends the right. A nil Right has nothing to release.
func (r *Right) Release() {
	if r != nil {
		r.lease.Release()
	}
}
