package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Causes of a lost session. All but the last are beyond any client. Where the
// server has a grace, only those of two blows at once are: one alone is mended
// before the grace is over.
const (
	bothUnsaved   = "frozen and killed with a pair that it could not save"
	killedUnsaved = "killed with a pair that it could not save"
	frozenUnsaved = "frozen with a pair that it could not save"
	frozenSending = "frozen between the last look at its lease and the sending"
	storeUnsaved  = "cut off from the store with a pair that it could not save"
	noCause       = "no cause"
)

// A ledger knows who sent which refresh token when, and what befell whom, so
// that it can tell of what a session died.
type ledger struct {
	mu       sync.Mutex          // the last to be taken
	spent    map[string]spending // by refresh token: its first use
	blows    map[int][]blow      // by worker
	outages  []blow              // of the store
	renewals int
	again    int // refresh tokens that were sent again within the grace
	lost     map[string]int
	traces   []string // one line for each session that was lost
	ended    map[string]bool
}

type spending struct {
	worker int
	at     time.Time
}

// A blow is what was done to a worker, or to the store.
type blow struct {
	kind     string // "killed", "frozen" or "down"
	from, to time.Time
}

func newLedger() *ledger {
	return &ledger{
		spent: make(map[string]spending), blows: make(map[int][]blow),
		lost: make(map[string]int), ended: make(map[string]bool),
	}
}

// strike notes a blow; a zero to means that it is not over.
func (l *ledger) strike(worker int, kind string) (over func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blows[worker] = append(l.blows[worker], blow{kind: kind, from: time.Now()})
	n := len(l.blows[worker]) - 1
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.blows[worker][n].to = time.Now()
	}
}

// outage notes that the store cannot be reached.
func (l *ledger) outage() (over func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outages = append(l.outages, blow{kind: "down", from: time.Now()})
	n := len(l.outages) - 1
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.outages[n].to = time.Now()
	}
}

// down says that the store cannot be reached, or could not a moment ago.
func (l *ledger) down() bool {
	const moment = 10 * time.Second // workers come back with a backoff
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.outages) == 0 {
		return false
	}
	last := l.outages[len(l.outages)-1]
	return last.to.IsZero() || time.Since(last.to) < moment
}

// note is told of each renewal that the server has answered.
func (l *ledger) note(worker int, token string, granted bool, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, known := l.spent[token]
	switch {
	case granted && known:
		l.again++
	case granted:
		l.renewals++
		l.spent[token] = spending{worker, at}
	case known && !l.ended[token]:
		l.ended[token] = true
		cause := l.cause(first, worker, at)
		l.lost[cause]++
		l.traces = append(l.traces, fmt.Sprintf("worker %d sent at %s what worker %d had exchanged %v before: %s",
			worker, at.Format("15:04:05.000"), first.worker, at.Sub(first.at).Round(time.Millisecond), cause))
	}
}

// cause says of what the session died whose token first was spent, and came back
// from worker at t. With mu held.
func (l *ledger) cause(first spending, worker int, t time.Time) string {
	const reaction = 200 * time.Millisecond // a blow is noted a moment before or after it falls
	for _, b := range l.outages {
		if b.from.Before(t) && (b.to.IsZero() || b.to.After(first.at)) {
			return storeUnsaved
		}
	}
	var killed, frozen bool
	for _, b := range l.blows[first.worker] {
		struck := b.from.Before(t) && (b.to.IsZero() || b.to.After(first.at.Add(-reaction)))
		killed = killed || struck && b.kind == "killed"
		frozen = frozen || struck && b.kind == "frozen"
	}
	switch {
	case killed && frozen:
		return bothUnsaved
	case killed:
		return killedUnsaved
	case frozen:
		return frozenUnsaved
	}
	for _, b := range l.blows[worker] {
		if b.kind == "frozen" && !b.to.IsZero() && t.Sub(b.to) < reaction && b.to.Before(t.Add(reaction)) {
			return frozenSending
		}
	}
	return noCause
}

// summary is the ledger's part of it.
func (l *ledger) summary() summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := summary{Renewals: l.renewals, Again: l.again, Lost: maps.Clone(l.lost), Traces: slices.Clone(l.traces)}
	for _, blows := range l.blows {
		for _, b := range blows {
			if b.kind == "killed" {
				sum.Killed++
			} else {
				sum.Frozen++
			}
		}
	}
	return sum
}
