package natsstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// errLapsed means that the lease is not the holder's any more.
var errLapsed = errors.New("natsstore: lease was released or has lapsed")

// releasing is how long Release tries. A lease that it could not release lapses.
const releasing = 2 * time.Second

// A claim is what the key of a lease holds.
type claim struct {
	Holder string        `json:"holder"` // random, one per lease; empty: it is free
	TTL    time.Duration `json:"ttl"`    // nanoseconds
}

// A sighting is a revision of somebody's lease, and since when it has not changed
// as far as this process knows.
type sighting struct {
	revision uint64
	since    time.Time // read on the monotonic clock only
}

// Acquire implements [storage.Leaser]. A holder proves that it lives by moving
// the revision on: a lease that has kept one for its time to live has lapsed.
// Whoever waits measures that time by itself from when it first saw the revision,
// so no clocks are compared, and nobody takes over early. Whoever comes later than
// others may therefore wait for a dead holder's lease a little longer than they.
func (s *Store) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	l := &lease{store: s, key: key, claim: claim{Holder: rand.Text(), TTL: ttl}}
	if err := storage.Poll(ctx, l.acquire); err != nil {
		return nil, err
	}
	return l, nil
}

// A lease is the key of the session's lease with the holder's claim in it.
type lease struct {
	store    *Store
	key      string
	claim    claim
	released atomic.Bool
}

// acquire tries once. What may have been written without the caller's knowing is
// given back: nobody would extend it or release it.
func (l *lease) acquire(ctx context.Context) (bool, error) {
	now, at, err := l.store.claimed(ctx, l.key)
	if err != nil {
		return false, fmt.Errorf("natsstore: lease: %w", err)
	}
	if now.Holder != "" && !l.store.lapsed(l.key, at, now.TTL) {
		return false, nil
	}
	err = l.write(ctx, l.claim, at)
	switch {
	case overtaken(err):
		return false, nil
	case err != nil:
		go l.Release()
		return false, fmt.Errorf("natsstore: lease: %w", err)
	}
	return true, nil
}

// claimed reads who holds the lease, and at which revision. What is no claim is
// nobody's.
func (s *Store) claimed(ctx context.Context, key string) (claim, uint64, error) {
	e, err := s.last(ctx, key, leaseKind)
	var c claim
	if e.live && json.Unmarshal(e.data, &c) != nil {
		c = claim{}
	}
	return c, e.revision, err
}

// lapsed says that a held lease has been at this revision for its time to live.
func (s *Store) lapsed(key string, at uint64, ttl time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if last, ok := s.seen[key]; ok && last.revision == at {
		return now.Sub(last.since) >= ttl
	}
	s.seen[key] = sighting{at, now}
	return false
}

// write puts a claim in place of the one at a revision.
func (l *lease) write(ctx context.Context, c claim, at uint64) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = l.store.put(ctx, l.key, leaseKind, data, at)
	return err
}

// replace writes a claim in place of the holder's own.
func (l *lease) replace(ctx context.Context, c claim) error {
	now, at, err := l.store.claimed(ctx, l.key)
	if err == nil && now.Holder != l.claim.Holder {
		return errLapsed
	}
	if err == nil {
		err = l.write(ctx, c, at)
	}
	switch {
	case overtaken(err):
		return errLapsed
	case err != nil:
		return fmt.Errorf("natsstore: extend: %w", err)
	}
	return nil
}

// Extend implements [storage.Lease].
func (l *lease) Extend(ctx context.Context) error {
	if l.released.Load() {
		return errLapsed
	}
	return l.replace(ctx, l.claim)
}

// Release implements [storage.Lease]. The key stays, and says that it is free.
func (l *lease) Release() {
	l.released.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), releasing)
	defer cancel()
	_ = l.replace(ctx, claim{}) // it lapses otherwise
}
