// Package storetest proves the contract of package storage for any backend.
//
//	func TestMyStore(t *testing.T) {
//		storetest.Run(t, storetest.Backend{
//			New:  func(t testing.TB) string { return t.TempDir() },
//			Open: func(location string) (storage.Store, error) { return mystore.New(location), nil },
//		})
//	}
//
// Some checks run in child processes: the test binary itself, started again for
// the test that called Run, and told the location through the environment. Run
// therefore comes first in its test, once: what it needs belongs into New.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// A Backend says how to make stores of the kind under test.
type Backend struct {
	// New makes an empty place for records and returns where it is. The place
	// goes with the test.
	New func(testing.TB) (location string)

	// Open returns a store on a location; several may be open on one at a time.
	Open func(location string) (storage.Store, error)

	// InProcess says that no other process can open a location. Run then leaves
	// out what needs several.
	InProcess bool
}

const (
	leaseTTL = 3 * time.Second        // long against what a busy machine delays
	probe    = 100 * time.Millisecond // how long a lease is tried for that somebody holds
	patience = 30 * time.Second       // added to leaseTTL: no call of a sound store takes longer
)

// Run proves the contract for b.
func Run(t *testing.T, b Backend) {
	t.Helper()
	if child(b) {
		return
	}
	all := checks
	if !b.InProcess {
		all = slices.Concat(checks, processChecks)
	}
	test := t.Name()
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) { c.run(t, newBench(t, b, test)) })
	}
}

// A tester is the part of testing.TB that checks use: the suite's own tests hand
// them one that expects failures.
type tester interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// A bench is one store on an empty place.
type bench struct {
	storage.Store
	t        tester
	open     func() storage.Store // another one on the same place
	location string
	test     string // the name of the test that called Run: children run it again
}

func newBench(t testing.TB, b Backend, test string) *bench {
	t.Helper()
	location := b.New(t)
	open := func() storage.Store {
		s, err := b.Open(location)
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		return s
	}
	return &bench{Store: open(), t: t, open: open, location: location, test: test}
}

type check struct {
	name string
	run  func(t tester, b *bench)
}

var checks = []check{ //nolint:gochecknoglobals // the table of the suite, never changed
	{"a record comes back as it was saved", roundTrip},
	{"an absent record is ErrNotFound", absent},
	{"only one of many creates", createRace},
	{"a stale version is refused", stale},
	{"delete minds the version", deletes},
	{"a delete and a save do not both win", deleteRace},
	{"versions are never used twice", versionsNotReused},
	{"keys of any kind are kept apart", oddKeys},
	{"slices are copied in and out", aliasing},
	{"no update is lost", counting},
	{"an ended context ends the call", endedContext},
	{"leases exclude each other", leaseExcludes},
	{"a lease is of one key", leasePerKey},
	{"an ended context ends the wait for a lease", endedWait},
	{"a lease lapses unless it lasts", leaseLapses},
	{"a lease leaves the version alone", leaseAndVersion},
	{"a lease is released once", releaseOnce},
	{"a late save is refused", lateSave},
}

func (b *bench) save(key string, data string, prev storage.Version) storage.Version {
	b.t.Helper()
	v, err := b.Save(b.t.Context(), key, []byte(data), prev)
	if err != nil {
		b.t.Fatalf("Save(%.20q) = %v", key, err)
	}
	if v == "" {
		b.t.Errorf("Save(%.20q) returned an empty version", key)
	}
	return v
}

func (b *bench) wantRecord(key, data string, v storage.Version) {
	b.t.Helper()
	item, err := b.Load(b.t.Context(), key)
	if err != nil || string(item.Data) != data || item.Version != v {
		b.t.Errorf("Load(%.20q) = %d bytes at %q, %v; want %d bytes at %q", key, len(item.Data), item.Version, err, len(data), v)
	}
}

func (b *bench) wantError(step string, err, want error) {
	b.t.Helper()
	if !errors.Is(err, want) {
		b.t.Errorf("%s: %v, want %v", step, err, want)
	}
}

func roundTrip(_ tester, b *bench) {
	for _, data := range []string{"x", "", "line\nline\r\n\x00\xff", strings.Repeat("0123456789abcdef", 4096)} {
		key := fmt.Sprintf("size-%d", len(data))
		v := b.save(key, data, "")
		b.wantRecord(key, data, v)
		v = b.save(key, data+"!", v)
		b.wantRecord(key, data+"!", v)
	}
}

func absent(t tester, b *bench) {
	_, err := b.Load(t.Context(), "nobody")
	b.wantError("Load", err, storage.ErrNotFound)
	_, err = b.Save(t.Context(), "nobody", []byte("x"), "1")
	b.wantError("Save at a version", err, storage.ErrConflict)
	if err := b.Delete(t.Context(), "nobody", ""); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	if _, err := b.Load(t.Context(), ""); err == nil || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Load of an empty key: %v, want an error of its own", err)
	}
}

func createRace(t tester, b *bench) {
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for i := range 8 {
		s := b.open()
		wg.Go(func() {
			_, err := s.Save(t.Context(), "race", fmt.Appendf(nil, "by %d", i), "")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, storage.ErrConflict) {
				t.Errorf("Save: %v, want ErrConflict", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of 8 created the record", won)
	}
}

func stale(t tester, b *bench) {
	v1 := b.save("k", "one", "")
	v2 := b.save("k", "two", v1)
	_, err := b.Save(t.Context(), "k", []byte("three"), v1)
	b.wantError("Save at an old version", err, storage.ErrConflict)
	_, err = b.Save(t.Context(), "k", []byte("three"), "")
	b.wantError("Save that creates", err, storage.ErrConflict)
	b.wantRecord("k", "two", v2)
}

func deletes(t tester, b *bench) {
	v1 := b.save("k", "one", "")
	v2 := b.save("k", "two", v1)
	b.wantError("Delete at an old version", b.Delete(t.Context(), "k", v1), storage.ErrConflict)
	b.wantRecord("k", "two", v2)
	if err := b.Delete(t.Context(), "k", v2); err != nil {
		t.Errorf("Delete: %v", err)
	}
	_, err := b.Load(t.Context(), "k")
	b.wantError("Load after Delete", err, storage.ErrNotFound)
	b.save("k", "three", "")
	if err := b.Delete(t.Context(), "k", ""); err != nil {
		t.Errorf("Delete at any version: %v", err)
	}
	_, err = b.Load(t.Context(), "k")
	b.wantError("Load after Delete", err, storage.ErrNotFound)
}

// deleteRace deletes and saves at one version at the same time: a delete that
// won over a save it did not know of would sign somebody out who just came in.
func deleteRace(t tester, b *bench) {
	other := b.open()
	for range 30 {
		v := b.save("k", "one", "")
		var deleted, saved error
		var wg sync.WaitGroup
		wg.Go(func() { deleted = b.Delete(t.Context(), "k", v) })
		wg.Go(func() { _, saved = other.Save(t.Context(), "k", []byte("two"), v) })
		wg.Wait()
		if (deleted == nil) == (saved == nil) {
			t.Fatalf("Delete: %v, and Save at the same version: %v; want one of them to win", deleted, saved)
		}
		if err := b.Delete(t.Context(), "k", ""); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
}

func versionsNotReused(t tester, b *bench) {
	seen := map[storage.Version]bool{}
	for range 20 {
		v := b.save("k", "the same bytes", "")
		w := b.save("k", "the same bytes", v)
		if seen[v] || seen[w] || v == w {
			t.Errorf("version %q or %q was used before", v, w)
		}
		seen[v], seen[w] = true, true
		if err := b.Delete(t.Context(), "k", ""); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
}

func oddKeys(_ tester, b *bench) {
	keys := []string{
		"a", "A", "a.", "a.b", ".", "..", "../a", "/", "/etc/passwd", `a\b`, "a b", "a%20b", "a%b", "CON", "nul",
		"käse", "密钥", "\x00", "a\x00b", "a\nb", "~", "*", "{a}", "default.corrupt", strings.Repeat("k", 500), strings.Repeat("k", 501),
	}
	at := map[string]storage.Version{}
	for _, k := range keys {
		at[k] = b.save(k, "record of "+k, "")
	}
	for _, k := range keys {
		b.wantRecord(k, "record of "+k, at[k])
	}
}

func aliasing(t tester, b *bench) {
	data := []byte("original")
	v, err := b.Save(t.Context(), "k", data, "")
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	copy(data, "modified")
	b.wantRecord("k", "original", v)
	item, err := b.Load(t.Context(), "k")
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	copy(item.Data, "modified")
	b.wantRecord("k", "original", v)
}

func counting(t tester, b *bench) {
	const workers, rounds = 4, 10
	b.save("n", "", "")
	var wg sync.WaitGroup
	for range workers {
		s := b.open()
		wg.Go(func() {
			for done := 0; done < rounds; {
				item, err := s.Load(t.Context(), "n")
				if err != nil {
					t.Errorf("Load: %v", err)
					return
				}
				switch _, err = s.Save(t.Context(), "n", append(item.Data, '+'), item.Version); {
				case err == nil:
					done++
				case !errors.Is(err, storage.ErrConflict):
					t.Errorf("Save: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	item, err := b.Load(t.Context(), "n")
	if err != nil || !bytes.Equal(item.Data, bytes.Repeat([]byte("+"), workers*rounds)) {
		t.Errorf("%d updates are left of %d, %v", len(item.Data), workers*rounds, err)
	}
}

func endedContext(t tester, b *bench) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Save(ctx, "k", []byte("x"), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("Save: %v, want Canceled", err)
	}
	if _, err := b.Load(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("Load: %v, want Canceled", err)
	}
}

// leaser is nil for a store that has no leases; the checks of them then hold.
func (b *bench) leaser() storage.Leaser {
	l, ok := b.open().(storage.Leaser)
	if !ok {
		return nil
	}
	return l
}

func (b *bench) acquire(l storage.Leaser) storage.Lease {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), leaseTTL+patience)
	defer cancel()
	lease, err := l.Acquire(ctx, "k", leaseTTL)
	if err != nil {
		b.t.Fatalf("Acquire: %v", err)
	}
	return lease
}

func (b *bench) extend(lease storage.Lease) {
	b.t.Helper()
	if err := lease.Extend(b.t.Context()); err != nil {
		b.t.Errorf("Extend: %v", err)
	}
}

// wantHeld tries for the lease, for less time than a held one surely lasts.
func (b *bench) wantHeld(l storage.Leaser, during time.Duration) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), during)
	defer cancel()
	if lease, err := l.Acquire(ctx, "k", leaseTTL); err == nil {
		lease.Release()
		b.t.Errorf("the lease was given to two")
	}
}

// lasting says whether the lease cannot lapse while its holder lives.
func lasting(lease storage.Lease) bool {
	l, ok := lease.(interface{ Lasting() bool })
	return ok && l.Lasting()
}

func leaseExcludes(t tester, b *bench) {
	one, two := b.leaser(), b.leaser()
	if one == nil {
		return
	}
	lease := b.acquire(one)
	b.wantHeld(two, probe)
	b.wantHeld(one, probe)
	b.extend(lease)
	got := make(chan error, 1)
	go func() {
		second, err := two.Acquire(t.Context(), "k", leaseTTL)
		if err == nil {
			second.Release()
		}
		got <- err
	}()
	released := time.Now()
	lease.Release()
	if err := <-got; err != nil {
		t.Errorf("Acquire after Release: %v", err)
	}
	if waited := time.Since(released); waited > leaseTTL*2/3 {
		t.Errorf("a released lease was free after %v, as if it had lapsed", waited)
	}
	if err := lease.Extend(t.Context()); err == nil {
		t.Errorf("a released lease was extended")
	}
}

func leasePerKey(t tester, b *bench) {
	one, two := b.leaser(), b.leaser()
	if one == nil {
		return
	}
	defer b.acquire(one).Release()
	ctx, cancel := context.WithTimeout(t.Context(), leaseTTL*2/3) // before the first can lapse
	defer cancel()
	other, err := two.Acquire(ctx, "another", leaseTTL)
	if err != nil {
		t.Fatalf("Acquire of another key: %v", err)
	}
	other.Release()
}

// endedWait shows that a wait ends with its context, and that it leaves nothing
// behind: the lease goes to the next who asks.
func endedWait(t tester, b *bench) {
	one, two := b.leaser(), b.leaser()
	if one == nil {
		return
	}
	held := b.acquire(one)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		lease, err := two.Acquire(ctx, "k", leaseTTL)
		if err == nil {
			lease.Release()
		}
		got <- err
	}()
	cancel()
	if err := <-got; err == nil {
		t.Errorf("Acquire of a held lease succeeded")
	}
	held.Release()
	b.acquire(two).Release()
}

// leaseLapses shows that the time to live counts, and counts from Extend: each of
// the two waits is shorter than it, and both together are longer.
func leaseLapses(t tester, b *bench) {
	one, two := b.leaser(), b.leaser()
	if one == nil {
		return
	}
	first := b.acquire(one)
	if lasting(first) {
		first.Release()
		return
	}
	b.wantHeld(two, leaseTTL*2/3)
	b.extend(first)
	b.wantHeld(two, leaseTTL*2/3)
	second := b.acquire(two)
	if err := first.Extend(t.Context()); err == nil {
		t.Errorf("a lapsed lease was extended")
	}
	first.Release()
	b.wantHeld(one, probe)
	second.Release()
}

func leaseAndVersion(_ tester, b *bench) {
	l := b.leaser()
	if l == nil {
		return
	}
	v := b.save("k", "x", "")
	lease := b.acquire(l)
	b.wantRecord("k", "x", v)
	b.extend(lease)
	b.wantRecord("k", "x", v)
	lease.Release()
	b.wantRecord("k", "x", v)
	b.save("k", "y", v)
}

func releaseOnce(_ tester, b *bench) {
	one, two := b.leaser(), b.leaser()
	if one == nil {
		return
	}
	first := b.acquire(one)
	first.Release()
	second := b.acquire(two)
	first.Release()
	b.wantHeld(one, probe)
	second.Release()
}

// lateSave is the save of a holder who lost the lease: only the version stops it.
func lateSave(t tester, b *bench) {
	v := b.save("k", "x", "")
	if l := b.leaser(); l != nil {
		b.acquire(l).Release()
		defer b.acquire(l).Release()
	}
	b.save("k", "by the next holder", v)
	_, err := b.Save(t.Context(), "k", []byte("late"), v)
	b.wantError("the late Save", err, storage.ErrConflict)
	if err := b.Delete(t.Context(), "k", ""); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	b.save("k", "of the next session", "")
	_, err = b.Save(t.Context(), "k", []byte("later"), v)
	b.wantError("the Save after a Delete", err, storage.ErrConflict)
}
