package statuspage

import (
	"iter"
	"slices"
	"time"

	"github.com/evertoken/evertoken"
)

// A Source is what a page tells of: a [*evertoken.Client] or a [*evertoken.Pool].
type Source interface {
	Events() []evertoken.Event // oldest first
}

// A single is a Source that is one session.
type single interface {
	Source
	Status() evertoken.Status
}

// A multiple is a Source of many sessions.
type multiple interface {
	Source
	Sessions() iter.Seq2[string, evertoken.Status]
}

// A document is what a page shows at one instant.
type document struct {
	template string // by its name in page.html
	view     any
	title    string
	report   func() any // the same for JSON
	missing  bool       // it tells that there is nothing to show
}

func sessionDocument(name string, s evertoken.Status, events []evertoken.Event, now time.Time) document {
	v := newView(s, events, now)
	v.Session = shorten(name)
	return document{template: "session", view: v, title: v.Headline, report: func() any { return newReport(s, events, now) }}
}

// documentOf is the overview of a pool, or the page of the session that is asked
// for by its name.
func documentOf(source multiple, asked []string, now time.Time) document {
	if len(asked) == 0 {
		o := survey(source.Sessions(), now)
		events := source.Events()
		v := newOverview(o, events, now)
		return document{template: "pool", view: v, title: v.Headline, report: func() any { return newPoolReport(o, v.Headline, events, now) }}
	}
	for name, s := range source.Sessions() {
		if name == asked[0] {
			events := slices.DeleteFunc(source.Events(), func(e evertoken.Event) bool { return e.Session != name })
			return sessionDocument(name, s, events, now)
		}
	}
	v := missing{Session: shorten(asked[0]), Now: stamp(now)}
	return document{template: "missing", view: v, title: "Not in memory", missing: true, report: func() any {
		return map[string]string{"error": "no session of this name is in memory"}
	}}
}

// A missing is the view of a session that is not there.
type missing struct{ Session, Now string }

// longestName is how many characters of a session's name are shown.
const longestName = 60

func shorten(name string) string {
	if r := []rune(name); len(r) > longestName {
		return string(r[:longestName]) + "…"
	}
	return name
}
