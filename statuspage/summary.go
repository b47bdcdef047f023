package statuspage

import (
	"time"

	"github.com/evertoken/evertoken"
)

// A summary is the overview as JSON. Absent means zero: never, none, or unknown.
type summary struct {
	Time       time.Time `json:"time"`
	Headline   string    `json:"headline"`
	Meaning    string    `json:"meaning,omitempty"`
	Advice     string    `json:"advice,omitempty"`
	InMemory   int       `json:"inMemory"`
	AtRest     int       `json:"atRest"`
	SignedIn   int       `json:"signedIn"`
	Troubled   int       `json:"troubled"`  // of those signed in, with a token
	Tokenless  int       `json:"tokenless"` // of those signed in
	SignedOut  int       `json:"signedOut"`
	Renewing   int       `json:"renewing"`
	Waiting    int       `json:"waiting"`
	StoreFails int       `json:"storeFails"` // for so many sessions
	NextCheck  time.Time `json:"nextCheck,omitzero"`
	Sessions   []brief   `json:"sessions"` // those that most need a look
	More       int       `json:"more"`     // how many are left out
	Events     []event   `json:"events"`
}

// A brief is what a summary says of a session.
type brief struct {
	Session    string          `json:"session"`
	State      evertoken.State `json:"state"`
	Headline   string          `json:"headline"`
	Since      time.Time       `json:"since"`
	Expiry     time.Time       `json:"expiry,omitzero"`
	NextCheck  time.Time       `json:"nextCheck,omitzero"`
	Error      string          `json:"error,omitempty"`
	StoreError string          `json:"storeError,omitempty"`
	Failures   int             `json:"failures"`
	Waiting    int             `json:"waiting"`
}

func (o overview) report(now time.Time) any {
	t, scrub := newTally(o.pool.Sessions(), now), newScrubber()
	why := t.explain()
	s := summary{
		Time: now, Headline: t.headline(), Meaning: why.Meaning, Advice: why.Advice,
		InMemory: t.all, AtRest: t.standing[resting], SignedIn: t.signedIn(), Troubled: t.standing[troubled], Tokenless: t.standing[tokenless],
		SignedOut: t.standing[out], Renewing: t.renewing, Waiting: t.waiting, StoreFails: t.stores, NextCheck: t.next,
		Sessions: make([]brief, 0, listed), More: t.more(), Events: []event{},
	}
	for _, m := range t.worst {
		s.Sessions = append(s.Sessions, newBrief(m, scrub, now))
	}
	for _, e := range o.pool.Events() {
		this := newEvent(e, scrub)
		this.Session = e.Session
		s.Events = append(s.Events, this)
	}
	return s
}

func newBrief(m member, scrub scrubber, now time.Time) brief {
	s := m.status
	return brief{
		Session: m.name, State: s.State, Headline: m.standing.say(s, now), Since: s.Since, Expiry: s.Expiry, NextCheck: s.NextCheck,
		Error: scrub.text(s.Err), StoreError: scrub.text(s.StoreErr), Failures: s.Failures, Waiting: s.Waiting,
	}
}
