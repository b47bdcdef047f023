package statuspage

import (
	"net/http"
	"slices"
	"time"

	"github.com/evertoken/evertoken"
)

// A session is the page of one, be it a client's own or one of a pool.
type session struct {
	name   string // empty: a client's own
	status evertoken.Status
	events []evertoken.Event
}

// of is one session of a pool, or all if none is named.
func of(p pool, name string) subject {
	if name == "" {
		return overview{p}
	}
	for n, s := range p.Sessions() {
		if n == name {
			others := func(e evertoken.Event) bool { return e.Session != name }
			return session{name, s, slices.DeleteFunc(p.Events(), others)}
		}
	}
	return absent{name}
}

func (session) code() int { return http.StatusOK }

func (s session) view(now time.Time) view {
	v := newView(s.status, s.events, now)
	if s.name == "" {
		return v
	}
	v.Session = shown(s.name)
	if standingOf(s.status, now) == resting {
		v.Look, v.Headline, v.Lead = resting.look(), resting.say(s.status, now), "Nobody uses it. Its next use goes on with what the store has."
	}
	return v
}

func (s session) report(now time.Time) any {
	r := newReport(s.status, s.events, now)
	r.Session = s.name
	return r
}

// An absent session is one of a pool that is not in memory, or of which there is
// none.
type absent struct{ name string }

func (absent) code() int { return http.StatusNotFound }

func (a absent) view(now time.Time) view {
	return view{
		Session: shown(a.name), Look: "off", Headline: "Not in memory", Now: stamp(now),
		Lead: "Nobody uses this session now, or there is none of this name. Its next use brings it back.",
	}
}

func (a absent) report(time.Time) any {
	return map[string]string{"session": a.name, "error": "not in memory"}
}
