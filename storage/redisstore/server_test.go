package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/evertoken/evertoken/internal/testserver"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/redisstore"
)

func TestMain(m *testing.M) {
	code := m.Run()
	shared.stop()
	os.Exit(code)
}

// durable is how a server has to be set to keep what it acknowledges.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// shared is the server of all tests that do not kill theirs. It is started by
// the first that asks, which a child process of the suite never is.
var shared server

type server struct {
	mu    sync.Mutex
	url   string
	redis *testserver.Redis
	mini  *miniredis.Miniredis
	done  chan struct{}
}

// location is where the server is: the URL that the environment gives, else of a
// server that is started, else of the double.
func (s *server) location(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.url != "" {
		return s.url
	}
	if s.url = os.Getenv("EVERTOKEN_TEST_REDIS"); s.url != "" {
		return s.url
	}
	var err error
	s.redis, err = testserver.StartRedis(durable...)
	switch {
	case err == nil:
		s.url = s.redis.URL()
	case errors.Is(err, testserver.ErrNotInstalled):
		testserver.DoWithout(t, "Redis but its double miniredis", testserver.HowRedis)
		s.double(t)
	default:
		t.Fatal(err)
	}
	return s.url
}

// double is a server in this process, whose keys expire only as it is told.
func (s *server) double(t testing.TB) {
	t.Helper()
	s.mini = miniredis.NewMiniRedis()
	if err := s.mini.Start(); err != nil {
		t.Fatal(err)
	}
	s.url, s.done = "redis://"+s.mini.Addr(), make(chan struct{})
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case now := <-tick.C:
				s.mini.FastForward(now.Sub(last))
				last = now
			case <-s.done:
				return
			}
		}
	}()
}

func (s *server) stop() {
	s.redis.Stop()
	if s.mini != nil {
		close(s.done)
		s.mini.Close()
	}
}

// connect returns a client of the server at a redis.ParseURL URL.
func connect(location string) (redis.UniversalClient, error) {
	opts, err := redis.ParseURL(location)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(opts), nil
}

// open reads a location of these tests: a URL, a # and the prefix.
func open(location string) (*redisstore.Store, error) {
	url, prefix, _ := strings.Cut(location, "#")
	client, err := connect(url)
	if err != nil {
		return nil, err
	}
	return redisstore.New(context.Background(), client, redisstore.Options{Prefix: prefix, Logger: slog.New(slog.DiscardHandler)})
}

// place is a location of its own on the server at url. What was kept there goes
// with the test.
func place(t testing.TB, url string) string {
	t.Helper()
	prefix := fmt.Sprintf("test-%d-%s:", os.Getpid(), t.Name())
	client, err := connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		names, err := client.Keys(ctx, escapeGlob(prefix)+"*").Result()
		if err == nil && len(names) > 0 {
			err = client.Del(ctx, names...).Err()
		}
		if err = errors.Join(err, client.Close()); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return url + "#" + prefix
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// opened is open on a place of its own, with the client beside it.
func opened(t *testing.T) (store *redisstore.Store, client redis.UniversalClient, prefix string) {
	t.Helper()
	location := place(t, shared.location(t))
	url, prefix, _ := strings.Cut(location, "#")
	client, err := connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	store, err = redisstore.New(t.Context(), client, redisstore.Options{Prefix: prefix, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return store, client, prefix
}

func save(t *testing.T, s storage.Store, key, data string, prev storage.Version) storage.Version {
	t.Helper()
	v, err := s.Save(t.Context(), key, []byte(data), prev)
	if err != nil {
		t.Fatalf("Save(%q) = %v", key, err)
	}
	return v
}
