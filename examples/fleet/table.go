package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// A table shows who renewed what: on a terminal one that is drawn over and over,
// elsewhere a line every five seconds.
type table struct {
	out      io.Writer
	terminal bool
	drawn    time.Time
	lines    int // of the last drawing
}

func newTable(f *os.File) *table {
	info, err := f.Stat()
	return &table{out: f, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// printf has nowhere to report that nobody can read it any more.
func (t *table) printf(format string, args ...any) { _, _ = fmt.Fprintf(t.out, format, args...) }

func (t *table) title(o options, store string) {
	scheme, _, _ := strings.Cut(store, ":")
	t.printf("%d processes share one session on %s for %v; tokens of %v, grace %v\n",
		o.workers, scheme, o.duration, o.lifetime, o.grace)
}

func (t *table) draw(f *fleet) {
	now := time.Now()
	if !t.terminal {
		if now.Sub(t.drawn) >= 5*time.Second {
			t.drawn = now
			sum := f.summary()
			t.printf("renewals %d, spent twice %d, sessions lost %d, requests %d, failed %d\n",
				sum.Renewals, sum.SpentTwice, sum.losses(), sum.Requests, sum.Failed)
		}
		return
	}
	rows := []string{"worker  state     lives  renewed  adopted  requests  failed  slowest"}
	for _, m := range f.crew {
		m.mu.Lock()
		r := m.past.plus(m.now)
		rows = append(rows, fmt.Sprintf("%6d  %-8s %6d %8d %8d %9d %7d %8s",
			m.n, m.state, m.lives, m.renewed, m.adopted, r.Requests, r.Failed, r.Slowest.Round(time.Millisecond)))
		m.mu.Unlock()
	}
	if t.lines > 0 {
		t.printf("\x1b[%dA", t.lines)
	}
	t.printf("\x1b[K%s\n", strings.Join(rows, "\n\x1b[K"))
	t.lines = len(rows)
}

func (s summary) losses() (n int) {
	for _, lost := range s.Lost {
		n += lost
	}
	return n
}

func (t *table) summary(s summary) {
	t.printf("\n%6d renewals, %d of them asked for again within the grace\n%6d refresh tokens spent twice\n%6d sessions lost\n",
		s.Renewals, s.Again, s.SpentTwice, s.losses())
	causes := make([]string, 0, len(s.Lost))
	for cause := range s.Lost {
		causes = append(causes, cause)
	}
	slices.Sort(causes)
	for _, cause := range causes {
		t.printf("%10d %s\n", s.Lost[cause], cause)
	}
	t.printf("%6d requests, the slowest %v\n%6d requests failed", s.Requests, s.Slowest.Round(time.Millisecond), s.Failed)
	t.printf(", %d of them although the store had a valid token\n", s.Wronged)
	if s.Stall > longStall {
		t.printf("       the machine stood still for %v; only losses without a cause count\n", s.Stall.Round(time.Millisecond))
	}
	if s.Killed+s.Frozen > 0 {
		t.printf("%6d times a worker was killed, %d times frozen\n", s.Killed, s.Frozen)
	}
	if s.Outages > 0 {
		t.printf("%6d times the store's server was killed\n", s.Outages)
	}
}
