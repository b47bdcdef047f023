package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"
)

const (
	recordKind = "record"
	leaseKind  = "lease"
)

// eval runs a script on the record or the lease of a session.
func (s *Store) eval(ctx context.Context, script, key, kind string, args ...any) (any, error) {
	return s.evalOr(ctx, func() {}, script, key, kind, args...)
}

// evalOr returns when ctx ends, which go-redis does not while it waits for an
// answer. The goroutine that still waits ends with the client's own timeouts,
// and calls late if nobody took what it brought.
func (s *Store) evalOr(ctx context.Context, late func(), script, key, kind string, args ...any) (any, error) {
	name, err := s.name(key, kind)
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	type answer struct {
		value any
		err   error
	}
	answered := make(chan answer) // unbuffered: taken, or late
	go func() {
		v, err := redis.NewScript(script).Run(ctx, s.client, []string{name}, args...).Result()
		select {
		case answered <- answer{v, err}:
		case <-ctx.Done():
			late()
		}
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
