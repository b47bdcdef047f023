package statuspage

import (
	"fmt"
	"slices"
	"time"

	"github.com/evertoken/evertoken"
)

// An entry is a line of the history: an event, or several of one kind in a row.
type entry struct {
	When, Ago      string
	Session, Shown string // whose it is
	mark
	Text  string
	Error string
}

// entries is how many lines the history has.
const entries = 12

// newHistory tells the newest first. What happened several times in a row is one
// line, of the last time.
func newHistory(events []evertoken.Event, scrub scrubber, now time.Time) []entry {
	var all []entry
	for i := len(events) - 1; i >= 0 && len(all) < entries; {
		e, n := events[i], streak(events[:i+1])
		all = append(all, entry{clock(e.Time, now), away(e.Time, now), e.Session, shown(e.Session), markOf(e), tell(e, n, now), scrub.text(e.Err)})
		i -= n
	}
	return all
}

// streak is how many of the last events are of one session and one kind: checks, or
// failures of one outcome.
func streak(events []evertoken.Event) int {
	last := events[len(events)-1]
	if last.Kind != evertoken.Checked && last.Kind != evertoken.Failed {
		return 1
	}
	n := 0
	for _, e := range slices.Backward(events) {
		if e.Session != last.Session || e.Kind != last.Kind || markOf(e) != markOf(last) {
			break
		}
		n++
	}
	return n
}

func times(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" %d times", n)
}

// tell says in a sentence what happened, n times.
func tell(e evertoken.Event, n int, now time.Time) string {
	text := ""
	switch e.Kind {
	case evertoken.SessionStarted:
		text = "Session started"
	case evertoken.SessionEnded:
		text = "Session ended"
		if e.Err != nil {
			text += " by the issuer"
		}
	case evertoken.Renewed:
		text = "Renewed, because " + because(e.Reason)
	case evertoken.Adopted:
		text = "Adopted a newer token of another process"
	case evertoken.Checked:
		return "Checked" + times(n) + ", nothing to renew"
	case evertoken.Failed:
		return failed(e, n, now)
	}
	return text + took(e) + waited(e)
}

func failed(e evertoken.Event, n int, now time.Time) string {
	what := ", " + e.Outcome.String()
	var answer *evertoken.RefreshError
	if !asAnswer(e.Err, &answer) {
		what = " before anything was sent"
	}
	text := "Failed" + times(n) + what + took(e) + waited(e)
	if !e.Next.IsZero() {
		text += "; tried again " + retry(e, now)
	}
	return text
}

func retry(e evertoken.Event, now time.Time) string {
	if !e.Next.After(e.Time) {
		return "at once"
	}
	return "at " + clock(e.Next, now)
}

func took(e evertoken.Event) string {
	if e.Took == 0 {
		return ""
	}
	return ", in " + span(e.Took)
}

func waited(e evertoken.Event) string {
	switch e.Waiting {
	case 0:
		return ""
	case 1:
		return ", while 1 caller waited"
	}
	return fmt.Sprintf(", while %d callers waited", e.Waiting)
}
