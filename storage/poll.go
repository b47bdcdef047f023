package storage

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstPoll = 10 * time.Millisecond
	lastPoll  = 200 * time.Millisecond
)

// Poll is the waiting of a [Leaser] whose backend can only try: it calls try
// until that returns true or an error, or ctx ends. The tries are 10 ms apart at
// first and 200 ms later on, less a random part, so that those who wait for one
// lease do not ask at the same moments.
func Poll(ctx context.Context, try func(context.Context) (bool, error)) error {
	for wait := firstPoll; ; wait = min(2*wait, lastPoll) {
		if held, err := try(ctx); held || err != nil {
			return err
		}
		pause := time.NewTimer(wait/2 + rand.N(wait/2)) //nolint:gosec // spreads load, guards nothing
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}
