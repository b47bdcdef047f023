package natsstore_test

import (
	"context"
	"fmt"
	"log/slog"

	"os"

	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/natsstore"
	"github.com/evertoken/evertoken/storage/natsstore/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main()
	code := m.Run()
	shared.stop()
	os.Exit(code)
}

func startChild(t testing.TB) *natstest.Server {
	t.Helper()
	s, err := natstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shared is the server of all tests that do not kill theirs. It is started by
// the first that asks, which a child process of the suite never is.
var shared server

type server struct {
	mu    sync.Mutex
	url   string
	child *natstest.Server
}

// location is where the server is: the URL that the environment gives, or of a
// server that is started.
func (s *server) location(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.url == "" {
		s.url = os.Getenv("EVERTOKEN_TEST_NATS")
	}
	if s.url == "" {
		s.child = startChild(t)
		s.url = s.child.URL()
	}
	return s.url
}

func (s *server) stop() {
	connections.Range(func(_, nc any) bool {
		nc.(*nats.Conn).Close()
		return true
	})
	s.child.Stop()
}

// connections has one connection a URL.
var connections sync.Map

func connect(at string) (jetstream.JetStream, error) {
	nc, ok := connections.Load(at)
	if !ok {
		dialled, err := nats.Connect(at, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
		if err != nil {
			return nil, err
		}
		if nc, ok = connections.LoadOrStore(at, dialled); ok {
			dialled.Close()
		}
	}
	return jetstream.New(nc.(*nats.Conn))
}

// open reads a location of these tests: a URL, a # and the name of the bucket.
func open(location string) (*natsstore.Store, error) {
	at, bucket, _ := strings.Cut(location, "#")
	js, err := connect(at)
	if err != nil {
		return nil, err
	}
	return natsstore.New(context.Background(), js, natsstore.Options{Bucket: bucket, Logger: slog.New(slog.DiscardHandler)})
}

var buckets atomic.Int64

// place is a location of its own on the server. It goes with the test.
func place(t testing.TB, at string, change func(*jetstream.KeyValueConfig)) string {
	t.Helper()
	js, err := connect(at)
	if err != nil {
		t.Fatal(err)
	}
	config := natsstore.Bucket(fmt.Sprintf("test-%d-%d", os.Getpid(), buckets.Add(1)), 1)
	if change != nil {
		change(&config)
	}
	if _, err := js.CreateKeyValue(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := js.DeleteKeyValue(context.Background(), config.Bucket); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return at + "#" + config.Bucket
}

// opened is a place on the shared server with a store on it.
func opened(t *testing.T, change func(*jetstream.KeyValueConfig)) (*natsstore.Store, jetstream.KeyValue) {
	t.Helper()
	location := place(t, shared.location(t), change)
	store, err := open(location)
	if err != nil {
		t.Fatal(err)
	}
	at, bucket, _ := strings.Cut(location, "#")
	js, err := connect(at)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	return store, kv
}

func save(t *testing.T, s storage.Store, key, data string, prev storage.Version) storage.Version {
	t.Helper()
	v, err := s.Save(t.Context(), key, []byte(data), prev)
	if err != nil {
		t.Fatalf("Save(%q) = %v", key, err)
	}
	return v
}
