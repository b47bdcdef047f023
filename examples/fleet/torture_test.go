package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
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

// torture runs a fleet and prints what came of it. The server of the store, if
// there is one, is killed every few seconds.
func torture(t *testing.T, o options, store restartable) summary {
	t.Helper()
	f, err := newFleet(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	restarted := make(chan error, 1)
	go func() { restarted <- restart(ctx, f, store) }()
	sum, err := f.run(t.Context(), func() {})
	cancel()
	if failed := <-restarted; failed != nil {
		t.Errorf("the store's server does not come back: %v", failed)
	}
	if err != nil {
		t.Fatal(err)
	}
	table := newTable(os.Stdout)
	table.out = t.Output()
	table.summary(sum)
	for _, line := range sum.Traces {
		t.Log(line)
	}
	if err := sum.verdict(o.grace > 0); err != nil {
		t.Error(err)
	}
	return sum
}

func restart(ctx context.Context, f *fleet, store restartable) error {
	if store == nil {
		return nil
	}
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

func TestTortureOnFiles(t *testing.T) { torture(t, tortured("file:"+t.TempDir()+"/session"), nil) }

// Without a grace sessions may be lost, of causes that no client can do anything
// about; the verdict is on all others.
func TestTortureWithoutGrace(t *testing.T) {
	o := tortured("file:" + t.TempDir() + "/session")
	o.grace = 0
	torture(t, o, nil)
}

func TestTortureOnRedis(t *testing.T) {
	srv, err := testserver.StartRedis("--appendonly", "yes", "--appendfsync", "always")
	installed(t, err, "Redis", testserver.HowRedis)
	t.Cleanup(srv.Stop)
	torture(t, tortured(srv.URL()), srv)
}

func TestTortureOnPostgres(t *testing.T) {
	srv, err := testserver.StartPostgres()
	installed(t, err, "PostgreSQL", testserver.HowPostgres)
	t.Cleanup(srv.Stop)
	torture(t, tortured(srv.URL()), srv)
}

func TestTortureOnNATS(t *testing.T) {
	srv, err := natstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	torture(t, tortured(srv.URL()), srv)
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
