package natsstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/evertoken/evertoken/storage/natsstore"
)

// A store on a bucket that three servers keep.
func Example() {
	ctx := context.Background()
	nc, err := nats.Connect("nats://nats.example.com")
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := js.CreateOrUpdateKeyValue(ctx, natsstore.Bucket("evertoken", 3)); err != nil {
		log.Fatal(err)
	}
	store, err := natsstore.New(ctx, js, natsstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	version, err := store.Save(ctx, "default", []byte("a session"), "")
	fmt.Println(version, err)
}
