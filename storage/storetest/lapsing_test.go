package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// lapsing is a store whose leases end with their time to live, as those of a
// network store do.
type lapsing struct {
	*storage.Memory
	fault string
}

func (s lapsing) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	if s.fault == "one for all keys" {
		key = "k"
	}
	held, err := s.Memory.Acquire(ctx, key, ttl)
	if err != nil {
		return nil, err
	}
	return &lapsingLease{held: held, fault: s.fault, ttl: ttl, end: time.AfterFunc(ttl, held.Release)}, nil
}

type lapsingLease struct {
	held  storage.Lease
	fault string
	ttl   time.Duration
	end   *time.Timer
}

func (l *lapsingLease) Extend(context.Context) error {
	switch {
	case l.fault == "Extend does nothing":
		return nil
	case !l.end.Stop() && l.fault == "Extend revives":
		return nil
	case !l.end.Reset(l.ttl) && l.held.Extend(context.Background()) != nil:
		return errors.New("lapsed")
	}
	return nil
}

func (l *lapsingLease) Release() {
	if l.fault == "Release does nothing" {
		return
	}
	l.end.Stop()
	l.held.Release()
}

// Leases that lapse are checked in virtual time: an hour would cost nothing.
func TestLapsingLeases(t *testing.T) {
	for _, tt := range []struct{ fault, check, says string }{
		{"", "a lease lapses unless it lasts", ""},
		{"", "leases exclude each other", ""},
		{"", "a lease is released once", ""},
		{"", "a lease is of one key", ""},
		{"", "an ended context ends the wait for a lease", ""},
		{"Extend does nothing", "a lease lapses unless it lasts", "given to two"},
		{"Extend revives", "a lease lapses unless it lasts", "a lapsed lease was extended"},
		{"Release does nothing", "leases exclude each other", "as if it had lapsed"},
		{"one for all keys", "a lease is of one key", "Acquire of another key"},
	} {
		t.Run(tt.check+" "+tt.fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failed := run(t, tt.check, lapsing{storage.NewMemory(), tt.fault})
				if all := strings.Join(failed, "; "); !strings.Contains(all, tt.says) || (all == "") != (tt.says == "") {
					t.Fatalf("the check said %q, want %q", all, tt.says)
				}
			})
		})
	}
}
