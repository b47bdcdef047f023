package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// A recorder is a tester that notes failures instead of failing.
type recorder struct {
	ctx    context.Context
	mu     sync.Mutex
	failed []string
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// broken is a store with one fault; the rest is right.
type broken struct {
	*storage.Memory
	load  func(item storage.Item) storage.Item
	save  func(ctx context.Context, m *storage.Memory, key string, data []byte, prev storage.Version) (storage.Version, error)
	lease func() (storage.Lease, error)
	gap   chan struct{} // Delete checks, lets one Save pass, and deletes
}

func (b *broken) Delete(ctx context.Context, key string, prev storage.Version) error {
	if b.gap == nil || prev == "" {
		return b.Memory.Delete(ctx, key, prev)
	}
	b.gap <- struct{}{}
	<-b.gap
	return b.Memory.Delete(ctx, key, "")
}

func (b *broken) Load(ctx context.Context, key string) (storage.Item, error) {
	item, err := b.Memory.Load(ctx, key)
	if b.load != nil && err == nil {
		item = b.load(item)
	}
	return item, err
}

func (b *broken) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	if b.gap != nil && prev != "" {
		<-b.gap
		defer func() { b.gap <- struct{}{} }()
	}
	if b.save != nil {
		return b.save(ctx, b.Memory, key, data, prev)
	}
	return b.Memory.Save(ctx, key, data, prev)
}

func (b *broken) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	if b.lease != nil {
		return b.lease()
	}
	return b.Memory.Acquire(ctx, key, ttl)
}

type freeLease struct{}

func (freeLease) Extend(context.Context) error { return nil }
func (freeLease) Release()                     {}

// lengthVersions gives the same version to records of the same length.
func lengthVersions(ctx context.Context, m *storage.Memory, key string, data []byte, _ storage.Version) (storage.Version, error) {
	item, err := m.Load(ctx, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	if _, err := m.Save(ctx, key, data, item.Version); err != nil {
		return "", err
	}
	return storage.Version(strconv.Itoa(len(data))), nil
}

// The suite is worth what it catches.
func TestBrokenStoresAreCaught(t *testing.T) {
	var shared []byte
	for name, tt := range map[string]struct {
		fault broken
		check string
	}{
		"ignores prev": {broken{save: func(ctx context.Context, m *storage.Memory, key string, data []byte, _ storage.Version) (storage.Version, error) {
			item, _ := m.Load(ctx, key)
			return m.Save(ctx, key, data, item.Version)
		}}, "a stale version is refused"},
		"loses updates": {broken{save: func(ctx context.Context, m *storage.Memory, key string, data []byte, _ storage.Version) (storage.Version, error) {
			item, _ := m.Load(ctx, key)
			return m.Save(ctx, key, data, item.Version)
		}}, "only one of many creates"},
		"reuses versions":      {broken{save: lengthVersions}, "versions are never used twice"},
		"deletes in two steps": {broken{gap: make(chan struct{})}, "a delete and a save do not both win"},
		"aliases slices": {broken{load: func(item storage.Item) storage.Item {
			if shared == nil {
				shared = item.Data
			}
			item.Data = shared
			return item
		}}, "slices are copied in and out"},
		"leases to everybody": {broken{lease: func() (storage.Lease, error) { return freeLease{}, nil }}, "leases exclude each other"},
		"truncates": {broken{load: func(item storage.Item) storage.Item {
			item.Data = item.Data[:min(len(item.Data), 1000)]
			return item
		}}, "a record comes back as it was saved"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.fault.Memory = storage.NewMemory()
			if failed := run(t, tt.check, &tt.fault); len(failed) == 0 {
				t.Fatalf("%q did not catch it", tt.check)
			}
			if failed := run(t, tt.check, storage.NewMemory()); len(failed) != 0 {
				t.Fatalf("%q complains of a sound store: %q", tt.check, failed)
			}
		})
	}
}

// run runs one check against s and returns what it found.
func run(t *testing.T, name string, s storage.Store) []string {
	t.Helper()
	return runOn(t, name, &bench{Store: s, open: func() storage.Store { return s }})
}

// runOn runs one check on b, in a goroutine that Fatalf can end.
func runOn(t *testing.T, name string, b *bench) []string {
	t.Helper()
	r := &recorder{ctx: t.Context()}
	b.t = r
	for _, c := range slices.Concat(checks, processChecks) {
		if c.name != name {
			continue
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.run(r, b)
		}()
		<-done
		return r.failed
	}
	t.Fatalf("there is no check %q", name)
	return nil
}
