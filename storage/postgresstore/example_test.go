package postgresstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evertoken/evertoken/storage/postgresstore"
)

// A store on a pool of connections, whose tables are made if need be.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://app@db.example.com/app")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := postgresstore.New(pool, postgresstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	version, err := store.Save(ctx, "default", []byte("a session"), "")
	fmt.Println(version, err)
}

// The statements for those who migrate by hand.
func ExampleStore_Schema() {
	pool, err := pgxpool.New(context.Background(), "postgres://app@db.example.com/app") // connects when it is used
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := postgresstore.New(pool, postgresstore.Options{Table: "app.sessions"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(store.Schema())
	// Output:
	// CREATE TABLE IF NOT EXISTS "app"."sessions_records" (
	// 	key     bytea PRIMARY KEY,
	// 	version text  NOT NULL,
	// 	data    bytea NOT NULL
	// );
	// CREATE TABLE IF NOT EXISTS "app"."sessions_leases" (
	// 	key    bytea       PRIMARY KEY,
	// 	holder text        NOT NULL,
	// 	until  timestamptz NOT NULL
	// );
}
