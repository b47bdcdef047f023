package statuspage

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/evertoken/evertoken"
)

// listed is how many sessions a page lists.
const listed = 40

// A tally is what a page keeps of all sessions: however many there are, it does not
// grow.
type tally struct {
	all      int
	standing [gone + 1]int // how many stand how
	renewing int
	waiting  int // callers
	stores   int // sessions whose store fails
	next     time.Time
	worst    []member
}

// A member is a session that is listed.
type member struct {
	name     string
	standing standing
	status   evertoken.Status
}

func newTally(sessions iter.Seq2[string, evertoken.Status], now time.Time) *tally {
	t := &tally{worst: make([]member, 0, listed+1)}
	for name, s := range sessions {
		t.add(member{name, standingOf(s, now), s})
	}
	return t
}

func (t *tally) add(m member) {
	t.all++
	t.standing[m.standing]++
	t.waiting += m.status.Waiting
	t.renewing += one(renewing(m.status))
	t.stores += one(m.status.StoreErr != nil)
	if next := m.status.NextCheck; !next.IsZero() && (t.next.IsZero() || next.Before(t.next)) {
		t.next = next
	}
	t.list(m)
}

// list keeps a session if it is among the worst so far.
func (t *tally) list(m member) {
	full := len(t.worst) == listed
	if full && compare(m, t.worst[listed-1]) > 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(t.worst, m, compare)
	t.worst = slices.Insert(t.worst, at, m)
	if full {
		t.worst = t.worst[:listed]
	}
}

// compare is the same for the same sessions, in whatever order they come: else the
// page would never be still.
func compare(a, b member) int {
	return cmp.Or(cmp.Compare(a.standing, b.standing), sooner(a.status.Expiry, b.status.Expiry), cmp.Compare(a.name, b.name))
}

// sooner puts what has no end last.
func sooner(a, b time.Time) int {
	if a.IsZero() != b.IsZero() {
		return one(a.IsZero()) - one(b.IsZero())
	}
	return a.Compare(b)
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

// signedIn leaves out those at rest, of whose tokens nothing is known.
func (t *tally) signedIn() int {
	return t.trouble() + t.standing[well] + t.standing[working]
}

func (t *tally) trouble() int { return t.standing[tokenless] + t.standing[troubled] }

// more is how many are not listed.
func (t *tally) more() int { return t.all - len(t.worst) }
