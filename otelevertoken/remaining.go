package otelevertoken

import (
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken"
)

// A remaining knows from events when the newest token expires.
type remaining struct{ expiry atomic.Pointer[time.Time] }

// follow returns an OnEvent that takes note before it hands the event on.
func (r *remaining) follow(next func(evertoken.Event)) func(evertoken.Event) {
	return func(e evertoken.Event) {
		r.expiry.Store(&e.Expiry)
		if next != nil {
			next(e)
		}
	}
}

// at is how long the token still lives, if there is one of which that is known.
func (r *remaining) at(now time.Time) (left time.Duration, known bool) {
	expiry := r.expiry.Load()
	if expiry == nil || expiry.IsZero() {
		return 0, false
	}
	return expiry.Sub(now), true
}
