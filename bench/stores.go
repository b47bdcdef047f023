package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/testserver"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/natsstore"
	"github.com/evertoken/evertoken/storage/natsstore/natstest"
	"github.com/evertoken/evertoken/storage/postgresstore"
	"github.com/evertoken/evertoken/storage/redisstore"
)

// A backend is a store to measure, and what starts and stops its server.
type backend struct {
	name string
	open func(ctx context.Context) (storage.Store, func(), error)
}

func backends() []backend {
	return []backend{
		{"memory", func(context.Context) (storage.Store, func(), error) { return storage.NewMemory(), func() {}, nil }},
		{"file", openFile},
		{"redis", openRedis},
		{"postgres", openPostgres},
		{"nats", openNATS},
	}
}

// measureStores compares, at each store, a renewal with a plain read.
func measureStores(ctx context.Context, rounds int) (section, error) {
	t := table{head: []string{"store", "read", "renewal", "ratio"}}
	for _, b := range backends() {
		read, renewal, err := measureStore(ctx, b, rounds)
		switch {
		case errors.Is(err, testserver.ErrNotInstalled):
			t.add(b.name, "not installed", "", "")
		case err != nil:
			return section{}, fmt.Errorf("%s: %w", b.name, err)
		default:
			ratio := strconv.FormatFloat(float64(renewal)/float64(read), 'f', 1, 64)
			t.add(b.name, read.Round(time.Microsecond/10).String(), renewal.Round(time.Microsecond/10).String(), ratio)
		}
	}
	return section{
		title: "What a renewal costs at each store",
		text: fmt.Sprintf("One round of the refresher (lease, load, note, exchange, save, release) beside a plain read of the same\n"+
			"record. The issuer answers at once, in process. Reads and renewals take turns; medians of %d. Redis and\n"+
			"NATS sync each write to disk, as the stores want it.", rounds),
		tables: []table{t},
	}, nil
}

func measureStore(ctx context.Context, b backend, rounds int) (read, renewal time.Duration, err error) {
	store, stop, err := b.open(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	return measure(ctx, store, rounds)
}

// instant is an issuer that answers at once.
type instant struct{ n int }

// Refresh implements evertoken.Issuer. The client sends one request at a time.
func (i *instant) Refresh(context.Context, evertoken.Token) (evertoken.Token, error) {
	i.n++
	return token(i.n), nil
}

func token(n int) evertoken.Token {
	id := strconv.Itoa(n)
	return evertoken.Token{AccessToken: "access-" + id, RefreshToken: "refresh-" + id, Expiry: time.Now().Add(time.Hour)}
}

// measure returns the medians of both.
func measure(ctx context.Context, store storage.Store, rounds int) (read, renewal time.Duration, err error) {
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer: new(instant), Origins: []string{"https://api.example.com"}, Store: store, Session: "bench",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.SignIn(ctx, token(0)); err != nil {
		return 0, 0, err
	}
	reads, renewals := make([]time.Duration, rounds), make([]time.Duration, rounds)
	for i := range rounds {
		began := time.Now()
		if _, err := store.Load(ctx, "bench"); err != nil {
			return 0, 0, err
		}
		reads[i] = time.Since(began)
		began = time.Now()
		if err := client.Refresh(ctx); err != nil {
			return 0, 0, err
		}
		renewals[i] = time.Since(began)
	}
	return median(reads), median(renewals), nil
}

func openFile(context.Context) (storage.Store, func(), error) {
	dir, err := os.MkdirTemp("", "bench-")
	return storage.NewFile(dir), func() { _ = os.RemoveAll(dir) }, err
}

func openRedis(ctx context.Context) (storage.Store, func(), error) {
	srv, err := testserver.StartRedis("--appendonly", "yes", "--appendfsync", "always")
	if err != nil {
		return nil, nil, err
	}
	options, err := redis.ParseURL(srv.URL())
	if err != nil {
		return nil, nil, err
	}
	client := redis.NewClient(options)
	stop := func() { _ = client.Close(); srv.Stop() }
	store, err := redisstore.New(ctx, client, redisstore.Options{})
	if err != nil {
		stop()
		return nil, nil, err
	}
	return store, stop, nil
}

func openPostgres(ctx context.Context) (storage.Store, func(), error) {
	srv, err := testserver.StartPostgres()
	if err != nil {
		return nil, nil, err
	}
	pool, err := pgxpool.New(ctx, srv.URL())
	if err != nil {
		srv.Stop()
		return nil, nil, err
	}
	stop := func() { pool.Close(); srv.Stop() }
	store, err := postgresstore.New(pool, postgresstore.Options{})
	if err == nil {
		err = store.Migrate(ctx)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return store, stop, nil
}

func openNATS(ctx context.Context) (storage.Store, func(), error) {
	srv, err := natstest.Start()
	if err != nil {
		return nil, nil, err
	}
	conn, err := nats.Connect(srv.URL())
	if err != nil {
		srv.Stop()
		return nil, nil, err
	}
	stop := func() { conn.Close(); srv.Stop() }
	js, err := jetstream.New(conn)
	if err == nil {
		_, err = js.CreateKeyValue(ctx, natsstore.Bucket("evertoken", 1))
	}
	var store *natsstore.Store
	if err == nil {
		store, err = natsstore.New(ctx, js, natsstore.Options{Logger: slog.New(slog.DiscardHandler)})
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return store, stop, nil
}
