package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// ownLeases keeps records in files, but its leases are known to one process.
type ownLeases struct {
	*storage.File
	leases *storage.Memory
}

func (s ownLeases) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	return s.leases.Acquire(ctx, key, ttl)
}

// ignorant is a file store that writes whatever the version.
type ignorant struct{ *storage.File }

func (s ignorant) Save(ctx context.Context, key string, data []byte, _ storage.Version) (storage.Version, error) {
	item, err := s.Load(ctx, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	return s.File.Save(ctx, key, data, item.Version)
}

// inPlace writes over its file bit by bit, and takes a digest of the bytes for
// their version.
type inPlace struct{ path string }

func (s inPlace) Load(context.Context, string) (storage.Item, error) {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return storage.Item{}, storage.ErrNotFound
	}
	return storage.Item{Data: data, Version: digest(data)}, err
}

func digest(data []byte) storage.Version {
	sum := sha256.Sum256(data)
	return storage.Version(hex.EncodeToString(sum[:]))
}

func (s inPlace) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	item, err := s.Load(ctx, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	if item.Version != prev {
		return "", storage.ErrConflict
	}
	file, err := os.Create(s.path)
	for rest := data; err == nil && len(rest) > 0; rest = rest[min(4, len(rest)):] {
		_, err = file.Write(rest[:min(4, len(rest))])
	}
	return digest(data), errors.Join(err, file.Close())
}

func (s inPlace) Delete(context.Context, string, storage.Version) error { return os.Remove(s.path) }

// The checks that need processes catch what no check within one process can.
func TestBrokenStoresOfProcessesAreCaught(t *testing.T) {
	ours := storage.NewMemory()
	leases := func(dir string) (storage.Store, error) { return ownLeases{storage.NewFile(dir), ours}, nil }
	writes := func(dir string) (storage.Store, error) { return ignorant{storage.NewFile(dir)}, nil }
	places := func(dir string) (storage.Store, error) { return inPlace{filepath.Join(dir, "k")}, nil }
	for _, tt := range []struct {
		name, check, says string
		open              func(dir string) (storage.Store, error)
	}{
		{"killed", "a killed holder leaves the lease to others", "given to two", leases},
		{"frozen", "a frozen holder comes too late", "given to two", leases},
		{"version", "a frozen holder comes too late", "conflict false", writes},
		{"torn", "a killed writer leaves a whole record", "not whole", places},
		{"deleted", "a frozen holder does not outlive a delete", "conflict false", places},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if child(Backend{Open: tt.open}) {
				return
			}
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			open := func() storage.Store {
				s, err := tt.open(dir)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			failed := runOn(t, tt.check, &bench{Store: open(), open: open, location: dir, test: t.Name()})
			if all := strings.Join(failed, "; "); !strings.Contains(all, tt.says) {
				t.Fatalf("%q said %q, want %q", tt.check, all, tt.says)
			}
		})
	}
}
