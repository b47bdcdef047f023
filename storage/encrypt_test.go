package storage_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/storetest"
)

// dataKey is a key of 32 bytes, not random: child processes need the same one.
func dataKey(fill byte) []byte { return bytes.Repeat([]byte{fill}, 32) }

func TestEncryptMemory(t *testing.T) {
	stores := map[string]storage.Store{}
	storetest.Run(t, storetest.Backend{
		New: func(t testing.TB) string {
			stores[t.Name()] = storage.Encrypt(storage.NewMemory(), dataKey(1))
			return t.Name()
		},
		Open:      func(location string) (storage.Store, error) { return stores[location], nil },
		InProcess: true,
	})
}

func TestEncryptFile(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		New: func(t testing.TB) string { return t.TempDir() + "/sessions" },
		Open: func(location string) (storage.Store, error) {
			return storage.Encrypt(storage.NewFile(location), dataKey(1)), nil
		},
	})
}

// save writes a record that must go through.
func save(t *testing.T, s storage.Store, key, data string, prev storage.Version) storage.Version {
	t.Helper()
	v, err := s.Save(t.Context(), key, []byte(data), prev)
	if err != nil {
		t.Fatalf("Save(%q) = %v", key, err)
	}
	return v
}

func raw(t *testing.T, s storage.Store, key string) storage.Item {
	t.Helper()
	item, err := s.Load(t.Context(), key)
	if err != nil {
		t.Fatalf("Load(%q) = %v", key, err)
	}
	return item
}

func TestEncryptHidesTheRecord(t *testing.T) {
	inner := storage.NewMemory()
	s := storage.Encrypt(inner, dataKey(1))
	v := save(t, s, "k", "the refresh token", "")
	first := raw(t, inner, "k")
	save(t, s, "k", "the refresh token", v)
	second := raw(t, inner, "k")
	for _, item := range []storage.Item{first, second} {
		if bytes.Contains(item.Data, []byte("refresh")) {
			t.Errorf("the record stands in the clear: %q", item.Data)
		}
	}
	if bytes.Equal(first.Data, second.Data) {
		t.Error("two records were sealed with one nonce")
	}
}

func TestEncryptRotation(t *testing.T) {
	inner := storage.NewMemory()
	before := storage.Encrypt(inner, dataKey(1))
	between := storage.Encrypt(inner, dataKey(2), dataKey(1))
	after := storage.Encrypt(inner, dataKey(2))
	v := save(t, before, "k", "one", "")
	if item := raw(t, between, "k"); string(item.Data) != "one" {
		t.Errorf("Load with the old key in second place = %q", item.Data)
	}
	if _, err := after.Load(t.Context(), "k"); !errors.Is(err, storage.ErrWrongKey) {
		t.Errorf("Load without the old key = %v, want ErrWrongKey", err)
	}
	save(t, between, "k", "two", v)
	if item := raw(t, after, "k"); string(item.Data) != "two" {
		t.Errorf("Load after the record was saved anew = %q", item.Data)
	}
	if _, err := before.Load(t.Context(), "k"); !errors.Is(err, storage.ErrWrongKey) {
		t.Errorf("Load without the new key = %v, want ErrWrongKey", err)
	}
}

// A record under a wrong key is not damaged: nothing is handed out that could
// be taken for leave to replace it.
func TestWrongKeyMovesNothing(t *testing.T) {
	inner := storage.NewMemory()
	save(t, storage.Encrypt(inner, dataKey(1)), "k", "one", "")
	before := raw(t, inner, "k")
	s := storage.Encrypt(inner, dataKey(2))
	item, err := s.Load(t.Context(), "k")
	if !errors.Is(err, storage.ErrWrongKey) || errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Load = %v, want ErrWrongKey alone", err)
	}
	if item.Data != nil || item.Version != "" {
		t.Errorf("Load returned %q at %q", item.Data, item.Version)
	}
	if _, err := s.Save(t.Context(), "k", []byte("two"), item.Version); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("Save = %v, want ErrConflict", err)
	}
	if after := raw(t, inner, "k"); after.Version != before.Version {
		t.Error("the record was changed")
	}
	if err := s.Delete(t.Context(), "k", ""); err != nil {
		t.Errorf("Delete of a record whose key is lost = %v", err)
	}
}

// Whatever is changed of a record, it does not open; and it can be replaced.
func TestEncryptFindsDamage(t *testing.T) {
	inner := storage.NewMemory()
	s := storage.Encrypt(inner, dataKey(1), dataKey(2))
	save(t, s, "k", "one", "")
	sound := raw(t, inner, "k").Data
	other := storage.NewMemory()
	save(t, storage.Encrypt(other, dataKey(2)), "k", "one", "")
	line, _, _ := strings.Cut(string(raw(t, other, "k").Data), "\n")
	_, box, _ := strings.Cut(string(sound), "\n")
	v := raw(t, inner, "k").Version
	for what, data := range map[string]string{
		"empty":              "",
		"plain":              `{"evertoken":1}`,
		"cut":                string(sound[:len(sound)-1]),
		"head only":          string(sound[:len(sound)-len(box)]),
		"longer":             string(sound) + "\x00",
		"flipped":            string(sound[:len(sound)-1]) + string(sound[len(sound)-1]^1),
		"another key's head": line + "\n" + box,
		"older layout":       strings.Replace(string(sound), "/1 ", "/0 ", 1),
		"long key id":        strings.Replace(string(sound), "/1 ", "/1 00", 1),
	} {
		v = save(t, inner, "k", data, v)
		item, err := s.Load(t.Context(), "k")
		if !errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrWrongKey) {
			t.Errorf("%s: Load = %v, want ErrCorrupt", what, err)
		}
		if string(item.Data) != data || item.Version != v {
			t.Errorf("%s: Load returned %q at %q beside the error, want the bytes as they are", what, item.Data, item.Version)
		}
		v = save(t, s, "k", "mended", item.Version)
		if item := raw(t, s, "k"); string(item.Data) != "mended" {
			t.Errorf("%s: Load after it was replaced = %q", what, item.Data)
		}
	}
}

// A record belongs to its name: somebody's session is not somebody else's.
func TestEncryptBindsTheName(t *testing.T) {
	inner := storage.NewMemory()
	s := storage.Encrypt(inner, dataKey(1))
	save(t, s, "mine", "one", "")
	save(t, inner, "yours", string(raw(t, inner, "mine").Data), "")
	if _, err := s.Load(t.Context(), "yours"); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("Load of a record that was moved = %v, want ErrCorrupt", err)
	}
}

func TestEncryptLeavesNewerLayoutsAlone(t *testing.T) {
	inner := storage.NewMemory()
	v := save(t, inner, "k", "evertoken-sealed/2 whatever follows\nx", "")
	item, err := storage.Encrypt(inner, dataKey(1)).Load(t.Context(), "k")
	if err == nil || errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrWrongKey) ||
		!strings.Contains(err.Error(), "layout 2,") || !strings.Contains(err.Error(), "reads layout 1") {
		t.Errorf("Load = %v, want both layouts named", err)
	}
	if item.Version == v {
		t.Error("Load gave leave to replace it")
	}
}

func TestEncryptBadKeys(t *testing.T) {
	for says, s := range map[string]storage.Store{
		"there is no key":   storage.Encrypt(storage.NewMemory()),
		"key 1 has 3 bytes": storage.Encrypt(storage.NewMemory(), dataKey(1), []byte("abc")),
		"the store is nil":  storage.Encrypt(nil, dataKey(1)),
	} {
		_, loaded := s.Load(t.Context(), "k")
		_, saved := s.Save(t.Context(), "k", nil, "")
		deleted := s.Delete(t.Context(), "k", "")
		leased := loaded
		if l, ok := s.(storage.Leaser); ok {
			_, leased = l.Acquire(t.Context(), "k", time.Second)
		}
		for step, err := range map[string]error{"Load": loaded, "Save": saved, "Delete": deleted, "Acquire": leased} {
			if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "abc") {
				t.Errorf("%s = %v, want %q", step, err, says)
			}
		}
	}
}

// bare is a store without leases.
type bare struct{ storage.Store }

func TestEncryptKeepsWhatCanBeLeased(t *testing.T) {
	if _, ok := storage.Encrypt(bare{storage.NewMemory()}, dataKey(1)).(storage.Leaser); ok {
		t.Error("a store without leases became a Leaser")
	}
	leaser, ok := storage.Encrypt(storage.NewMemory(), dataKey(1)).(storage.Leaser)
	if !ok {
		t.Fatal("a Leaser is none any more")
	}
	lease, err := leaser.Acquire(t.Context(), "k", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	if l, ok := lease.(interface{ Lasting() bool }); !ok || !l.Lasting() {
		t.Error("the lease does not say any more that it lasts")
	}
}

// sealedOne is the record "one" of "k" under dataKey(1), as release 1 sealed it:
// later ones still open it.
const sealedOne = "evertoken-sealed/1 4f5877b66276034e\n" +
	"\xcf\x8a\x81\x4d\x04\x20\x7e\x33\x16\x07\x2a\xac\x11\xf0\xd6\xc6\xf0\x2e\xdc\x16\x8e\xbd\xe7\x60\x97\x63\x03\x22\x8f\x48\x92"

// No bytes open but those that were sealed, and no others make it panic.
func FuzzEncryptOpens(f *testing.F) {
	f.Add([]byte(sealedOne))
	f.Add([]byte("evertoken-sealed/2 x\n"))
	f.Add([]byte("evertoken-sealed/1 0011223344556677\nx"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		inner := storage.NewMemory()
		v := save(t, inner, "k", string(data), "")
		got, err := storage.Encrypt(inner, dataKey(1)).Load(t.Context(), "k")
		switch {
		case (err == nil) != (string(data) == sealedOne):
			t.Fatalf("Load = %q, %v", got.Data, err)
		case err == nil && string(got.Data) != "one":
			t.Fatalf("Load = %q, want %q", got.Data, "one")
		case errors.Is(err, storage.ErrCorrupt) && (!bytes.Equal(got.Data, data) || got.Version != v):
			t.Fatalf("Load = %q at %q beside ErrCorrupt, want the bytes as they are", got.Data, got.Version)
		}
	})
}

// Sessions on disk that only the holder of the key can read. The key comes from
// where secrets come from; storage/keyringstore keeps one in the system's keyring.
func ExampleEncrypt() {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	ctx := context.Background()
	inner := storage.NewMemory() // or NewFile, or any other
	store := storage.Encrypt(inner, key)
	if _, err := store.Save(ctx, "default", []byte("a session"), ""); err != nil {
		log.Fatal(err)
	}
	item, err := store.Load(ctx, "default")
	fmt.Printf("%s %v\n", item.Data, err)
	kept, err := inner.Load(ctx, "default")
	fmt.Println(strings.Contains(string(kept.Data), "a session"), err)
	// Output:
	// a session <nil>
	// false <nil>
}
