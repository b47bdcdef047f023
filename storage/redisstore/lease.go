package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// errLapsed means that the server does not know the lease any more.
var errLapsed = errors.New("redisstore: lease was released or has lapsed")

const (
	// An acquisition whose answer was lost is recognised when it is repeated.
	acquireScript = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

	extendScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`

	releaseScript = `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`
)

// releasing is how long Release tries. What it cannot tell a server in that time
// the server finds out by itself.
const releasing = 2 * time.Second

// Acquire implements [storage.Leaser]. The lease ends by the server's clock; who
// waits for it asks the server up to ten times a second.
func (s *Store) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	l := &lease{store: s, key: key, holder: rand.Text(), ttl: ttl}
	if err := storage.Poll(ctx, l.acquire); err != nil {
		return nil, err
	}
	return l, nil
}

// A lease is a key that holds the name of its holder.
type lease struct {
	store  *Store
	key    string
	holder string // random, one per lease
	ttl    time.Duration
}

// acquire tries once. What may have been granted without the caller's knowing is
// given back: nobody would extend it or release it.
func (l *lease) acquire(ctx context.Context) (bool, error) {
	done, err := l.store.evalOr(ctx, l.Release, acquireScript, l.key, leaseKind, l.holder, l.millis())
	if err != nil && ctx.Err() == nil {
		go l.Release()
	}
	err = outcome("lease", done, err, errLapsed)
	if errors.Is(err, errLapsed) {
		return false, nil // somebody else's
	}
	return err == nil, err
}

// millis is the ttl as the server counts: at least one.
func (l *lease) millis() int64 { return max(l.ttl.Milliseconds(), 1) }

// Extend implements [storage.Lease].
func (l *lease) Extend(ctx context.Context) error {
	done, err := l.store.eval(ctx, extendScript, l.key, leaseKind, l.holder, l.millis())
	return outcome("extend", done, err, errLapsed)
}

// Release implements [storage.Lease].
func (l *lease) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), releasing)
	defer cancel()
	_, _ = l.store.eval(ctx, releaseScript, l.key, leaseKind, l.holder) // it lapses otherwise
}
