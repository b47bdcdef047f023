package storetest

import (
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/evertoken/evertoken/storage"
)

// A Server keeps the records of a backend and can be killed.
type Server struct {
	// Open returns a store with connections of its own.
	Open func() (storage.Store, error)

	// Kill ends the server at once, Start starts it again on what it had written.
	Kill  func()
	Start func() error
}

// RunServer proves that a server which is killed amid saves and started again
// has every save that it acknowledged, and that saves which fail meanwhile are
// not taken for a verdict on the record.
func RunServer(t *testing.T, s Server) {
	t.Helper()
	outage(t, s)
}

func outage(t tester, s Server) {
	t.Helper()
	const rounds, enough = 4, 25
	counters := make([]*counter, 4)
	open(t, s, counters)
	for i, c := range counters {
		var err error
		c.key = strconv.Itoa(i)
		if c.version, err = c.store.Save(t.Context(), c.key, []byte("0"), ""); err != nil {
			t.Fatalf("Save: %v", err)
		}
	}
	for range rounds {
		reached := make(chan struct{})
		var wg sync.WaitGroup
		for i, c := range counters {
			goal := enough
			if i > 0 {
				goal = -1 // the first one gives the word
			}
			wg.Go(func() { c.count(t, goal, reached) })
		}
		<-reached
		s.Kill()
		wg.Wait()
		if err := s.Start(); err != nil {
			t.Fatalf("Start: %v", err)
		}
		// Clients that met a dead server may go on failing for a while.
		open(t, s, counters)
		for _, c := range counters {
			c.verify(t)
		}
	}
}

// open gives all counters a new store.
func open(t tester, s Server, counters []*counter) {
	t.Helper()
	store, err := s.Open()
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	for i := range counters {
		if counters[i] == nil {
			counters[i] = &counter{}
		}
		counters[i].store = store
	}
}

// A counter counts up in a record of its own.
type counter struct {
	store   storage.Store
	key     string
	n       int // the last save that was acknowledged
	version storage.Version
}

// count saves until that fails, and says when it has done so often enough.
func (c *counter) count(t tester, enough int, reached chan<- struct{}) {
	said := enough < 0
	for n := 0; ; n++ {
		if n == enough {
			said = true
			close(reached)
		}
		v, err := c.store.Save(t.Context(), c.key, []byte(strconv.Itoa(c.n+1)), c.version)
		switch {
		case err == nil:
			c.n, c.version = c.n+1, v
			continue
		case errors.Is(err, storage.ErrConflict), errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrCorrupt):
			t.Errorf("Save beside a kill: %v", err)
		case !said:
			t.Errorf("Save before the kill: %v", err)
		}
		if !said {
			close(reached)
		}
		return
	}
}

// verify wants the last save that was acknowledged, or the one after it: only
// its answer was lost.
func (c *counter) verify(t tester) {
	t.Helper()
	item, err := c.store.Load(t.Context(), c.key)
	if err != nil {
		t.Fatalf("Load after a restart: %v", err)
	}
	switch now := string(item.Data); {
	case now == strconv.Itoa(c.n) && item.Version == c.version:
	case now == strconv.Itoa(c.n+1) && item.Version != c.version:
		c.n, c.version = c.n+1, item.Version
	default:
		t.Errorf("the server came back with save %.20q of record %s; it had acknowledged %d", now, c.key, c.n)
	}
}
