package postgresstore

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// errLapsed means that the server does not know the lease any more.
var errLapsed = errors.New("postgresstore: lease was released or has lapsed")

// releasing is how long Release tries. What it cannot tell a server in that time
// the server finds out by itself.
const releasing = 2 * time.Second

// Acquire implements [storage.Leaser]. The lease ends by the server's clock; who
// waits for it asks the server up to ten times a second, and holds no connection
// meanwhile.
func (s *Store) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	l := &lease{store: s, key: key, holder: rand.Text(), ttl: ttl}
	if err := storage.Poll(ctx, l.acquire); err != nil {
		return nil, err
	}
	return l, nil
}

// A lease is a row that names its holder and when it ends.
type lease struct {
	store  *Store
	key    string
	holder string // random, one per lease
	ttl    time.Duration
}

// acquire tries once. What may have been granted without the caller's knowing is
// given back: nobody would extend it or release it.
func (l *lease) acquire(ctx context.Context) (bool, error) {
	held, err := l.store.ask(ctx, repeatable, l.store.sql.acquire, l.key, l.holder, l.ttl.Microseconds())
	switch {
	case overtaken(err):
		return false, nil
	case err != nil:
		go l.Release()
		return false, l.store.explain("lease", err)
	}
	return held, nil
}

// Extend implements [storage.Lease].
func (l *lease) Extend(ctx context.Context) error {
	held, err := l.store.ask(ctx, repeatable, l.store.sql.extend, l.key, l.holder, l.ttl.Microseconds())
	if err != nil {
		return l.store.explain("extend", err)
	}
	if !held {
		return errLapsed
	}
	return nil
}

// Release implements [storage.Lease].
func (l *lease) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), releasing)
	defer cancel()
	_, _ = l.store.ask(ctx, repeatable, l.store.sql.releaseLease, l.key, l.holder) // it lapses otherwise
}
