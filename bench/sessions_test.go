package main

import (
	"context"
	"strings"
	"testing"
)

// Every client is weighed, and a pool takes no goroutine for a session.
func TestHold(t *testing.T) {
	for _, p := range []peer{{name: "pool", connect: connectPool()}, own()} {
		h, err := hold(context.Background(), p, 50)
		if err != nil {
			t.Fatal(err)
		}
		if h.bytes < 500 || h.bytes > 100_000 || (h.goroutines < 0.5) != (p.name == "pool") {
			t.Errorf("%+v", h)
		}
	}
}

func TestReadGrowth(t *testing.T) {
	got, err := readGrowth([]byte(`goos: linux
BenchmarkPool/sessions=1000-2         	       3	         0 ns/op	       934.0 B/session	        52.00 goroutines	     12345 ns/check
BenchmarkPool/sessions=10000-2        	       3	         0 ns/op	       935.4 B/session	        53.00 goroutines	      6789 ns/check
PASS
`))
	if err != nil || len(got.rows) != 2 || strings.Join(got.rows[0], " ") != "1000 12.3µs 52 934" || strings.Join(got.rows[1], " ") != "10000 6.8µs 53 935" {
		t.Errorf("%q, %v", got.rows, err)
	}
	if _, err := readGrowth([]byte("PASS")); err == nil {
		t.Error("figures of nothing")
	}
}
