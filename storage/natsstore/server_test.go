package natsstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/evertoken/evertoken/internal/testserver"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/natsstore"
)

// This program is the server too, when it is started with these.
const (
	envFolder = "NATSSTORE_TEST_FOLDER"
	envPort   = "NATSSTORE_TEST_PORT" // -1: any that is free
	ready     = "listening at "
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envFolder); dir != "" {
		if err := serve(dir, os.Getenv(envPort)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	code := m.Run()
	shared.stop()
	os.Exit(code)
}

// serve runs a server on loopback that syncs every write. It ends when it is
// killed.
func serve(dir, port string) error {
	opts := &natsserver.Options{Host: "127.0.0.1", JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true}
	if _, err := fmt.Sscan(port, &opts.Port); err != nil {
		return err
	}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return fmt.Errorf("the server is not ready after a minute")
	}
	fmt.Println(ready + s.ClientURL())
	select {}
}

// A child is a server in a process of its own, with its files.
type child struct {
	dir  string
	port string
	*testserver.Process
}

func startChild(t testing.TB) *child {
	t.Helper()
	dir, err := os.MkdirTemp("", "nats-")
	if err != nil {
		t.Fatal(err)
	}
	c := &child{dir: dir, port: "-1"}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// start starts the server, the second time on what it had written and where it
// had listened.
func (c *child) start() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envFolder+"="+c.dir, envPort+"="+c.port)
	if c.Process, err = testserver.Launch(cmd, ready); err != nil {
		return err
	}
	u, err := url.Parse(c.url())
	if err != nil {
		return err
	}
	c.port = u.Port()
	return nil
}

func (c *child) url() string {
	_, at, _ := strings.Cut(c.Ready, ready)
	return at
}

// kill ends today's process.
func (c *child) kill() { c.Kill() }

func (c *child) stop() {
	if c == nil {
		return
	}
	c.kill()
	_ = os.RemoveAll(c.dir)
}

// shared is the server of all tests that do not kill theirs. It is started by
// the first that asks, which a child process of the suite never is.
var shared server

type server struct {
	mu    sync.Mutex
	url   string
	child *child
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
		s.url = s.child.url()
	}
	return s.url
}

func (s *server) stop() {
	connections.Range(func(_, nc any) bool {
		nc.(*nats.Conn).Close()
		return true
	})
	s.child.stop()
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
