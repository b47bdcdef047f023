package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A pool with a name for each login uses any number of keys: nothing is left of
// a lease once nobody holds it or waits for it.
func TestMemoryForgetsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for n := range 100 {
			lease, err := m.Acquire(t.Context(), fmt.Sprint(n), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			lease.Release()
			lease.Release() // the slot may be another holder's by now
		}
		if len(m.slots) != 0 {
			t.Errorf("%d slots are left of leases that were released", len(m.slots))
		}

		first, err := m.Acquire(t.Context(), "shared", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error)
		go func() {
			_, err := m.Acquire(ctx, "shared", time.Second)
			gaveUp <- err
		}()
		next := make(chan Lease)
		go func() {
			lease, err := m.Acquire(context.Background(), "shared", time.Second)
			if err != nil {
				t.Error(err)
			}
			next <- lease
		}()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("Acquire = %v after its context ended", err)
		}
		first.Release()
		second := <-next
		if len(m.slots) != 1 {
			t.Errorf("%d slots while a lease is held, want 1", len(m.slots))
		}
		second.Release()
		if len(m.slots) != 0 {
			t.Errorf("%d slots are left of a lease that others waited for", len(m.slots))
		}
	})
}
