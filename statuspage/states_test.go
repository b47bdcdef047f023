package statuspage_test

import (
	"errors"
	"time"

	"github.com/evertoken/evertoken"
)

// A fixed is a source that does not change.
type fixed struct {
	status evertoken.Status
	events []evertoken.Event
}

func (f fixed) Status() evertoken.Status  { return f.status }
func (f fixed) Events() []evertoken.Event { return f.events }

var (
	errDown   = &evertoken.RefreshError{Outcome: evertoken.NotSent, Err: errors.New("dial tcp 203.0.113.7:443: connect: connection refused")}
	errBusy   = &evertoken.RefreshError{Outcome: evertoken.Unavailable, StatusCode: 503, RetryAfter: 20 * time.Second}
	errLost   = &evertoken.RefreshError{Outcome: evertoken.Ambiguous, Err: errors.New("read: connection reset by peer")}
	errDead   = &evertoken.RefreshError{Outcome: evertoken.Rejected, StatusCode: 400, Code: "invalid_grant", Description: "the session was revoked"}
	errClient = &evertoken.RefreshError{Outcome: evertoken.Misconfigured, StatusCode: 401, Code: "invalid_client"}
	errOther  = errors.New("evertoken: refresh: another process left an attempt open; waiting until it cannot be processed any more")
	errDisk   = errors.New("evertoken: store: save: write /var/lib/worker/session: no space left on device")
)

const tokenLife = 20 * time.Minute

// A past is a history in the making.
type past struct {
	events []evertoken.Event
	expiry time.Time
	first  time.Time
}

func (p *past) add(at time.Duration, e evertoken.Event) {
	e.Time = p.first.Add(at)
	if e.Kind == evertoken.SessionStarted || e.Kind == evertoken.Renewed || e.Kind == evertoken.Adopted {
		p.expiry = e.Time.Add(tokenLife)
	}
	if e.Expiry.IsZero() {
		e.Expiry = p.expiry
	}
	p.events = append(p.events, e)
}

func (p *past) checks(from, to time.Duration) {
	for at := from; at < to; at += time.Minute {
		p.add(at, evertoken.Event{Kind: evertoken.Checked})
	}
}

// day is an hour and a half in which much happens: tokens that live 20 minutes, a
// short outage, a lost answer, and another process that is quicker once.
func day(now time.Time) *past {
	p := &past{first: now.Add(-90 * time.Minute)}
	p.add(0, evertoken.Event{Kind: evertoken.SessionStarted, Reason: "sign-in", Took: 310 * time.Millisecond, Waiting: 2})
	p.checks(40*time.Second, 15*time.Minute)
	p.add(15*time.Minute+40*time.Second, evertoken.Event{Kind: evertoken.Renewed, Reason: "due", Took: 182 * time.Millisecond})
	p.checks(16*time.Minute+40*time.Second, 31*time.Minute)
	for i, d := range []int{0, 2, 7, 19, 43, 80} {
		at := 31*time.Minute + 40*time.Second + time.Duration(d)*time.Second
		p.add(at, evertoken.Event{Kind: evertoken.Failed, Reason: "due", Outcome: evertoken.NotSent, Err: errDown, Next: p.first.Add(at + time.Duration(i+1)*5*time.Second)})
	}
	p.add(33*time.Minute+55*time.Second, evertoken.Event{Kind: evertoken.Renewed, Reason: "due", Took: 240 * time.Millisecond})
	p.checks(34*time.Minute+40*time.Second, 49*time.Minute)
	p.add(49*time.Minute+40*time.Second, evertoken.Event{Kind: evertoken.Adopted, Reason: "due"})
	p.checks(50*time.Minute+40*time.Second, 65*time.Minute)
	p.add(65*time.Minute+55*time.Second, evertoken.Event{Kind: evertoken.Failed, Reason: "due", Outcome: evertoken.Ambiguous, Err: errLost, Took: 15 * time.Second, Next: p.first.Add(65*time.Minute + 55*time.Second)})
	p.add(65*time.Minute+57*time.Second, evertoken.Event{Kind: evertoken.Renewed, Reason: "due", Took: 900 * time.Millisecond, Waiting: 3})
	p.checks(66*time.Minute+40*time.Second, 81*time.Minute)
	p.add(81*time.Minute+40*time.Second, evertoken.Event{Kind: evertoken.Renewed, Reason: "due", Took: 175 * time.Millisecond})
	p.checks(82*time.Minute+40*time.Second, 90*time.Minute)
	return p
}

// status is what a client says at the end of a history in which all went well.
func (p *past) status(now time.Time) evertoken.Status {
	return evertoken.Status{
		State: evertoken.SignedIn, Since: p.first, Expiry: p.expiry, LastRefresh: p.expiry.Add(-tokenLife), Reason: "due", NextCheck: now.Add(40 * time.Second),
	}
}

// states are all that a page has to show well.
func states(now time.Time) map[string]fixed {
	all := map[string]fixed{}
	fresh := &past{first: now.Add(-8 * time.Second)}
	fresh.add(0, evertoken.Event{Kind: evertoken.SessionStarted, Reason: "sign-in", Took: 310 * time.Millisecond, Waiting: 1})
	s := fresh.status(now)
	s.Reason = "sign-in"
	all["fresh"] = fixed{s, fresh.events}

	p := day(now)
	all["signed-in"] = fixed{p.status(now), p.events}

	s = p.status(now)
	s.Lease, s.Waiting = "here", 4
	all["refreshing"] = fixed{s, p.events}

	p = day(now.Add(-8 * time.Minute))
	for _, d := range []int{0, 21, 64, 122, 187, 250} {
		at := 91*time.Minute + 40*time.Second + time.Duration(d)*time.Second
		p.add(at, evertoken.Event{Kind: evertoken.Failed, Reason: "due", Outcome: evertoken.Unavailable, Err: errBusy, Took: 90 * time.Millisecond, Next: p.first.Add(at + 40*time.Second)})
	}
	s = p.status(now)
	s.State, s.Since, s.Err, s.Failures, s.NextCheck = evertoken.Degraded, now.Add(-380*time.Second), errBusy, 6, now.Add(14*time.Second)
	all["degraded"] = fixed{s, p.events}

	s = p.status(now.Add(6 * time.Minute))
	s.State, s.Since, s.Err, s.Failures, s.Expiry, s.Waiting = evertoken.Degraded, now.Add(-9*time.Minute), errDown, 14, now.Add(-95*time.Second), 7
	all["expired"] = fixed{s, p.events}

	p = day(now)
	s = p.status(now)
	s.State, s.Since, s.Err, s.StoreErr, s.PersistPending, s.Lease = evertoken.Degraded, now.Add(-12*time.Second), errDisk, errDisk, true, "here"
	all["unsaved"] = fixed{s, p.events}

	s = p.status(now)
	s.State, s.Since, s.Err, s.Failures = evertoken.Degraded, now.Add(-12*time.Second), errClient, 2
	all["misconfigured"] = fixed{s, p.events}

	s = p.status(now)
	s.State, s.Since, s.Lease, s.Err = evertoken.Degraded, now.Add(-4*time.Second), "elsewhere", errOther
	all["elsewhere"] = fixed{s, p.events}

	p.add(90*time.Minute-20*time.Second, evertoken.Event{Kind: evertoken.SessionEnded, Reason: "due", Outcome: evertoken.Rejected, Err: errDead, Took: 120 * time.Millisecond})
	all["signed-out"] = fixed{evertoken.Status{State: evertoken.SignedOut, Since: now.Add(-20 * time.Second), Err: errDead, NextCheck: now.Add(40 * time.Second)}, p.events}

	all["new"] = fixed{evertoken.Status{State: evertoken.SignedOut, Since: now.Add(-2 * time.Second), NextCheck: now.Add(58 * time.Second)}, nil}
	all["closed"] = fixed{evertoken.Status{State: evertoken.Closed, Since: now.Add(-2 * time.Second)}, p.events}
	return all
}
