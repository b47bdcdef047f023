package evertoken

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// A hookedStore has each of its steps met by a function, which may fail it, hold
// it up, or do what another process would at that moment. The steps are "load",
// "save", "delete" and "lease"; "loaded" and "saved" come when it is done.
type hookedStore struct {
	*storage.Memory
	mu  sync.Mutex
	hit func(ctx context.Context, step, key string) error
}

func newHookedStore() *hookedStore { return &hookedStore{Memory: storage.NewMemory()} }

// meet has every step from now on met by f; nil meets none.
func (s *hookedStore) meet(f func(ctx context.Context, step, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hit = f
}

// breaks fails the named steps from now on.
func (s *hookedStore) breaks(steps ...string) {
	s.meet(func(_ context.Context, step, _ string) error {
		for _, broken := range steps {
			if step == broken {
				return errDisk
			}
		}
		return nil
	})
}

// once has the next step of that name met by f, and nothing after it.
func (s *hookedStore) once(name string, f func(ctx context.Context) error) {
	s.meet(func(ctx context.Context, step, _ string) error {
		if step != name {
			return nil
		}
		s.meet(nil)
		return f(ctx)
	})
}

func (s *hookedStore) at(ctx context.Context, step, key string) error {
	s.mu.Lock()
	hit := s.hit
	s.mu.Unlock()
	if hit == nil {
		return nil
	}
	return hit(ctx, step, key)
}

func (s *hookedStore) Load(ctx context.Context, key string) (storage.Item, error) {
	if err := s.at(ctx, "load", key); err != nil {
		return storage.Item{}, err
	}
	item, err := s.Memory.Load(ctx, key)
	if err == nil {
		err = s.at(ctx, "loaded", key)
	}
	return item, err
}

func (s *hookedStore) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	if err := s.at(ctx, "save", key); err != nil {
		return "", err
	}
	v, err := s.Memory.Save(ctx, key, data, prev)
	if err == nil {
		err = s.at(ctx, "saved", key)
	}
	return v, err
}

func (s *hookedStore) Delete(ctx context.Context, key string, prev storage.Version) error {
	if err := s.at(ctx, "delete", key); err != nil {
		return err
	}
	return s.Memory.Delete(ctx, key, prev)
}

func (s *hookedStore) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	if err := s.at(ctx, "lease", key); err != nil {
		return nil, err
	}
	return s.Memory.Acquire(ctx, key, ttl)
}

// A lapsingStore gives leases that last only while they are extended.
type lapsingStore struct {
	*hookedStore
	ttl      atomic.Int64 // of the last lease
	extended atomic.Int32
}

func newLapsingStore() *lapsingStore { return &lapsingStore{hookedStore: newHookedStore()} }

func (s *lapsingStore) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	s.ttl.Store(int64(ttl))
	lease, err := s.hookedStore.Acquire(ctx, key, ttl)
	return lapsingLease{lease, s}, err
}

type lapsingLease struct {
	storage.Lease
	store *lapsingStore
}

func (l lapsingLease) Extend(ctx context.Context) error {
	if err := l.store.at(ctx, "extend", ""); err != nil {
		return err
	}
	l.store.extended.Add(1)
	return l.Lease.Extend(ctx)
}

// An unsharedStore has no leases to give.
type unsharedStore struct{ storage.Store }

// change rewrites the stored record as another process would.
func (w *world) change(f func(record.Record) record.Record) { w.leave(f(w.stored())) }

// renewedElsewhere carries a record on as another process that renewed it at the
// given instant of its own clock.
func renewedElsewhere(at time.Time, lifetime time.Duration) func(record.Record) record.Record {
	return func(r record.Record) record.Record {
		return r.Next(record.Tokens{AccessToken: "elsewhere", TokenType: "Bearer", RefreshToken: "refresh-elsewhere", IssuedAt: at, Expiry: at.Add(lifetime)}, causeDue)
	}
}

// signedInElsewhere is the record of a sign-in by another process.
func signedInElsewhere(at time.Time, lifetime time.Duration) record.Record {
	return record.First(record.Tokens{AccessToken: "another", TokenType: "Bearer", RefreshToken: "refresh-another", IssuedAt: at, Expiry: at.Add(lifetime)}, causeSignIn)
}

// absent says that the store holds no record.
func (w *world) absent() bool {
	_, err := w.store.Load(w.t.Context(), "default")
	return errors.Is(err, storage.ErrNotFound)
}
