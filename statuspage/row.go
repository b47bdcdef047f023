package statuspage

import "time"

// A row is a session in the list of a pool's.
type row struct {
	Look, Name, Shown, State string
	Until, Away              string // of its token
	Error                    string
}

func newRows(t *tally, scrub scrubber, now time.Time) []row {
	var all []row
	for _, m := range t.worst {
		r := row{Look: m.standing.look(), Name: m.name, Shown: shown(m.name), State: m.standing.say(m.status, now), Error: scrub.text(trouble(m.status))}
		token := validity(m.status, now)
		r.Until, r.Away = token.Value, token.Note
		all = append(all, r)
	}
	return all
}
