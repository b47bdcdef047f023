package sim

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// What a store is made of decides what its leases are worth.
type storeKind string

const (
	leases storeKind = "leases" // lapse, as those of a server do
	locks  storeKind = "locks"  // last for as long as the holder lives, as a kernel's do
	plain  storeKind = "plain"  // there are none: a store for one process
)

// A store is what all processes share. It keeps the contract of package storage
// whatever goes wrong: an operation that failed may have been done, but a
// version never comes back and a record is whole.
type store struct {
	w    *world
	kind storeKind

	mu      sync.Mutex
	items   map[string]storage.Item
	old     []storage.Item // earlier states of the session, to roll back to
	last    uint64         // the last version
	lease   *lease         // nil: free
	down    map[fault]time.Time
	severed map[string]time.Time // the processes that cannot reach it
}

func newStore(w *world, kind storeKind) *store {
	return &store{w: w, kind: kind, items: make(map[string]storage.Item), down: make(map[fault]time.Time), severed: make(map[string]time.Time)}
}

// open returns the store as one process reaches it.
func (s *store) open(p *process) storage.Store {
	v := &view{s, p}
	if s.kind == plain {
		return v
	}
	return leasing{v}
}

// fail starts a failure of the whole store.
func (s *store) fail(f fault, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[f] = time.Now().Add(d)
}

// sever cuts a process off.
func (s *store) sever(slot string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.severed[slot] = time.Now().Add(d)
}

// heal ends all failures.
func (s *store) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.down)
	clear(s.severed)
}

// rollBack brings an earlier state of the session back, as a restored backup
// does; false if there is none.
func (s *store) rollBack() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.old) == 0 {
		return false
	}
	item := s.old[s.w.dice.below(len(s.old))]
	s.last++
	item.Version = version(s.last)
	s.items[sessionKey] = item
	s.w.check.rolledBack(item.Data)
	return true
}

// left drops what the operating system drops with a process: its locks. A lease
// of a server lapses in its own time.
func (s *store) left(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease != nil && s.lease.p == p && s.kind == locks {
		s.lease = nil
	}
}

// record returns what is stored now.
func (s *store) record() ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item, ok := s.items[sessionKey]
	return item.Data, ok
}

// holder is who has the lease at this moment, or nil.
func (s *store) holder() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == nil || !s.lease.valid() {
		return nil
	}
	return s.lease.p
}

func version(n uint64) storage.Version { return storage.Version(strconv.FormatUint(n, 10)) }

var (
	errStore   = errors.New("sim: store cannot be reached")
	errUnknown = errors.New("sim: store closed the connection")
	errLease   = errors.New("sim: lease is gone")
)

// ill says why no operation of this kind succeeds now.
func (s *store) ill(p *process, op fault) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case now.Before(s.down[storeDown]), now.Before(s.severed[p.slot]):
		return errStore
	case op == saveFails && now.Before(s.down[storeFull]):
		return syscall.ENOSPC
	}
	return nil
}

// A view is the store as one process reaches it.
type view struct {
	s *store
	p *process
}

// do makes one operation. It takes its time, it may fail before or after its
// effect, and the process may be killed or frozen on either side of it. failing
// is the fault that keeps the effect from happening, d the chance of it all.
func (v *view) do(ctx context.Context, d *dice, name string, failing fault, weight float64, effect func() error) (err error) {
	w, p := v.s.w, v.p
	defer func() {
		if err != nil && failing == saveFails && !errors.Is(err, storage.ErrConflict) {
			w.check.failedToSave(p)
		}
	}()
	if !p.step(d, "before "+name, weight) {
		return errStore
	}
	delay := d.between(100*time.Microsecond, 5*time.Millisecond)
	if w.strikes(d, storeSlow, p.slot, weight) {
		delay = storeSlow.lasts(d)
	}
	if err := p.wait(ctx, delay); err != nil {
		return err
	}
	if err := v.s.ill(p, failing); err != nil {
		return err
	}
	if w.strikes(d, failing, p.slot, weight) {
		return errStore
	}
	err = effect()
	if err == nil && failing == saveFails && w.strikes(d, saveUnknown, p.slot, weight) {
		err = errUnknown
	}
	if !p.step(d, "after "+name, weight) {
		return errStore
	}
	if failed := p.wait(ctx, d.between(100*time.Microsecond, 5*time.Millisecond)); failed != nil {
		return failed
	}
	return err
}

// reading is how much rarer faults are at a read: there is one each check, and
// a hundred times fewer renewals.
const reading = 0.02

// Load implements storage.Store.
func (v *view) Load(ctx context.Context, key string) (item storage.Item, err error) {
	err = v.do(ctx, v.p.data, "load", unreadable, reading, func() error {
		v.s.mu.Lock()
		defer v.s.mu.Unlock()
		var ok bool
		item, ok = v.s.items[key]
		if key == sessionKey {
			v.s.w.check.looked(v.p, ok)
		}
		if !ok {
			return storage.ErrNotFound
		}
		item.Data = bytes.Clone(item.Data)
		return nil
	})
	return item, err
}

// Save implements storage.Store.
func (v *view) Save(ctx context.Context, key string, data []byte, prev storage.Version) (saved storage.Version, err error) {
	err = v.do(ctx, v.p.data, "save", saveFails, 1, func() error {
		v.s.mu.Lock()
		defer v.s.mu.Unlock()
		before := v.s.items[key]
		if before.Version != prev {
			return storage.ErrConflict
		}
		v.s.last++
		saved = version(v.s.last)
		v.s.items[key] = storage.Item{Data: bytes.Clone(data), Version: saved}
		if key == sessionKey {
			v.s.old = append(v.s.old, v.s.items[key])
			v.s.old = v.s.old[max(0, len(v.s.old)-10):]
			v.s.w.check.saved(v.p, before.Data, data)
		}
		return nil
	})
	return saved, err
}

// Delete implements storage.Store.
func (v *view) Delete(ctx context.Context, key string, prev storage.Version) error {
	return v.do(ctx, v.p.data, "delete", saveFails, 1, func() error {
		v.s.mu.Lock()
		defer v.s.mu.Unlock()
		item, ok := v.s.items[key]
		if ok && prev != "" && item.Version != prev {
			return storage.ErrConflict
		}
		delete(v.s.items, key)
		if ok && key == sessionKey {
			v.s.w.check.deleted(v.p, item.Data)
		}
		return nil
	})
}

// leasing is a view of a store that has leases.
type leasing struct{ *view }

// Acquire implements storage.Leaser. As with most servers, who waits asks again
// and again.
func (v leasing) Acquire(ctx context.Context, _ string, ttl time.Duration) (storage.Lease, error) {
	l := &lease{v: v.view, p: v.p, ttl: ttl}
	for weight := 1.0; ; weight = reading { // who waits asks often
		err := v.do(ctx, v.p.right, "acquire", leaseFails, weight, l.take)
		if err == nil {
			return v.s.give(l), nil
		}
		if !errors.Is(err, errTaken) {
			v.s.left(v.p) // a lock that was taken and could not be told of is closed again
			return nil, err
		}
		if err := v.p.wait(ctx, v.p.right.between(100*time.Millisecond, 2*time.Second)); err != nil {
			return nil, err
		}
	}
}

// give hands a lease that was taken to its holder.
func (s *store) give(l *lease) storage.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.given = true
	if s.kind == locks {
		return lasting{l}
	}
	return l
}

// kept says that a process has a lease and knows it.
func (s *store) kept(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease != nil && s.lease.valid() && s.lease.p == p && s.lease.given
}

var errTaken = errors.New("sim: somebody else has the lease")

// A lease is the right to send. store.mu guards it.
type lease struct {
	v     *view
	p     *process
	ttl   time.Duration
	since time.Time
	until time.Time
	given bool // the process was told that it has it
}

func (l *lease) valid() bool { return l.v.s.kind == locks || time.Now().Before(l.until) }

func (l *lease) take() error {
	s := l.v.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease != nil && s.lease.valid() {
		return errTaken
	}
	s.lease, l.since, l.until = l, time.Now(), time.Now().Add(l.ttl)
	s.w.check.leased(l.p, l)
	return nil
}

// Extend implements storage.Lease.
func (l *lease) Extend(ctx context.Context) error {
	l.v.s.w.check.extends(l)
	return l.v.do(ctx, l.p.right, "extend", leaseFails, 1, func() error {
		s := l.v.s
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lease == l && s.kind == leases && s.w.strikes(l.p.right, leaseLost, l.p.slot, 1) {
			s.lease = nil // a server that fell over to a replica
		}
		if s.lease != l || !l.valid() {
			return errLease
		}
		l.until = time.Now().Add(l.ttl)
		s.w.check.leased(l.p, l)
		return nil
	})
}

// Release implements storage.Lease.
func (l *lease) Release() {
	if !l.p.pass() {
		return
	}
	s := l.v.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == l {
		s.lease = nil
	}
}

// lasting is a lease that the kernel keeps for its holder.
type lasting struct{ *lease }

// Lasting says so.
func (lasting) Lasting() bool { return true }
