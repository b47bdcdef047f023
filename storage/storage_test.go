package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"

	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/storetest"
)

func TestMemory(t *testing.T) {
	shared := storage.NewMemory
	stores := map[string]*storage.Memory{}
	storetest.Run(t, storetest.Backend{
		New: func(t testing.TB) string {
			stores[t.Name()] = shared()
			return t.Name()
		},
		Open:      func(location string) (storage.Store, error) { return stores[location], nil },
		InProcess: true,
	})
}

func TestFile(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		New:  func(t testing.TB) string { return t.TempDir() + "/sessions" },
		Open: func(location string) (storage.Store, error) { return storage.NewFile(location), nil },
	})
}

func ExampleNewFile() {
	dir, err := os.MkdirTemp("", "sessions")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store := storage.NewFile(dir)
	version, err := store.Save(context.Background(), "default", []byte("a session"), "")
	if err != nil {
		log.Fatal(err)
	}
	item, err := store.Load(context.Background(), "default")
	fmt.Printf("%s %v %v\n", item.Data, item.Version == version, err)
	// Output: a session true <nil>
}

func ExampleNewMemory() {
	store := storage.NewMemory()
	ctx := context.Background()
	stale, err := store.Save(ctx, "default", []byte("a session"), "")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := store.Save(ctx, "default", []byte("a newer one"), stale); err != nil {
		log.Fatal(err)
	}
	_, err = store.Save(ctx, "default", []byte("a late one"), stale)
	fmt.Println(errors.Is(err, storage.ErrConflict))
	// Output: true
}
