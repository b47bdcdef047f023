package evertoken

import (
	"math"
	"time"
)

const (
	unknownLife  = time.Hour        // a token of unknown expiry is renewed at this age
	mostDoubt    = time.Second      // about a token's end; an exchange that took longer says nothing: this process may have slept
	lastTry      = 30 * time.Second // before the access token dies: when an unexplained attempt is repeated
	backoffFirst = time.Second
	backoffMost  = time.Minute
	backoffLeast = 100 * time.Millisecond // what backoffMost comes to for the shortest-lived tokens
	verdictPause = 5 * time.Minute        // after an answer that only a person can change
	longestPause = time.Hour
	leastGrace   = time.Second       // what of an issuer's grace a request may need on its way; one that is no longer is none
	noteSettles  = 3 * time.Second   // somebody else's open note is looked at again after this
	noteForced   = 120 * time.Second // and, like a silent attempt of our own, for no longer than this where servers refuse the token
)

// A life is the span of one access token on the wall clock.
type life struct {
	issued time.Time
	expiry time.Time     // zero: unknown
	dead   time.Time     // from here on it is not sent any more; zero: never
	doubt  time.Duration // for how long after expiry it may still be good: the issuer counts from somewhere in the exchange
}

// newLife allows for what a token loses on its way: servers cut instants to
// whole seconds, and a request travels for as long as the exchange did. A token
// that lives for seconds can spare no more than a quarter of them.
func newLife(t Token, roundTrip time.Duration) life {
	l := life{issued: t.IssuedAt, expiry: t.Expiry, dead: t.Expiry, doubt: max(0, min(roundTrip, mostDoubt))}
	if !l.expiry.IsZero() {
		l.dead = l.expiry.Add(-min(time.Second+roundTrip, l.lifetime()/4))
	}
	return l
}

// lastCall is until when an attempt is waited for that was open at since and may still
// be processed: shortly before the token is lost, or a while if nobody knows when that is.
func (l life) lastCall(since time.Time) time.Time {
	if l.dead.IsZero() {
		return since.Add(unknownLife / 4)
	}
	return l.dead.Add(-lastTry)
}

// lifetime is zero for a life of unknown length.
func (l life) lifetime() time.Duration {
	if l.expiry.IsZero() {
		return 0
	}
	return max(0, l.expiry.Sub(l.issued))
}

func (l life) isDead(now time.Time) bool { return !l.dead.IsZero() && !now.Before(l.dead) }

// left is how long the token can still be used; unknown counts as none.
func (l life) left(now time.Time) time.Duration {
	if l.dead.IsZero() {
		return 0
	}
	return l.dead.Sub(now)
}

// A schedule answers when. Its methods are pure functions of the instant, a
// token's life and the configuration.
type schedule struct {
	interval time.Duration
	window   time.Duration
	fraction float64 // of the lifetime, a cap on window; 0: off
}

func (s schedule) windowOf(l life) time.Duration {
	if s.fraction == 0 {
		return s.window
	}
	return min(s.window, time.Duration(s.fraction*float64(l.lifetime())))
}

// due says whether a token is to be renewed at a check.
func (s schedule) due(now time.Time, l life) bool { return !now.Before(s.opens(l)) }

// opens is the first instant at which a token is due: less than the window is
// left, strictly.
func (s schedule) opens(l life) time.Time {
	if l.expiry.IsZero() {
		return l.issued.Add(unknownLife)
	}
	return l.expiry.Add(-s.windowOf(l) + 1)
}

// tick is the first instant after now of the grid that starts at first. The
// grid stays where it is, so that a fleet which started together remains spread.
func (s schedule) tick(now, first time.Time) time.Time {
	if now.Before(first) {
		// A clock that was set back must not put the next check far away.
		return earliest(first, now.Add(s.interval))
	}
	return first.Add(now.Sub(first).Truncate(s.interval) + s.interval)
}

// next is the instant of the next check: the tick, unless the token would be
// dead by then. In that case it is the first instant at which the token is due
// and at most half of its life is left; it may lie in the past.
func (s schedule) next(tick time.Time, l life) time.Time {
	if l.expiry.IsZero() || tick.Before(l.dead) {
		return tick
	}
	return earliest(l.dead, l.expiry.Add(-min(s.windowOf(l), l.lifetime()/2)+1))
}

// patience is how long one attempt may take. Silence proves nothing, so an
// attempt is given as much time as the token can spare.
func patience(now time.Time, l life) time.Duration {
	return min(max(l.lastCall(now).Sub(now), time.Minute), 3*time.Minute)
}

// backoff has full jitter: a uniform draw from (0, ceiling]. failures counts
// from one. A token that lives for seconds cannot wait for one: it is given an
// eighth of its lifetime, so that a renewal which begins early can fail and be
// repeated before it ends. When it has ended, who was without one for a while can
// wait for a quarter of that: an issuer that is down for hours is not asked each second.
func backoff(now time.Time, failures int32, l life, random float64) time.Duration {
	most := backoffMost
	if lifetime := l.lifetime(); lifetime > 0 {
		most = min(most, max(lifetime/8, backoffLeast, -l.left(now)/4))
	}
	ceiling := min(float64(most), float64(backoffFirst)*math.Pow(2, float64(failures-1)))
	return time.Duration((1 - random) * ceiling)
}

// noProgress is how long a token is left alone that a renewal did not change: a
// quarter of the time that is left of it.
func noProgress(now time.Time, l life) time.Duration {
	if l.expiry.IsZero() {
		return unknownLife / 4
	}
	return max(l.left(now)/4, time.Second)
}

// A failure is what decides when to try again.
type failure struct {
	outcome    Outcome
	silent     bool  // Ambiguous: our own deadline ended it, so it may still be processed
	sent       int   // how often this refresh token has been sent; 0: there is none
	count      int32 // failures in a row, this one included
	late       bool  // the token had ended when it was here, as if this process had been frozen meanwhile
	verdicts   int32 // answers to Login, in a row, that only a person can change; 0: not such a one
	retryAfter time.Duration
}

// retryAt says when the next attempt may be made. Ambiguous outcomes are the
// dangerous ones. A closed connection is repeated at once, but only once for a
// refresh token. Silence is waited out until the access token is about to end,
// because the first request may still arrive. A wrong password is tried ever
// more rarely: a few of them lock an account.
func (f failure) retryAt(now time.Time, l life, random float64) time.Time {
	again, last := now.Add(backoff(now, f.count, l, random)), l.lastCall(now)
	switch {
	case f.late && f.count == 1:
		return now
	case f.verdicts > 0:
		return now.Add(min(verdictPause<<min(f.verdicts-1, 10), longestPause))
	case f.outcome == Misconfigured || f.outcome == Rejected:
		return now.Add(verdictPause)
	case f.retryAfter > 0:
		return now.Add(min(f.retryAfter, longestPause))
	case f.outcome != Ambiguous || f.sent == 0:
		return again
	case f.sent == 1 && !f.silent:
		return now
	case last.After(now):
		return last
	case f.sent == 1:
		return now
	}
	return again
}

// settledAt says when a refresh token may be sent although somebody else's
// attempt with it, first seen at seen and begun age ago, was left open. Within
// the issuer's grace that is now. Else the other one is given until the access
// token is about to end.
func settledAt(now, seen time.Time, age, grace time.Duration, l life) time.Time {
	if age < grace-leastGrace {
		return now
	}
	return latest(latest(now, l.lastCall(seen)), seen.Add(noteSettles))
}

// A gate bounds the renewals that 401 answers ask for: one per check interval,
// and fewer, down to one an hour, while the renewed tokens are refused too. The
// zero value lets the first one through.
type gate struct {
	sid   string // the session that it counts for
	gen   uint64 // the last generation that was refused although a 401 had made it
	pause time.Duration
	until time.Time
	tried bool // the token of the last renewal has not been refused so far
}

// pass says whether a refused token may be renewed now, and counts it if so.
func (g *gate) pass(now time.Time, interval time.Duration, refused *snapshot) bool {
	if g.sid != refused.SID {
		*g = gate{sid: refused.SID}
	}
	if refused.Cause == causeRefused {
		if g.gen != refused.Gen {
			g.gen, g.tried = refused.Gen, false
			g.pause = min(2*max(g.pause, interval), longestPause)
			g.until = latest(g.until, now.Add(g.pause))
		}
		return false
	}
	if now.Before(g.until) {
		return false
	}
	if g.tried || g.pause == 0 {
		g.pause = interval
	}
	g.tried, g.until = true, now.Add(g.pause)
	return true
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
