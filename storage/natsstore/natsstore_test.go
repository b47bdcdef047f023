package natsstore_test

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

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/natsstore"
	"github.com/evertoken/evertoken/storage/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.Backend{
		New:  func(t testing.TB) string { return place(t, shared.location(t), nil) },
		Open: func(location string) (storage.Store, error) { return open(location) },
	})
}

// A server that syncs every write and is killed has all that it acknowledged.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	c := startChild(t)
	defer c.stop()
	js, err := connect(c.url())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), natsstore.Bucket("evertoken", 1)); err != nil {
		t.Fatal(err)
	}
	// A connection that comes back by itself would keep a save for the next server
	// instead of failing.
	storetest.RunServer(t, storetest.Server{
		Open: func() (storage.Store, error) {
			nc, err := nats.Connect(c.url(), nats.NoReconnect())
			if err != nil {
				return nil, err
			}
			t.Cleanup(nc.Close)
			js, err := jetstream.New(nc)
			if err != nil {
				return nil, err
			}
			return natsstore.New(t.Context(), js, natsstore.Options{})
		},
		Kill:  c.kill,
		Start: c.start,
	})
}

// A record that was deleted by other means than ours, or by a server, is absent
// and can be created again; no version comes back.
func TestMarksOfDeletion(t *testing.T) {
	for _, mark := range []string{"delete", "purge"} {
		t.Run(mark, func(t *testing.T) {
			store, kv := opened(t, func(c *jetstream.KeyValueConfig) { c.History = 5 })
			old := save(t, store, "k", "one", "")
			remove := map[string]func() error{
				"delete": func() error { return kv.Delete(t.Context(), "record.k") },
				"purge":  func() error { return kv.Purge(t.Context(), "record.k") },
			}[mark]
			if err := remove(); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Load(t.Context(), "k"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("Load = %v, want ErrNotFound", err)
			}
			if _, err := store.Save(t.Context(), "k", []byte("late"), old); !errors.Is(err, storage.ErrConflict) {
				t.Errorf("the late Save = %v, want ErrConflict", err)
			}
			if v := save(t, store, "k", "two", ""); v == old {
				t.Errorf("version %q came back", v)
			}
		})
	}
}

// Deleting a session removes its older tokens too.
func TestDeleteLeavesNoHistory(t *testing.T) {
	store, kv := opened(t, func(c *jetstream.KeyValueConfig) { c.History = 5 })
	v := save(t, store, "k", "one", "")
	v = save(t, store, "k", "two", v)
	if err := store.Delete(t.Context(), "k", v); err != nil {
		t.Fatal(err)
	}
	entries, err := kv.History(t.Context(), "record.k")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(e.Value()) > 0 {
			t.Errorf("%q is still in the bucket", e.Value())
		}
	}
}

// A bucket that would drop records, or refuse them, is refused, and one that can
// lose them is told of.
func TestBucketsThatForget(t *testing.T) {
	at := shared.location(t)
	js, err := connect(at)
	if err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*jetstream.KeyValueConfig){
		"":                    func(*jetstream.KeyValueConfig) {},
		"kept in memory":      func(c *jetstream.KeyValueConfig) { c.Storage = jetstream.MemoryStorage },
		"its TTL must be 0":   func(c *jetstream.KeyValueConfig) { c.TTL = time.Hour },
		"values of 512 bytes": func(c *jetstream.KeyValueConfig) { c.MaxValueSize = 512 },
	} {
		_, bucket, _ := strings.Cut(place(t, at, change), "#")
		var logged bytes.Buffer
		_, err := natsstore.New(t.Context(), js, natsstore.Options{Bucket: bucket, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		told := logged.String()
		if err != nil {
			told = err.Error()
		}
		if !strings.Contains(told, says) || (told == "") != (says == "") {
			t.Errorf("New told %q, want %q", told, says)
		}
		if volatile := says == "kept in memory"; volatile != (logged.Len() > 0) || volatile && err != nil {
			t.Errorf("%q: New = %v, and logged %q", says, err, logged.String())
		}
	}
}

func TestBadOptions(t *testing.T) {
	js, err := connect(shared.location(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := natsstore.New(t.Context(), nil, natsstore.Options{}); err == nil || !strings.Contains(err.Error(), "js is nil") {
		t.Errorf("New = %v, want the argument named", err)
	}
	for _, bucket := range []string{"no bucket", "nowhere"} {
		if _, err := natsstore.New(t.Context(), js, natsstore.Options{Bucket: bucket}); err == nil || !strings.Contains(err.Error(), `bucket "`+bucket+`"`) {
			t.Errorf("New = %v, want the bucket named", err)
		}
	}
}

// A domain or an account has its JetStream under another prefix.
func TestOtherPrefixes(t *testing.T) {
	location := place(t, shared.location(t), nil)
	at, bucket, _ := strings.Cut(location, "#")
	known, err := connect(at)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.NewWithAPIPrefix(known.Conn(), "$JS.API")
	if err != nil {
		t.Fatal(err)
	}
	store, err := natsstore.New(t.Context(), js, natsstore.Options{Bucket: bucket})
	if err != nil {
		t.Fatal(err)
	}
	save(t, store, "k", "two", save(t, store, "k", "one", ""))
}

// A connection that is silent holds up nobody whose context ends.
func TestSilentServer(t *testing.T) {
	c := startChild(t)
	defer c.stop()
	js, err := connect(c.url())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), natsstore.Bucket("evertoken", 1)); err != nil {
		t.Fatal(err)
	}
	quiet := muffle(t, strings.TrimPrefix(c.url(), "nats://"))
	nc, err := nats.Connect("nats://" + quiet.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	muffled, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	store, err := natsstore.New(t.Context(), muffled, natsstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	close(quiet.silent)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, loaded := store.Load(ctx, "k")
	_, saved := store.Save(ctx, "k", nil, "7")
	_, leased := store.Acquire(ctx, "k", time.Second)
	for step, err := range map[string]error{"Load": loaded, "Save": saved, "Acquire": leased} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v, want DeadlineExceeded", step, err)
		}
	}
}

// A muffler is a way to a server on which, from some time on, nothing arrives.
type muffler struct {
	addr   string
	silent chan struct{}
}

func muffle(t *testing.T, server string) *muffler {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	m := &muffler{addr: l.Addr().String(), silent: make(chan struct{})}
	go func() {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", server)
		if err != nil {
			_ = near.Close()
			return
		}
		go func() { _, _ = io.Copy(near, far) }()
		_, _ = io.Copy(sink{far, m.silent}, near)
	}()
	return m
}

type sink struct {
	io.Writer
	closed chan struct{}
}

func (s sink) Write(p []byte) (int, error) {
	select {
	case <-s.closed:
		return len(p), nil
	default:
		return s.Writer.Write(p)
	}
}
