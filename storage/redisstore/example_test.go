package redisstore_test

import (
	"context"
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
