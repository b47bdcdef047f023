package statuspage

import (
	"time"

	"github.com/evertoken/evertoken"
)

// A standing is how a session of a pool stands. The less, the more it needs a look.
type standing int

const (
	tokenless standing = iota // signed in, without a valid token
	troubled
	working // its token is being renewed, or it is being signed in
	out
	well
	resting // nobody uses it, so nothing is done for it
	gone
)

func standingOf(s evertoken.Status, now time.Time) standing {
	switch {
	case s.State == evertoken.Closed:
		return gone
	case s.NextCheck.IsZero():
		return resting
	case s.State == evertoken.SignedOut && !renewing(s):
		return out
	case s.State != evertoken.SignedOut && !valid(s, now):
		return tokenless
	case s.State == evertoken.Degraded:
		return troubled
	case renewing(s):
		return working
	}
	return well
}

func (s standing) look() string {
	return [...]string{"bad", "warn", "busy", "off", "ok", "off", "off"}[s]
}

// say tells it in a few words.
func (s standing) say(is evertoken.Status, now time.Time) string {
	switch s {
	case tokenless:
		return "No valid token"
	case resting:
		return "At rest"
	case troubled, working, out, well, gone:
	}
	return headline(is, now)
}
