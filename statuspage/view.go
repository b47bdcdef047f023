package statuspage

import (
	"cmp"
	"fmt"
	"time"

	"github.com/evertoken/evertoken"
)

// A view is all that the page says.
type view struct {
	Session  string // of a pool; empty: the page has no need to say whose it is
	Look     string // ok, busy, warn, bad or off
	Headline string
	Lead     string // one line below it
	explanation
	Error    string
	Gauge    gauge
	Facts    []fact
	Timeline []chart // the same for a wide and for a narrow screen
	Legend   []key
	History  []entry
	Pool     bool // it is of all sessions
	Members  []row
	More     string // how many are not listed
	Now      string
}

// A fact is one answer at a glance.
type fact struct{ Name, Value, Note, Look string }

// A gauge shows how much of the token's life is left.
type gauge struct {
	Percent     int
	Value, Note string
}

func newView(s evertoken.Status, events []evertoken.Event, now time.Time) view {
	scrub := newScrubber()
	v := view{
		Look: look(s, now), Headline: headline(s, now), Lead: lead(s, now), explanation: explain(s),
		Error: scrub.text(trouble(s)), Gauge: newGauge(s, now), Facts: facts(s, scrub, now),
		History: newHistory(events, scrub, now), Legend: legend(events),
		Now: stamp(now),
	}
	for _, width := range []int{wide, narrow} {
		v.Timeline = append(v.Timeline, newChart(s, events, now, width))
	}
	return v
}

// trouble is the error that is shown first.
func trouble(s evertoken.Status) error { return cmp.Or(s.Err, s.StoreErr) }

func (v view) title() string {
	if v.Session == "" {
		return v.Headline
	}
	return v.Session + ": " + v.Headline
}

// valid says that requests can have a token.
func valid(s evertoken.Status, now time.Time) bool {
	signedIn := s.State == evertoken.SignedIn || s.State == evertoken.Degraded
	return signedIn && (s.Expiry.IsZero() || now.Before(s.Expiry))
}

// renewing says that an exchange is under way.
func renewing(s evertoken.Status) bool { return s.Lease == "here" && !s.PersistPending }

func look(s evertoken.Status, now time.Time) string {
	switch {
	case s.State == evertoken.Closed:
		return "off"
	case renewing(s):
		return "busy"
	case !valid(s, now):
		return "bad"
	case s.State == evertoken.Degraded:
		return "warn"
	}
	return "ok"
}

func headline(s evertoken.Status, now time.Time) string {
	switch {
	case s.State == evertoken.Closed:
		return "Closed"
	case renewing(s) && s.State == evertoken.SignedOut:
		return "Signing in"
	case renewing(s):
		return "Renewing"
	case s.State == evertoken.SignedOut:
		return "Signed out"
	case !valid(s, now):
		return "No valid token"
	case s.PersistPending:
		return "Signed in, not saved"
	case s.State == evertoken.Degraded:
		return "Signed in, with trouble"
	}
	return "Signed in"
}

// lead says what that means for requests.
func lead(s evertoken.Status, now time.Time) string {
	switch {
	case s.State == evertoken.SignedOut || s.State == evertoken.Closed:
		return "Requests get no token."
	case s.Expiry.IsZero():
		return "Requests have a token, which says nothing of its end."
	case !valid(s, now):
		return "Requests wait for a token, or fail."
	case s.State == evertoken.Degraded:
		return "Requests have a token until " + clock(s.Expiry, now) + "."
	}
	return "Requests have a token. It is renewed before it ends."
}

func sentence(s string) string { return string(s[0]-'a'+'A') + s[1:] }

func newGauge(s evertoken.Status, now time.Time) gauge {
	switch {
	case s.State == evertoken.Closed || s.State == evertoken.SignedOut:
		return gauge{Value: "none", Note: "no token"}
	case s.Expiry.IsZero():
		return gauge{Percent: 100, Value: "open", Note: "no known end"}
	case !valid(s, now):
		return gauge{Value: span(now.Sub(s.Expiry).Truncate(time.Second)), Note: "since its end"}
	}
	left, life := s.Expiry.Sub(now), s.Expiry.Sub(s.LastRefresh)
	g := gauge{Percent: 100, Value: span(left.Truncate(time.Second)), Note: "of " + span(life) + " left"}
	if life > left {
		g.Percent = int(100 * left / life)
	}
	return g
}

func facts(s evertoken.Status, scrub scrubber, now time.Time) []fact {
	return []fact{
		{Name: "State", Value: sentence(string(s.State)), Note: "since " + clock(s.Since, now) + ", for " + span(now.Sub(s.Since))},
		validity(s, now),
		moment("Next check", s.NextCheck, now, "never"),
		refresh(s, now),
		failures(s),
		store(s, scrub),
		sender(s),
		waiting(s),
	}
}

// moment is the fact of an instant.
func moment(name string, t, now time.Time, zero string) fact {
	if t.IsZero() {
		return fact{Name: name, Value: zero}
	}
	return fact{Name: name, Value: clock(t, now), Note: away(t, now)}
}

func validity(s evertoken.Status, now time.Time) fact {
	f := moment("Token valid until", s.Expiry, now, "unknown")
	if s.State == evertoken.SignedOut || s.State == evertoken.Closed {
		f.Value, f.Note = "no token", ""
	}
	return f
}

func refresh(s evertoken.Status, now time.Time) fact {
	f := moment("Last refresh", s.LastRefresh, now, "never")
	if !s.LastRefresh.IsZero() && s.Reason != "" {
		f.Note += ", because " + because(s.Reason)
	}
	return f
}

func failures(s evertoken.Status) fact {
	if s.Failures == 0 {
		return fact{"Failures in a row", "0", "attempts to renew", ""}
	}
	return fact{"Failures in a row", fmt.Sprint(s.Failures), "attempts to renew", "warn"}
}

func store(s evertoken.Status, scrub scrubber) fact {
	switch {
	case s.StoreErr != nil:
		return fact{"Store", "Fails", scrub.text(s.StoreErr), "bad"}
	case s.PersistPending:
		return fact{"Store", "Not saved yet", "the newest token is in memory only", "warn"}
	}
	return fact{"Store", "Healthy", "the session is saved", "ok"}
}

func waiting(s evertoken.Status) fact {
	return fact{"Waiting for a token", fmt.Sprint(s.Waiting), "a valid token is never waited for", busy(s.Waiting > 0)}
}

func busy(is bool) string {
	if is {
		return "busy"
	}
	return ""
}
