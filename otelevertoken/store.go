package otelevertoken

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/evertoken/evertoken/storage"
)

// A store measures the steps of another.
type store struct {
	inner storage.Store
	t     *telemetry
}

// Load implements storage.Store.
func (s store) Load(ctx context.Context, key string) (item storage.Item, err error) {
	began := s.t.now()
	item, err = s.inner.Load(ctx, key)
	s.took(ctx, "load", began, err)
	return item, err
}

// Save implements storage.Store.
func (s store) Save(ctx context.Context, key string, data []byte, prev storage.Version) (v storage.Version, err error) {
	began := s.t.now()
	v, err = s.inner.Save(ctx, key, data, prev)
	s.took(ctx, "save", began, err)
	return v, err
}

// Delete implements storage.Store.
func (s store) Delete(ctx context.Context, key string, prev storage.Version) error {
	began := s.t.now()
	err := s.inner.Delete(ctx, key, prev)
	s.took(ctx, "delete", began, err)
	return err
}

func (s store) took(ctx context.Context, step string, began time.Time, err error) {
	attributes := append(errorType(err), attribute.String("evertoken.store.operation", step))
	s.t.stored.Record(ctx, s.t.now().Sub(began).Seconds(), s.t.with(attributes...))
}

// A leaser is a store that has leases. The lease itself is handed on as it is, so
// that it lasts if it did.
type leaser struct {
	store
	leases storage.Leaser
}

// Acquire implements storage.Leaser.
func (l leaser) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	began := l.t.now()
	lease, err := l.leases.Acquire(ctx, key, ttl)
	l.t.waited.Record(ctx, l.t.now().Sub(began).Seconds(), l.t.with(errorType(err)...))
	return lease, err
}

// errorType names the class of an error. A record that is not there, and one that
// somebody else wrote first, are answers as good as any.
func errorType(err error) []attribute.KeyValue {
	class := "_OTHER"
	switch {
	case err == nil, errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrConflict):
		return nil
	case errors.Is(err, storage.ErrCorrupt):
		class = "corrupt"
	case errors.Is(err, context.DeadlineExceeded):
		class = "timeout"
	case errors.Is(err, context.Canceled):
		class = "canceled"
	}
	return []attribute.KeyValue{attribute.String("error.type", class)}
}
