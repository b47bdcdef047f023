package storage

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"
)

// Memory keeps records for as long as the process lives. It is a [Leaser], so
// several clients of one process can share a session on it. Make one with
// [NewMemory].
type Memory struct {
	mu    sync.Mutex
	items map[string]Item
	slots map[string]*slot // of the keys that somebody leases, or waits for
	last  uint64           // the last version given to any key
}

// A slot is where the holder of one key's lease is, and who waits to be it. It
// goes with the last of them: a program may use any number of keys.
type slot struct {
	taken chan struct{} // holds one element while leased
	users int           // holder and waiters; Memory.mu guards it
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{items: make(map[string]Item), slots: make(map[string]*slot)}
}

var errNoKey = errors.New("storage: key is empty")

func usable(ctx context.Context, key string) error {
	if key == "" {
		return errNoKey
	}
	return context.Cause(ctx)
}

// Load implements [Store].
func (m *Memory) Load(ctx context.Context, key string) (Item, error) {
	if err := usable(ctx, key); err != nil {
		return Item{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	item, ok := m.items[key]
	if !ok {
		return Item{}, ErrNotFound
	}
	item.Data = bytes.Clone(item.Data)
	return item, nil
}

// Save implements [Store].
func (m *Memory) Save(ctx context.Context, key string, data []byte, prev Version) (Version, error) {
	if err := usable(ctx, key); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.items[key].Version != prev {
		return "", ErrConflict
	}
	m.last++
	v := Version(strconv.FormatUint(m.last, 10))
	m.items[key] = Item{Data: bytes.Clone(data), Version: v}
	return v, nil
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, key string, prev Version) error {
	if err := usable(ctx, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	item, ok := m.items[key]
	if ok && prev != "" && item.Version != prev {
		return ErrConflict
	}
	delete(m.items, key)
	return nil
}

// Acquire implements [Leaser]. The holder lives in this process, so the lease
// is kept until it is released; ttl is not used.
func (m *Memory) Acquire(ctx context.Context, key string, _ time.Duration) (Lease, error) {
	if err := usable(ctx, key); err != nil {
		return nil, err
	}
	s := m.enter(key)
	select {
	case s.taken <- struct{}{}:
		release := func() {
			<-s.taken
			m.leave(key, s)
		}
		return &memoryLease{release: sync.OnceFunc(release), ended: make(chan struct{})}, nil
	case <-ctx.Done():
		m.leave(key, s)
		return nil, context.Cause(ctx)
	}
}

func (m *Memory) enter(key string) *slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slots[key]
	if s == nil {
		s = &slot{taken: make(chan struct{}, 1)}
		m.slots[key] = s
	}
	s.users++
	return s
}

func (m *Memory) leave(key string, s *slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(m.slots, key)
	}
}

// A memoryLease occupies its slot until it is released.
type memoryLease struct {
	release func()
	ending  sync.Once
	ended   chan struct{}
}

var errReleased = errors.New("storage: lease was released")

func (l *memoryLease) Extend(context.Context) error {
	select {
	case <-l.ended:
		return errReleased
	default:
		return nil
	}
}

func (l *memoryLease) Release() {
	l.ending.Do(func() { close(l.ended) })
	l.release()
}

// Lasting says that the lease cannot lapse while its holder lives.
func (l *memoryLease) Lasting() bool { return true }
