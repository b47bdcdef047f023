package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/evertoken/evertoken/storage/redisstore"
)

// A store on a server; here one for tests, in this process.
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer func() { _ = client.Close() }()
	store, err := redisstore.New(ctx, client, redisstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	version, err := store.Save(ctx, "default", []byte("a session"), "")
	if err != nil {
		log.Fatal(err)
	}
	item, err := store.Load(ctx, "default")
	fmt.Printf("%s %v %v\n", item.Data, item.Version == version, err)
	// Output: a session true <nil>
}

// Whether the server keeps each save that it acknowledges. This one, for tests,
// does not tell.
func ExampleStore_Check() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer func() { _ = client.Close() }()
	store, err := redisstore.New(ctx, client, redisstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	switch err := store.Check(ctx); {
	case errors.Is(err, redisstore.ErrVolatile):
		fmt.Println("set appendonly yes and appendfsync always:", err)
	case errors.Is(err, redisstore.ErrUntold):
		fmt.Println("ask its operator")
	case err != nil:
		log.Fatal(err)
	}
	// Output: ask its operator
}
