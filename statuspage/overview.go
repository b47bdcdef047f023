package statuspage

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/evertoken/evertoken"
)

// An overview is the page of all sessions of a pool.
type overview struct{ pool pool }

func (overview) code() int { return http.StatusOK }

func (o overview) view(now time.Time) view {
	t, events, scrub := newTally(o.pool.Sessions(), now), o.pool.Events(), newScrubber()
	v := view{
		Look: t.look(), Headline: t.headline(), Lead: t.lead(now), explanation: t.explain(), Gauge: t.gauge(), Facts: t.facts(now),
		Pool: true, Members: newRows(t, scrub, now), More: t.left(),
		History: newHistory(events, scrub, now), Legend: legend(events), Now: stamp(now),
	}
	for _, width := range []int{wide, narrow} {
		v.Timeline = append(v.Timeline, newPoolChart(events, now, width))
	}
	return v
}

// look is that of the worst that matters. A pool is always renewing some token: that
// matters if somebody waits for one.
func (t *tally) look() string {
	switch {
	case t.standing[tokenless] > 0:
		return "bad"
	case t.standing[troubled] > 0:
		return "warn"
	case t.signedIn() == 0:
		return "off"
	case t.renewing > 0 && t.waiting > 0:
		return "busy"
	}
	return "ok"
}

func (t *tally) headline() string {
	all := count(t.all, "session")
	switch t.all {
	case 0:
		return "No sessions"
	case t.standing[gone]:
		return "Closed"
	case t.standing[resting]:
		return all + ", at rest"
	}
	switch {
	case t.trouble() > 0:
		return thousands(t.trouble()) + " of " + all + " in trouble"
	case t.signedIn() == 0:
		return all + ", none signed in"
	}
	return all + ", all well"
}

// lead says what that means for requests.
func (t *tally) lead(now time.Time) string {
	switch {
	case t.all == 0:
		return "A session is in memory from its first use on, for as long as it is used."
	case t.standing[gone] == t.all:
		return "Requests get no token."
	case t.standing[tokenless] > 0:
		return "Requests of " + count(t.standing[tokenless], "session") + " wait for a token, or fail."
	case t.standing[troubled] > 0:
		return "Requests have a token. Of those in trouble, the first ends " + ends(t.worst[0].status, now) + "."
	case t.signedIn() == 0:
		return "Nothing is renewed."
	}
	return "Requests have a token. It is renewed before it ends."
}

func ends(s evertoken.Status, now time.Time) string {
	if s.Expiry.IsZero() {
		return "nobody knows when"
	}
	return "at " + clock(s.Expiry, now)
}

// explain says what is the matter with all those in trouble that are listed, if it
// is the same.
func (t *tally) explain() explanation {
	var why explanation
	for _, m := range t.worst {
		if m.standing > troubled {
			break
		}
		this := explain(m.status)
		if why != (explanation{}) && this != why {
			return explanation{}
		}
		why = this
	}
	return why
}

// gauge shows how many of those that are signed in are well. It is full only if
// all are.
func (t *tally) gauge() gauge {
	all := t.signedIn()
	if all == 0 {
		return gauge{Value: "none", Note: "signed in"}
	}
	percent := 100 * (all - t.trouble()) / all
	return gauge{percent, strconv.Itoa(percent) + "%", "of " + thousands(all) + " well"}
}

func (t *tally) facts(now time.Time) []fact {
	return []fact{
		{"In memory", thousands(t.all), thousands(t.standing[resting]) + " of them at rest", ""},
		{"Signed in", thousands(t.signedIn()), "renewed while they are used", ""},
		number("In trouble, with a token", t.standing[troubled], "the last attempt failed", "warn"),
		number("Without a valid token", t.standing[tokenless], "though they are signed in", "bad"),
		{"Signed out", thousands(t.standing[out]), "which is no trouble in itself", ""},
		number("Renewing now", t.renewing, count(t.waiting, "caller")+" waiting", "busy"),
		t.store(),
		moment("Next check", t.next, now, "never"),
	}
}

// number is a fact that has a look if it is not zero.
func number(name string, n int, note, look string) fact {
	if n == 0 {
		look = ""
	}
	return fact{name, thousands(n), note, look}
}

func (t *tally) store() fact {
	if t.stores == 0 {
		return fact{"Store", "Healthy", "it failed for no session", "ok"}
	}
	return fact{"Store", "Fails", "for " + count(t.stores, "session"), "bad"}
}

// left says how many are not listed.
func (t *tally) left() string {
	if t.more() == 0 {
		return ""
	}
	return thousands(t.more()) + " more"
}

// count says how many there are of something.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return thousands(n) + " " + what
}

// thousands writes a number that can be read: 1,204.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
