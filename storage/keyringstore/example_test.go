package keyringstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/keyringstore"
)

// Sessions on disk that only this user's login can read.
func Example() {
	ctx := context.Background()
	ring, err := keyringstore.New(keyringstore.Options{Service: "example-app"})
	if err != nil {
		log.Fatal(err)
	}
	key, err := ring.KeyOrNew(ctx, "sessions")
	switch {
	case errors.Is(err, keyringstore.ErrNoKeyring):
		log.Fatal("no keyring: give the key in another way, such as a mounted secret")
	case errors.Is(err, keyringstore.ErrLocked):
		log.Fatal("unlock the keyring and start again")
	case err != nil:
		log.Fatal(err)
	}
	store := storage.Encrypt(storage.NewFile("sessions"), key)
	item, err := store.Load(ctx, "default")
	fmt.Println(item.Version, err)
}
