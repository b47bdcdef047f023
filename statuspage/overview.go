package statuspage

import (
	"cmp"
	"container/heap"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/evertoken/evertoken"
)

// listed is how many sessions an overview names.
const listed = 20

// A tally is what many sessions come to.
type tally struct {
	Sessions  int `json:"sessions"` // in memory
	Resting   int `json:"resting"`  // of those: until somebody uses them
	SignedIn  int `json:"signedIn"`
	Degraded  int `json:"degraded"` // of those: with a token that is valid, and trouble
	Invalid   int `json:"invalid"`  // of those: without a token that is valid
	SignedOut int `json:"signedOut"`
	Closed    int `json:"closed"`
	Renewing  int `json:"renewing"`
	Waiting   int `json:"waiting"`      // callers
	Failing   int `json:"storeFailing"` // sessions whose store fails
	next      time.Time
	shown     worst
}

// A named is the status of one of many sessions.
type named struct {
	name   string
	status evertoken.Status
	need   int
}

// survey looks at each session once, and keeps those that need somebody most.
func survey(sessions iter.Seq2[string, evertoken.Status], now time.Time) *tally {
	t := &tally{}
	for name, s := range sessions {
		t.add(s, now)
		t.shown.offer(named{name, s, need(s, now)})
	}
	slices.SortFunc(t.shown, func(a, b named) int { return before(a, b) })
	return t
}

func (t *tally) add(s evertoken.Status, now time.Time) {
	t.Sessions++
	t.Waiting += s.Waiting
	t.Resting += one(s.NextCheck.IsZero() && s.State != evertoken.Closed)
	t.Renewing += one(renewing(s))
	t.Failing += one(s.StoreErr != nil)
	switch {
	case s.State == evertoken.Closed:
		t.Closed++
	case s.State == evertoken.SignedOut:
		t.SignedOut++
	default:
		t.SignedIn++
		t.Invalid += one(!valid(s, now))
		t.Degraded += one(valid(s, now) && s.State == evertoken.Degraded)
	}
	if n := s.NextCheck; !n.IsZero() && (t.next.IsZero() || n.Before(t.next)) {
		t.next = n
	}
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

// need says how much a session needs somebody; the less, the more.
func need(s evertoken.Status, now time.Time) int {
	switch {
	case s.State == evertoken.Closed:
		return 5
	case s.State == evertoken.SignedOut && s.Err != nil:
		return 2
	case s.State == evertoken.SignedOut:
		return 4
	case !valid(s, now):
		return 0
	case s.State == evertoken.Degraded:
		return 1
	case renewing(s):
		return 3
	}
	return 4
}

func before(a, b named) int {
	return cmp.Or(cmp.Compare(a.need, b.need), a.status.Expiry.Compare(b.status.Expiry), cmp.Compare(a.name, b.name))
}

// worst are the sessions that need somebody most, as a heap with the one that does
// so least on top.
type worst []named

func (w worst) Len() int           { return len(w) }
func (w worst) Less(i, j int) bool { return before(w[i], w[j]) > 0 }
func (w worst) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }

// Push implements heap.Interface.
func (w *worst) Push(x any) { *w = append(*w, x.(named)) }

// Pop implements heap.Interface.
func (w *worst) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}

func (w *worst) offer(n named) {
	switch {
	case len(*w) < listed:
		heap.Push(w, n)
	case before(n, (*w)[0]) < 0:
		(*w)[0] = n
		heap.Fix(w, 0)
	}
}

// An overview is the page of many sessions.
type overview struct {
	Look     string
	Headline string
	Lead     string
	Gauge    gauge
	Facts    []fact
	Timeline []chart
	Legend   []key
	Sessions []line
	More     string // how many are not among them; empty: none
	History  []entry
	Now      string
}

// A line is one session of an overview.
type line struct {
	Look, Name, Link, Say, Error string
}

func newOverview(t *tally, events []evertoken.Event, now time.Time) overview {
	scrub := newScrubber()
	v := overview{
		Look: t.look(), Headline: t.headline(), Lead: t.lead(), Gauge: t.gauge(), Facts: t.facts(now),
		History: newHistory(events, scrub, now), Legend: legend(events), Now: stamp(now),
	}
	if more := t.Sessions - len(t.shown); more > 0 {
		v.More = count(more)
	}
	for _, n := range t.shown {
		v.Sessions = append(v.Sessions, line{lamp(n.status, now), shorten(n.name), link(n.name), say(n.status, now), scrub.text(n.status.Err)})
	}
	for i := range v.History {
		v.History[i].Link, v.History[i].Session = link(v.History[i].Session), shorten(v.History[i].Session)
	}
	for _, width := range []int{wide, narrow} {
		v.Timeline = append(v.Timeline, newPoolChart(events, now, width))
	}
	return v
}

// lamp is the look of one of many sessions: that somebody signed out is no trouble.
func lamp(s evertoken.Status, now time.Time) string {
	if s.State == evertoken.SignedOut && s.Err == nil {
		return "off"
	}
	return look(s, now)
}

func link(name string) string { return "?" + url.Values{"session": {name}}.Encode() }

func (t *tally) look() string {
	switch {
	case t.Closed > 0 && t.Closed == t.Sessions:
		return "off"
	case t.Invalid > 0:
		return "bad"
	case t.Degraded > 0:
		return "warn"
	case t.Renewing > 0:
		return "busy"
	}
	return "ok"
}

func (t *tally) headline() string {
	trouble := t.Degraded + t.Invalid
	switch {
	case t.Sessions == 0:
		return "No sessions"
	case t.Closed == t.Sessions:
		return "Closed"
	case trouble > 0:
		return count(trouble) + " of " + plural(t.Sessions, "session") + " in trouble"
	case t.Sessions == 1:
		return "1 session, and it is well"
	}
	return plural(t.Sessions, "session") + ", all well"
}

func (t *tally) lead() string {
	switch {
	case t.Sessions == 0:
		return "Nobody has used a session yet, or not for a long time."
	case t.Closed == t.Sessions:
		return "Requests get no token."
	case t.Invalid > 0:
		return "Requests of " + plural(t.Invalid, "session") + " wait for a token, or fail."
	case t.Degraded > 0:
		return "Requests have a token. Where there is trouble, it lasts for the time that is told below."
	}
	return "Requests of who is signed in have a token. It is renewed before it ends."
}

func (t *tally) gauge() gauge {
	if t.SignedIn == 0 {
		return gauge{Value: "none", Note: "signed in"}
	}
	well := t.SignedIn - t.Degraded - t.Invalid
	percent := 100 * well / t.SignedIn
	return gauge{Percent: percent, Value: strconv.Itoa(percent) + " %", Note: "are well"}
}

func (t *tally) facts(now time.Time) []fact {
	return []fact{
		{Name: "Sessions in memory", Value: count(t.Sessions), Note: count(t.Resting) + " at rest, until they are used"},
		{Name: "Signed in", Value: count(t.SignedIn), Note: count(t.SignedOut) + " signed out, or ended by the issuer"},
		{"In trouble", count(t.Degraded), "with a token that is valid", tone(t.Degraded, "warn")},
		{"Without a valid token", count(t.Invalid), "requests wait, or fail", tone(t.Invalid, "bad")},
		{"Renewing", count(t.Renewing), "now", tone(t.Renewing, "busy")},
		{"Waiting for a token", count(t.Waiting), "callers", tone(t.Waiting, "busy")},
		t.store(),
		moment("Next check", t.next, now, "never"),
	}
}

func (t *tally) store() fact {
	if t.Failing == 0 {
		return fact{"Store", "Healthy", "", "ok"}
	}
	return fact{"Store", "Fails", "for " + plural(t.Failing, "session"), "bad"}
}

func tone(n int, look string) string {
	if n == 0 {
		return ""
	}
	return look
}

// say says how one of many sessions is.
func say(s evertoken.Status, now time.Time) string {
	text := headline(s, now)
	if s.NextCheck.IsZero() && s.State != evertoken.Closed {
		text += ", at rest"
	}
	if valid(s, now) && !s.Expiry.IsZero() {
		text += ", until " + clock(s.Expiry, now) + " (" + away(s.Expiry, now) + ")"
	}
	return text
}

// count writes a number for people.
func count(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%s %ss", count(n), what)
}
