package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/evertoken/evertoken/internal/testserver"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/redisstore"
	"github.com/evertoken/evertoken/storage/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		New:  func(t testing.TB) string { return place(t, shared.location(t)) },
		Open: func(location string) (storage.Store, error) { return open(location) },
	})
}

// All keys of a session are on one node of a cluster.
func TestOneHashTag(t *testing.T) {
	store, client, prefix := opened(t)
	lease, err := store.Acquire(t.Context(), "a}{b", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	save(t, store, "a}{b", "x", "")
	for _, name := range []string{prefix + "{a%7d%7bb}:record", prefix + "{a%7d%7bb}:lease"} {
		if n, err := client.Exists(t.Context(), name).Result(); err != nil || n != 1 {
			t.Errorf("there is no %q: %v", name, err)
		}
	}
}

// A save that the client repeats because the answer was lost is no conflict.
func TestSaveThatIsSentTwice(t *testing.T) {
	_, client, prefix := opened(t)
	cut := &cutter{command: "eval"}
	client.AddHook(cut)
	store, err := redisstore.New(t.Context(), client, redisstore.Options{Prefix: prefix, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	cut.repeat = true
	v := save(t, store, "k", "one", "")
	v = save(t, store, "k", "two", v)
	lease, err := store.Acquire(t.Context(), "k", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Extend(t.Context()); err != nil {
		t.Errorf("Extend: %v", err)
	}
	lease.Release()
	if err := store.Delete(t.Context(), "k", v); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if cut.repeated < 5 {
		t.Errorf("%d commands were repeated, want all of them", cut.repeated)
	}
}

// A cutter sends each script twice, as the client does whose first answer was
// lost.
type cutter struct {
	command  string
	repeat   bool
	repeated int
}

func (c *cutter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *cutter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *cutter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && c.repeat && strings.HasPrefix(cmd.Name(), c.command) {
			c.repeated++
			return next(ctx, cmd)
		}
		return err
	}
}

// A server that is there but never answers holds up nobody whose context ends.
func TestSilentServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	asked := make(chan struct{}, 16)
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			asked <- struct{}{}
			go func() { _, _ = io.Copy(io.Discard, conn) }()
		}
	}()
	client := redis.NewClient(&redis.Options{Addr: silent.Addr().String(), ReadTimeout: time.Minute, Protocol: 2})
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	began := time.Now()
	_, err = redisstore.New(ctx, client, redisstore.Options{})
	if waited := time.Since(began); !errors.Is(err, context.Canceled) || waited > 10*time.Second {
		t.Errorf("New = %v after %v, want Canceled at once", err, waited)
	}
}

func TestWhatIsNotOurs(t *testing.T) {
	store, client, prefix := opened(t)
	name := prefix + "{k}:record"
	for kind, plant := range map[string]func(context.Context) error{
		"string": func(ctx context.Context) error { return client.Set(ctx, name, "x", 0).Err() },
		"hash":   func(ctx context.Context) error { return client.HSet(ctx, name, "d", "x").Err() },
	} {
		if err := errors.Join(client.Del(t.Context(), name).Err(), plant(t.Context())); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Load(t.Context(), "k"); err == nil || errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Load of a foreign %s = %v, want an error of its own", kind, err)
		}
	}
}

func TestBadOptions(t *testing.T) {
	if _, err := redisstore.New(t.Context(), nil, redisstore.Options{}); err == nil || !strings.Contains(err.Error(), "client is nil") {
		t.Errorf("New = %v, want the argument named", err)
	}
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer func() { _ = client.Close() }()
	if _, err := redisstore.New(t.Context(), client, redisstore.Options{Prefix: "{x}"}); err == nil || !strings.Contains(err.Error(), `Prefix "{x}"`) {
		t.Errorf("New = %v, want the field named", err)
	}
	_, err := redisstore.New(t.Context(), client, redisstore.Options{})
	var dial *net.OpError
	if !errors.As(err, &dial) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("New = %v, want the address named", err)
	}
}

// started is a server of this test's own.
func started(t *testing.T, args ...string) *testserver.Redis {
	t.Helper()
	r, err := testserver.StartRedis(args...)
	if errors.Is(err, testserver.ErrNotInstalled) {
		testserver.Missing(t, "redis-server", "apt-get install redis-server")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// In a cluster the scripts run where the session's keys are, whichever that is.
func TestCluster(t *testing.T) {
	ports := freePorts(t, 2)
	r := started(t, "--port", ports[0], "--cluster-port", ports[1], "--bind", "127.0.0.1",
		"--cluster-enabled", "yes", "--appendonly", "yes", "--appendfsync", "always")
	admin, err := connect(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close() }()
	if err := admin.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + ports[0]}, ReadOnly: true, MaxRedirects: 20})
	defer func() { _ = client.Close() }()
	var logged bytes.Buffer
	store, err := redisstore.New(t.Context(), client, redisstore.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil || logged.Len() > 0 {
		t.Fatalf("New = %v, and logged %q", err, logged.String())
	}
	for _, key := range []string{"a", "b", "}{", "{}", "{c}d"} {
		lease, err := store.Acquire(t.Context(), key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		save(t, store, key, "two", save(t, store, key, "one", ""))
		lease.Release()
	}
	record, recordErr := client.ClusterKeySlot(t.Context(), "evertoken:{%7d%7b}:record").Result()
	lease, leaseErr := client.ClusterKeySlot(t.Context(), "evertoken:{%7d%7b}:lease").Result()
	if record != lease || recordErr != nil || leaseErr != nil {
		t.Errorf("record and lease are in slots %d and %d, %v, %v", record, lease, recordErr, leaseErr)
	}
}

// freePorts finds ports of loopback that nobody listens on.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}

// The server is asked when the store is made, and what it says is told.
func TestServerThatForgets(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{durable, ""},
		{nil, "appendonly is no"},
		{[]string{"--appendonly", "yes"}, "appendfsync is everysec"},
		{[]string{"--appendonly", "yes", "--appendfsync", "no"}, "appendfsync is no"},
		{append([]string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, durable...), "maxmemory-policy is allkeys-lru"},
		{append([]string{"--maxmemory-policy", "allkeys-lru"}, durable...), ""},
		{append([]string{"--rename-command", "CONFIG", ""}, durable...), "cannot tell"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			client, err := connect(started(t, tt.args...).URL())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			var logged bytes.Buffer
			store, err := redisstore.New(t.Context(), client, redisstore.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			if err != nil {
				t.Fatal(err)
			}
			if got := logged.String(); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("New logged %q, want %q", got, tt.want)
			}
			err = store.Check(t.Context())
			untold := tt.want == "cannot tell"
			if errors.Is(err, redisstore.ErrUntold) != untold || errors.Is(err, redisstore.ErrVolatile) != (tt.want != "" && !untold) {
				t.Errorf("Check = %v", err)
			}
		})
	}
}

// A server that is set as New wants it keeps every save that it acknowledged,
// though it is killed while saves are under way.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	r := started(t, durable...)
	storetest.RunServer(t, storetest.Server{
		Open:  func() (storage.Store, error) { return open(r.URL() + "?max_retries=1#k:") },
		Kill:  r.Kill,
		Start: r.Start,
	})
}

// What a server loses that does not keep its saves is found out: a holder from
// before cannot overwrite what came after.
func TestForgottenVersionsAreNotReused(t *testing.T) {
	r := started(t)
	store, err := open(r.URL() + "#k:")
	if err != nil {
		t.Fatal(err)
	}
	old := save(t, store, "k", "before", "")
	r.Kill()
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Load(t.Context(), "k"); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("Load = %v of a server that keeps nothing", err)
	}
	save(t, store, "k", "after", "")
	if _, err := store.Save(t.Context(), "k", []byte("late"), old); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("the late Save = %v, want ErrConflict", err)
	}
}
