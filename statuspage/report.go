package statuspage

import (
	"time"

	"github.com/evertoken/evertoken"
)

// A report is the page as JSON. Absent means zero: never, none, or unknown.
type report struct {
	Session        string          `json:"session,omitempty"` // of a pool
	Time           time.Time       `json:"time"`
	State          evertoken.State `json:"state"`
	Since          time.Time       `json:"since"`
	Headline       string          `json:"headline"`
	Meaning        string          `json:"meaning,omitempty"`
	Advice         string          `json:"advice,omitempty"`
	Expiry         time.Time       `json:"expiry,omitzero"`
	NextCheck      time.Time       `json:"nextCheck,omitzero"`
	LastRefresh    time.Time       `json:"lastRefresh,omitzero"`
	Reason         string          `json:"reason,omitempty"`
	Error          string          `json:"error,omitempty"`
	Failures       int             `json:"failures"`
	PersistPending bool            `json:"persistPending"`
	StoreError     string          `json:"storeError,omitempty"`
	Lease          string          `json:"lease,omitempty"`
	Waiting        int             `json:"waiting"`
	Events         []event         `json:"events"`
}

type event struct {
	Session string         `json:"session,omitempty"` // if it is not the same for all
	Time    time.Time      `json:"time"`
	Kind    evertoken.Kind `json:"kind"`
	Reason  string         `json:"reason,omitempty"`
	Outcome string         `json:"outcome,omitempty"`
	Error   string         `json:"error,omitempty"`
	Expiry  time.Time      `json:"expiry,omitzero"`
	Next    time.Time      `json:"next,omitzero"`
	Took    float64        `json:"tookSeconds,omitempty"`
	Waiting int            `json:"waiting,omitempty"`
}

func newReport(s evertoken.Status, events []evertoken.Event, now time.Time) report {
	scrub, why := newScrubber(), explain(s)
	r := report{
		Time: now, State: s.State, Since: s.Since, Headline: headline(s, now), Meaning: why.Meaning, Advice: why.Advice,
		Expiry: s.Expiry, NextCheck: s.NextCheck, LastRefresh: s.LastRefresh, Reason: s.Reason, Error: scrub.text(s.Err),
		Failures: s.Failures, PersistPending: s.PersistPending, StoreError: scrub.text(s.StoreErr), Lease: s.Lease, Waiting: s.Waiting,
		Events: make([]event, 0, len(events)),
	}
	for _, e := range events {
		r.Events = append(r.Events, newEvent(e, scrub))
	}
	return r
}

func newEvent(e evertoken.Event, scrub scrubber) event {
	out := event{
		Time: e.Time, Kind: e.Kind, Reason: e.Reason, Error: scrub.text(e.Err),
		Expiry: e.Expiry, Next: e.Next, Took: e.Took.Seconds(), Waiting: e.Waiting,
	}
	if e.Err != nil {
		out.Outcome = e.Outcome.String()
	}
	return out
}
