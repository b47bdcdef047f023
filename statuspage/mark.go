package statuspage

import (
	"errors"

	"github.com/evertoken/evertoken"
)

// A mark is how an event is drawn. Shapes differ, not only colours: not everybody
// sees those.
type mark struct {
	Class string
	Shape string // an SVG path around 0, 0
}

// A key is a line of the legend.
type key struct {
	mark
	Text string
}

const (
	dot      = "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z"
	ring     = "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0zM-2 0a2 2 0 1 1 4 0a2 2 0 1 1 -4 0z"
	tick     = "M-.6 -5h1.2v10h-1.2z"
	flag     = "M-4 -6h1v12h-1zM-3 -6l8 3.5l-8 3.5z"
	stop     = "M-4.5 -4.5h9v9h-9z"
	triangle = "M0 -6l6 10.5h-12z"
	diamond  = "M0 -6.5l6.5 6.5l-6.5 6.5l-6.5 -6.5z"
	cross    = "M-5.5 -3.5l2 -2l3.5 3.5l3.5 -3.5l2 2l-3.5 3.5l3.5 3.5l-2 2l-3.5 -3.5l-3.5 3.5l-2 -2l3.5 -3.5z"
	glass    = "M-5.5 -5.5h11l-4 5.5l4 5.5h-11l4 -5.5z"
	minus    = "M-6.5 -2h13v4h-13z"
	gear     = "M-6 -2h4v-4h4v4h4v4h-4v4h-4v-4h-4z"
)

// markOf draws an event.
func markOf(e evertoken.Event) mark {
	switch e.Kind {
	case evertoken.SessionStarted:
		return mark{"started", flag}
	case evertoken.SessionEnded:
		return mark{"ended", stop}
	case evertoken.Renewed:
		return mark{"renewed", dot}
	case evertoken.Adopted:
		return mark{"adopted", ring}
	case evertoken.Checked:
		return mark{"checked", tick}
	case evertoken.Failed:
	}
	var answer *evertoken.RefreshError
	if !asAnswer(e.Err, &answer) {
		return mark{"blocked", minus}
	}
	return markOfOutcome(e.Outcome)
}

func markOfOutcome(o evertoken.Outcome) mark {
	switch o {
	case evertoken.NotSent:
		return mark{"not-sent", triangle}
	case evertoken.Unavailable:
		return mark{"unavailable", diamond}
	case evertoken.Rejected:
		return mark{"rejected", cross}
	case evertoken.Misconfigured:
		return mark{"misconfigured", gear}
	case evertoken.Ambiguous:
	}
	return mark{"ambiguous", glass}
}

func asAnswer(err error, to **evertoken.RefreshError) bool { return errors.As(err, to) }

// legend explains the marks that are there.
func legend(events []evertoken.Event) []key {
	var all []key
	seen := map[mark]bool{}
	for _, e := range events {
		m := markOf(e)
		if seen[m] {
			continue
		}
		seen[m] = true
		all = append(all, key{m, title(e)})
	}
	return all
}

// title says what a mark stands for.
func title(e evertoken.Event) string {
	var answer *evertoken.RefreshError
	switch {
	case e.Kind != evertoken.Failed:
		return string(e.Kind)
	case !asAnswer(e.Err, &answer):
		return "failed before sending"
	}
	return "failed: " + e.Outcome.String()
}
