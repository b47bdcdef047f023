package main

import (
	"testing"
	"time"
)

// Every client signs requests, and each table row is one of them.
func TestMeasureRequests(t *testing.T) {
	s, err := measureRequests(t.Context(), effort{rounds: 1, turns: 1, requests: 256})
	if err != nil {
		t.Fatal(err)
	}
	if rows := s.tables[0].rows; len(rows) != 1+len(peers()) || rows[1][0] != own().name {
		t.Errorf("%q", rows)
	}
}

// A request of ours waits for no lock.
func TestContention(t *testing.T) {
	all, stop, err := signers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, s := range all {
		if s.name != own().name {
			continue
		}
		if n, err := contention(t.Context(), s, 100_000); n > 0 || err != nil {
			t.Errorf("%d requests waited for a lock, %v", n, err)
		}
	}
}

// Waiting for a lock is seen: x/oauth2 holds one while it gets a token.
func TestContentionIsSeen(t *testing.T) {
	f, err := listen(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	f.delay = 50 * time.Millisecond
	base, stop, err := connectOAuth2(t.Context(), f, f)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if n, err := contention(t.Context(), signer{"x/oauth2", "golang.org/x/oauth2.", base}, crowd); n == 0 || err != nil {
		t.Errorf("%d requests waited for a lock, %v", n, err)
	}
}
