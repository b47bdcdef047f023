package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/natsstore"
	"github.com/evertoken/evertoken/storage/postgresstore"
	"github.com/evertoken/evertoken/storage/redisstore"
)

// opened is a store and what has to be closed after it.
type opened struct {
	storage.Store
	close func()
}

// open reaches the store that a URL names. Errors name the part of the URL that
// is wrong; they do not quote it, for it may hold a password.
func open(ctx context.Context, location string) (opened, error) {
	scheme, rest, ok := strings.Cut(location, ":")
	if _, err := url.Parse(location); !ok || err != nil {
		return opened{}, errors.New("store: no URL: it begins with file:, redis:, postgres: or nats:")
	}
	switch scheme {
	case "file":
		dir := strings.TrimPrefix(rest, "//")
		if dir == "" {
			return opened{}, errors.New("store: file: names no folder: file:/path/of/folder")
		}
		return opened{storage.NewFile(dir), func() {}}, nil
	case "redis", "rediss", "unix":
		return openRedis(ctx, location)
	case "postgres", "postgresql":
		return openPostgres(ctx, location)
	case "nats":
		return openNATS(ctx, location)
	}
	return opened{}, fmt.Errorf("store: scheme %q is none of file, redis, postgres, nats", scheme)
}

func openRedis(ctx context.Context, location string) (opened, error) {
	options, err := redis.ParseURL(location)
	if err != nil {
		return opened{}, fmt.Errorf("store: %w", err)
	}
	client := redis.NewClient(options)
	store, err := redisstore.New(ctx, client, redisstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return opened{}, errors.Join(fmt.Errorf("store: %w", err), client.Close())
	}
	return opened{store, func() { _ = client.Close() }}, nil
}

func openPostgres(ctx context.Context, location string) (opened, error) {
	pool, err := pgxpool.New(ctx, location)
	if err != nil {
		return opened{}, fmt.Errorf("store: %w", err)
	}
	store, err := postgresstore.New(pool, postgresstore.Options{})
	if err == nil {
		err = store.Migrate(ctx)
	}
	if err != nil {
		pool.Close()
		return opened{}, fmt.Errorf("store: %w", err)
	}
	return opened{store, pool.Close}, nil
}

func openNATS(ctx context.Context, location string) (opened, error) {
	nc, err := nats.Connect(location, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return opened{}, fmt.Errorf("store: %w", err)
	}
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateOrUpdateKeyValue(ctx, natsstore.Bucket("evertoken", 1))
	}
	var store *natsstore.Store
	if err == nil {
		store, err = natsstore.New(ctx, js, natsstore.Options{Logger: slog.New(slog.DiscardHandler)})
	}
	if err != nil {
		nc.Close()
		return opened{}, fmt.Errorf("store: %w", err)
	}
	return opened{store, nc.Close}, nil
}
