package postgresstore_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/postgresstore"
	"github.com/evertoken/evertoken/storage/storetest"
)

func backend(url func(testing.TB) string) storetest.Backend {
	return storetest.Backend{
		New:  func(t testing.TB) string { return place(t, url(t)) },
		Open: func(location string) (storage.Store, error) { return open(location) },
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, backend(shared.location))
}

// Two statements of one caller run on whichever connection is free.
func TestStoreBehindPooledTransactions(t *testing.T) {
	t.Parallel()
	storetest.Run(t, backend(shared.proxied))
}

// Where every transaction is isolated from all others, the server undoes one of
// two that meet.
func TestStoreWithSerializableTransactions(t *testing.T) {
	t.Parallel()
	storetest.Run(t, backend(func(t testing.TB) string {
		return with(shared.location(t), "default_transaction_isolation=serializable")
	}))
}

// A server that is shut down at once, amid saves, recovers all that it had
// acknowledged.
func TestRestartKeepsWhatWasAcknowledged(t *testing.T) {
	p := startPostgres(t)
	defer p.Stop()
	store, err := open(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	storetest.RunServer(t, storetest.Server{
		Open:  func() (storage.Store, error) { return open(p.URL()) },
		Kill:  p.Kill,
		Start: p.Start,
	})
}

// Connections may be cut while they lie in the pool; a step that has sent nothing
// yet takes another one.
func TestConnectionsThatWereCut(t *testing.T) {
	p := startPostgres(t)
	defer p.Stop()
	cfg, err := pgxpool.ParseConfig(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 4
	cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // it looks after a second only
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	store, err := postgresstore.New(pool, postgresstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := save(t, store, "key", "one", "")
	var idle []*pgxpool.Conn
	for range cfg.MaxConns {
		c, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	for _, c := range idle {
		c.Release()
	}
	p.Kill()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Save(t.Context(), "key", []byte("two"), v); err != nil {
		t.Errorf("Save = %v", err)
	}
}

// A severed connection loses the answer to what is written next, once.
type severed struct {
	net.Conn
	armed *atomic.Bool
}

func (c severed) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.armed.CompareAndSwap(true, false) {
		_ = c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// What may be run twice is, when its answer is lost with the connection. A save is
// not: its version tells what became of it.
func TestAnswersThatGetLost(t *testing.T) {
	location := place(t, shared.location(t))
	url, table, _ := strings.Cut(location, "#")
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	var armed atomic.Bool
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return severed{conn, &armed}, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	store, err := postgresstore.New(pool, postgresstore.Options{Table: table})
	if err != nil {
		t.Fatal(err)
	}
	v := save(t, store, "key", "one", "")
	var lease storage.Lease
	for _, step := range []struct {
		name string
		do   func() error
		lost bool
	}{
		{"load", func() error { _, err := store.Load(t.Context(), "key"); return err }, false},
		{"acquire", func() (err error) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			lease, err = store.Acquire(ctx, "key", time.Hour)
			return err
		}, false},
		{"extend", func() error { return lease.Extend(t.Context()) }, false},
		{"save", func() error { _, err := store.Save(t.Context(), "key", []byte("two"), v); return err }, true},
	} {
		armed.Store(true)
		if err := step.do(); (err != nil) != step.lost || armed.Load() {
			t.Fatalf("%s: %v, answer lost: %t", step.name, err, !armed.Load())
		}
	}
	lease.Release()
	if item, err := store.Load(t.Context(), "key"); err != nil || string(item.Data) != "two" {
		t.Errorf("stored %q, %v", item.Data, err)
	}
}

func TestTablesAreMissing(t *testing.T) {
	for _, table := range []string{"nowhere", "no_schema.nowhere"} {
		store, err := open(shared.location(t) + "#" + table)
		if err != nil {
			t.Fatal(err)
		}
		_, loaded := store.Load(t.Context(), "k")
		_, saved := store.Save(t.Context(), "k", nil, "")
		_, leased := store.Acquire(t.Context(), "k", 1)
		for step, err := range map[string]error{
			"Load": loaded, "Save": saved, "Delete": store.Delete(t.Context(), "k", ""), "Acquire": leased, "Check": store.Check(t.Context()),
		} {
			var failed *pgconn.PgError
			if err == nil || errors.Is(err, storage.ErrNotFound) || !strings.Contains(err.Error(), "call Migrate") || !errors.As(err, &failed) {
				t.Errorf("%s in %s = %v, want what to do", step, table, err)
			}
		}
	}
}

func TestBadArguments(t *testing.T) {
	if _, err := postgresstore.New(nil, postgresstore.Options{}); err == nil || !strings.Contains(err.Error(), "pool is nil") {
		t.Errorf("New = %v, want the argument named", err)
	}
	pool, err := pgxpool.New(t.Context(), "postgres://app:hunter2@/app?host=/nonexistent")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, table := range []string{"a b", `a"b`, "a.b.c", "1a", "a;b", strings.Repeat("a", 51), "a-b", "."} {
		if _, err := postgresstore.New(pool, postgresstore.Options{Table: table}); err == nil || !strings.Contains(err.Error(), "Table "+strconv.Quote(table)) {
			t.Errorf("New = %v, want the field named", err)
		}
	}
	store, err := postgresstore.New(pool, postgresstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Load(t.Context(), "k")
	var dial *pgconn.ConnectError
	if !errors.As(err, &dial) || !strings.Contains(err.Error(), "/nonexistent") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Load = %v, want the address named and the password not", err)
	}
}

// Processes of a fleet start together, and each migrates.
func TestMigrateTogether(t *testing.T) {
	location := place(t, shared.location(t))
	url, table, _ := strings.Cut(location, "#")
	pool, err := poolOf(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `DROP TABLE "`+table+`_records", "`+table+`_leases"`); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		store, err := open(location)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := store.Migrate(t.Context()); err != nil {
				t.Errorf("Migrate: %v", err)
			}
		})
	}
	wg.Wait()
	store, err := open(location)
	if err != nil {
		t.Fatal(err)
	}
	v := save(t, store, "k", "x", "")
	if err := store.Migrate(t.Context()); err != nil {
		t.Errorf("Migrate of tables that are there: %v", err)
	}
	if item, err := store.Load(t.Context(), "k"); err != nil || item.Version != v {
		t.Errorf("Load = %q at %q, %v", item.Data, item.Version, err)
	}
}

// What Schema prints is what Migrate does.
func TestSchemaByHand(t *testing.T) {
	url := shared.location(t)
	pool, err := poolOf(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `CREATE SCHEMA by_hand`); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = pool.Exec(t.Context(), `DROP SCHEMA by_hand CASCADE`) }()
	store, err := open(url + "#by_hand.Sessions")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), store.Schema()); err != nil {
		t.Fatal(err)
	}
	save(t, store, "k", "x", "")
	if !strings.Contains(store.Schema(), `"by_hand"."Sessions_records"`) {
		t.Errorf("Schema = %s", store.Schema())
	}
}

func TestServerThatForgets(t *testing.T) {
	location := place(t, shared.location(t))
	url, table, _ := strings.Cut(location, "#")
	if store, err := open(location); err != nil || store.Check(t.Context()) != nil {
		t.Errorf("Check = %v, %v", store.Check(t.Context()), err)
	}
	store, err := open(with(url, "synchronous_commit=off") + "#" + table)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Check(t.Context()); !errors.Is(err, postgresstore.ErrVolatile) || !strings.Contains(err.Error(), "synchronous_commit is off") {
		t.Errorf("Check = %v, want ErrVolatile and the setting", err)
	}
}

func TestReadOnlyServer(t *testing.T) {
	location := place(t, shared.location(t))
	url, table, _ := strings.Cut(location, "#")
	store, err := open(with(url, "default_transaction_read_only=on") + "#" + table)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Save(t.Context(), "k", nil, ""); err == nil || !strings.Contains(err.Error(), "primary") {
		t.Errorf("Save = %v, want the cause", err)
	}
}
