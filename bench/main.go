// Command bench prints what a renewal costs at each store: the time of one round
// (lease, load, note, exchange, save, release) as a ratio to a plain read of the
// same store. The issuer answers at once, in process. Reads and renewals take
// turns within one run; figures are medians.
//
//	go run ./bench
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/testserver"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/postgresstore"
	"github.com/evertoken/evertoken/storage/redisstore"
)

func main() {
	rounds := flag.Int("rounds", 201, "how many reads and renewals at each store")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

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
	}
}

func run(ctx context.Context, out io.Writer, rounds int) error {
	if _, err := fmt.Fprintf(out, "%-10s %12s %12s %8s\n", "store", "read", "renewal", "ratio"); err != nil {
		return err
	}
	for _, b := range backends() {
		store, stop, err := b.open(ctx)
		if errors.Is(err, testserver.ErrNotInstalled) {
			_, _ = fmt.Fprintf(out, "%-10s no server installed\n", b.name)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		read, renewal, err := measure(ctx, store, rounds)
		stop()
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		_, _ = fmt.Fprintf(out, "%-10s %12v %12v %8.1f\n", b.name, read, renewal, float64(renewal)/float64(read))
	}
	return nil
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

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
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
