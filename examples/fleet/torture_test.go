package main

import (
	"context"
	"errors"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evertoken/evertoken/internal/testserver"
	"github.com/evertoken/evertoken/storage/natsstore/natstest"
)

// long is the long form: make torture.
var long = flag.Int("renewals", 0, "how many renewals each fleet makes under torture; 0 means as many as there are in a few seconds")

func TestMain(m *testing.M) {
	natstest.Main()
	if task := os.Getenv(workerEnv); task != "" {
		exit(work(context.Background(), task, os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// tortured are the conditions: tokens that end before most of what befalls the
// workers is over.
func tortured(store string) options {
	o := options{store: store, workers: 6, duration: 8 * time.Second, lifetime: 2500 * time.Millisecond, grace: 3 * time.Second, chaos: true, seed: 1}
	if *long > 0 {
		o.renewals, o.duration, o.lifetime = *long, 20*time.Minute, 300*time.Millisecond
	}
	return o
}

// A restartable server is killed and started again under the fleet.
type restartable interface {
	Kill()
	Start() error
}

// torture runs a fleet and prints what came of it. The store's server, if it has
// one, is killed now and then, and all connections to it are cut.
func torture(t *testing.T, o options, store restartable, w *wire) summary {
	t.Helper()
	f, err := newFleet(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var failed error
	var trouble sync.WaitGroup
	if store != nil {
		trouble.Go(func() { failed = restart(ctx, f, store) })
		trouble.Go(func() { w.fray(ctx) })
	}
	sum, err := f.run(t.Context(), func() {})
	cancel()
	trouble.Wait()
	if failed != nil {
		t.Errorf("the store's server does not come back: %v", failed)
	}
	if err != nil {
		t.Fatal(err)
	}
	table := newTable(os.Stdout)
	table.out = t.Output()
	table.summary(sum)
	if w != nil {
		t.Logf("%d times all connections to the store were cut", w.cuts)
	}
	for _, line := range sum.Traces {
		t.Log(line)
	}
	if err := sum.verdict(o.grace > 0); err != nil {
		t.Error(err)
	}
	return sum
}

func restart(ctx context.Context, f *fleet, store restartable) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Second):
		}
		over := f.server.ledger.outage()
		store.Kill()
		err := store.Start()
		over()
		if err != nil {
			return err
		}
	}
}

func TestTortureOnFiles(t *testing.T) { torture(t, tortured("file:"+t.TempDir()+"/session"), nil, nil) }

// Without a grace sessions may be lost, of causes that no client can do anything
// about; the verdict is on all others.
func TestTortureWithoutGrace(t *testing.T) {
	o := tortured("file:" + t.TempDir() + "/session")
	o.grace = 0
	torture(t, o, nil, nil)
}

func TestTortureOnRedis(t *testing.T) {
	srv, err := testserver.StartRedis("--appendonly", "yes", "--appendfsync", "always")
	installed(t, err, "Redis", testserver.HowRedis)
	t.Cleanup(srv.Stop)
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, "unix", u.Path)
	torture(t, tortured("unix://"+w.Addr().String()), srv, w)
}

func TestTortureOnPostgres(t *testing.T) {
	srv, err := testserver.StartPostgres()
	installed(t, err, "PostgreSQL", testserver.HowPostgres)
	t.Cleanup(srv.Stop)
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, "unix", filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432"))
	u.RawQuery = url.Values{"host": {filepath.Dir(w.Addr().String())}}.Encode()
	torture(t, tortured(u.String()), srv, w)
}

func TestTortureOnNATS(t *testing.T) {
	srv, err := natstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, "tcp", u.Host)
	torture(t, tortured("nats://"+w.Addr().String()), srv, w)
}

// installed goes on if a server has started.
func installed(t *testing.T, err error, what, how string) {
	t.Helper()
	switch {
	case errors.Is(err, testserver.ErrNotInstalled):
		testserver.Missing(t, what, how)
	case err != nil:
		t.Fatal(err)
	}
}

func TestBadStoreURLs(t *testing.T) {
	for location, want := range map[string]string{
		"/tmp/x":                             "no URL",
		"file:":                              "names no folder",
		"mysql://u:s3cret@h/db":              `scheme "mysql" is none of`,
		"redis://u:s3cret@127.0.0.1:1/x":     "database number",
		"postgres://u:s3cret@127.0.0.1:x/db": "no URL",
	} {
		_, err := open(t.Context(), location)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", location, err, want)
		}
	}
}
