package postgresstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evertoken/evertoken/internal/testserver"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/postgresstore"
)

func TestMain(m *testing.M) {
	code := m.Run()
	shared.stop()
	os.Exit(code)
}

// shared is the server of all tests that do not kill theirs, and the proxy
// before it. They are started by the first that asks, which a child process of
// the suite never is.
var shared server

type server struct {
	mu       sync.Mutex
	url      string
	postgres *testserver.Postgres
	bouncer  *testserver.Bouncer
}

// location is where the server is: the URL that the environment gives, or of a
// server that is started.
func (s *server) location(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.url == "" {
		s.url = os.Getenv("EVERTOKEN_TEST_POSTGRES")
	}
	if s.url == "" {
		s.start(t)
		s.url = s.postgres.URL()
	}
	return s.url
}

// start starts the server, once.
func (s *server) start(t testing.TB) {
	t.Helper()
	if s.postgres == nil {
		s.postgres = startPostgres(t)
	}
}

// proxied is where a proxy is that pools transactions, before a server that is
// started for it.
func (s *server) proxied(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start(t)
	if s.bouncer == nil {
		b, err := s.postgres.StartBouncer()
		if errors.Is(err, testserver.ErrNotInstalled) {
			testserver.Missing(t, "PgBouncer", testserver.HowBouncer)
		}
		if err != nil {
			t.Fatal(err)
		}
		s.bouncer = b
	}
	return s.bouncer.URL()
}

func (s *server) stop() {
	for _, pool := range pools.open {
		pool.Close()
	}
	s.bouncer.Stop()
	s.postgres.Stop()
}

func startPostgres(t testing.TB) *testserver.Postgres {
	t.Helper()
	p, err := testserver.StartPostgres()
	if errors.Is(err, testserver.ErrNotInstalled) {
		testserver.Missing(t, "PostgreSQL", testserver.HowPostgres)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pools has one pool a URL: the suite opens more stores than a server takes
// connections.
var pools struct {
	sync.Mutex
	open map[string]*pgxpool.Pool
}

func poolOf(url string) (*pgxpool.Pool, error) {
	pools.Lock()
	defer pools.Unlock()
	if pool := pools.open[url]; pool != nil {
		return pool, nil
	}
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		return nil, err
	}
	if pools.open == nil {
		pools.open = make(map[string]*pgxpool.Pool)
	}
	pools.open[url] = pool
	return pool, nil
}

// open reads a location of these tests: a URL, a # and the name of the tables.
func open(location string) (*postgresstore.Store, error) {
	url, table, _ := strings.Cut(location, "#")
	pool, err := poolOf(url)
	if err != nil {
		return nil, err
	}
	return postgresstore.New(pool, postgresstore.Options{Table: table})
}

var tables atomic.Int64

// place is a location of its own on the server at url. It goes with the test.
func place(t testing.TB, url string) string {
	t.Helper()
	table := fmt.Sprintf("Test_%d_%d", os.Getpid(), tables.Add(1))
	location := url + "#" + table
	store, err := open(location)
	if err == nil {
		err = store.Migrate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pool, err := poolOf(url)
		if err == nil {
			_, err = pool.Exec(context.Background(), fmt.Sprintf(`DROP TABLE "%s_records", "%s_leases"`, table, table))
		}
		if err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return location
}

func save(t *testing.T, s storage.Store, key, data string, prev storage.Version) storage.Version {
	t.Helper()
	v, err := s.Save(t.Context(), key, []byte(data), prev)
	if err != nil {
		t.Fatalf("Save(%q) = %v", key, err)
	}
	return v
}

// with adds a parameter to a URL.
func with(url, parameter string) string {
	if strings.Contains(url, "?") {
		return url + "&" + parameter
	}
	return url + "?" + parameter
}
