package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// What a client does around a renewal: the lease lets it send, the version lets
// it write.
func ExampleLeaser() {
	ctx := context.Background()
	store := storage.NewMemory()
	version, err := store.Save(ctx, "default", []byte("refresh-1"), "")
	if err != nil {
		log.Fatal(err)
	}

	lease, err := store.Acquire(ctx, "default", 15*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	defer lease.Release()
	if err := lease.Extend(ctx); err != nil {
		log.Fatal(err) // the right is gone: send nothing
	}
	// Here refresh-1 is sent, and refresh-2 comes back.
	if _, err := store.Save(ctx, "default", []byte("refresh-2"), version); err != nil {
		log.Fatal(err)
	}
	_, err = store.Save(ctx, "default", []byte("what somebody frozen had"), version)
	fmt.Println(errors.Is(err, storage.ErrConflict))
	// Output: true
}

// A session in a folder, sealed. The record survives the end of the process.
func Example() {
	dir, err := os.MkdirTemp("", "sessions")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	key := make([]byte, 32) // random in earnest, and kept where secrets are
	ctx := context.Background()
	if _, err := storage.Encrypt(storage.NewFile(dir), key).Save(ctx, "default", []byte("a session"), ""); err != nil {
		log.Fatal(err)
	}

	// Later, and in another process:
	item, err := storage.Encrypt(storage.NewFile(dir), key).Load(ctx, "default")
	fmt.Printf("%s %v\n", item.Data, err)
	_, err = storage.NewFile(dir).Load(ctx, "somebody else's")
	fmt.Println(errors.Is(err, storage.ErrNotFound))
	// Output:
	// a session <nil>
	// true
}

// How a Leaser waits whose backend can only try.
func ExamplePoll() {
	tries := 0
	err := storage.Poll(context.Background(), func(context.Context) (bool, error) {
		tries++
		return tries == 3, nil
	})
	fmt.Println(tries, err)
	// Output: 3 <nil>
}
