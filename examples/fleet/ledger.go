package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Causes of a lost session that only one blow explains, or none. Without a grace
// all but the last are beyond any client: nobody else has the new pair. Where the
// server has a grace no single blow costs a session, for the next process asks
// again before it is over.
const (
	killedUnsaved = "killed with a pair that was not saved"
	frozenUnsaved = "frozen with a pair that was not saved"
	storeUnsaved  = "the store was down, with a pair that was not saved"
	frozenSending = "frozen between the last look at the lease and the sending"
	noCause       = "no cause"
)

// A ledger knows who sent which refresh token when, and what befell whom, so
// that it can tell of what a session died.
type ledger struct {
	grace    time.Duration
	mu       sync.Mutex          // the last to be taken
	spent    map[string]spending // by refresh token
	blows    map[int][]blow      // by worker
	outages  []blow              // of the store
	renewals int
	again    int            // refresh tokens that were sent again within the grace
	lost     map[string]int // by cause
	single   int            // of those, the ones that a single blow explains, or none
	traces   []string       // one line for each session that was lost
	ended    map[string]bool
}

// A spending is the first use of a refresh token, and all who sent it since.
type spending struct {
	worker  int
	at      time.Time
	senders []int
}

// Kinds of blows.
const (
	killed = "killed"
	frozen = "frozen"
	down   = "down"
)

// A blow is what was done to a worker, or to the store.
type blow struct {
	kind     string // killed, frozen or down
	from, to time.Time
}

func newLedger(grace time.Duration) *ledger {
	return &ledger{
		grace: grace, spent: make(map[string]spending), blows: make(map[int][]blow),
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
	l.outages = append(l.outages, blow{kind: down, from: time.Now()})
	n := len(l.outages) - 1
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.outages[n].to = time.Now()
	}
}

// note is told of each renewal that the server has answered.
func (l *ledger) note(worker int, token string, granted bool, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, known := l.spent[token]
	switch {
	case granted && known:
		l.again++
		first.senders = append(first.senders, worker)
		l.spent[token] = first
	case granted:
		l.renewals++
		l.spent[token] = spending{worker, at, []int{worker}}
	case known && !l.ended[token]:
		l.ended[token] = true
		cause, blows := l.cause(first, worker, at)
		l.lost[cause]++
		if blows < 2 {
			l.single++
		}
		l.traces = append(l.traces, fmt.Sprintf("worker %d sent at %s what worker %d had exchanged %v before: %s",
			worker, at.Format("15:04:05.000"), first.worker, at.Sub(first.at).Round(time.Millisecond), cause))
	}
}

// reaction is by how much a blow may be noted before or after it falls.
const reaction = 200 * time.Millisecond

// cause says of what the session died whose token was spent before, and came back
// from worker at t, and how many blows that were. With mu held.
func (l *ledger) cause(first spending, worker int, t time.Time) (cause string, blows int) {
	kinds := make(map[string]int)
	count := func(all []blow) {
		for _, b := range all {
			if b.from.Before(t) && (b.to.IsZero() || b.to.After(first.at.Add(-reaction))) {
				kinds[b.kind]++
				blows++
			}
			if b.kind == down && l.outlasts(b, t) {
				blows++ // nobody can ask again in time
			}
		}
	}
	count(l.outages)
	for _, w := range slices.Compact(slices.Sorted(slices.Values(first.senders))) {
		count(l.blows[w])
	}
	switch {
	case len(kinds) > 1 || blows > 1:
		return strings.Join(slices.Sorted(maps.Keys(kinds)), " and ") + ", with a pair that was not saved", blows
	case kinds[killed] > 0:
		return killedUnsaved, blows
	case kinds[frozen] > 0:
		return frozenUnsaved, blows
	case kinds[down] > 0:
		return storeUnsaved, blows
	}
	for _, b := range l.blows[worker] {
		if b.kind == frozen && !b.to.IsZero() && t.Sub(b.to) < reaction && b.to.Before(t.Add(reaction)) {
			return frozenSending, 1
		}
	}
	return noCause, 0
}

// outlasts says that an outage was longer than those who wait for its end can use
// the grace: a second of it is for the way.
func (l *ledger) outlasts(b blow, t time.Time) bool {
	to := b.to
	if to.IsZero() {
		to = t
	}
	return l.grace > 0 && to.Sub(b.from) > l.grace-time.Second
}

// summary is the ledger's part of it.
func (l *ledger) summary() summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := summary{Renewals: l.renewals, Again: l.again, Lost: maps.Clone(l.lost), Single: l.single, Outages: len(l.outages), Traces: slices.Clone(l.traces)}
	for _, blows := range l.blows {
		for _, b := range blows {
			if b.kind == killed {
				sum.Killed++
			} else {
				sum.Frozen++
			}
		}
	}
	return sum
}
