package evertoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/evertoken/evertoken/internal/attempt"
	"github.com/evertoken/evertoken/internal/flight"
	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

const (
	leaseTTL      = 15 * time.Second // for how long a holder that died or froze keeps others from sending
	leaseLook     = time.Second      // who waits for the lease looks at the record this often
	loginPatience = time.Minute      // one call of Config.Login
)

var (
	// errHeld stands for a wait that no failure explains.
	errHeld = errors.New("evertoken: refresh: it is too early for another attempt")

	errForeignNote = errors.New("evertoken: refresh: another process left an attempt open; waiting until it cannot be processed any more")
	errOnArrival   = errors.New("the issuer's token had ended on arrival")
	errNoAccess    = errors.New("the result has no access token")

	// errQueued puts an attempt off until a slot is there.
	errQueued = errors.New("evertoken: refresh: waiting for other exchanges to end")
)

// renew makes attempts until one ends with a result or with a wait that is long
// enough for those who asked to be told. It has a slot for as long as an attempt
// takes.
func (r *refresher) renew(cause string) error {
	before := r.session.known.Load()
	for wait := r.bearable(cause); ; wait = r.hold.prompt {
		if wait {
			if over, err := r.sitOut(before, cause); over {
				return err
			}
		}
		if !r.enter() {
			return errQueued
		}
		r.hold.prompt = false
		err := r.attempt(cause)
		before = r.session.known.Load()
		r.settleRight()
		if err == nil || !r.hold.prompt {
			return err
		}
		r.agenda.Leave(&r.entry)
	}
}

// bearable says that requests have no token, and that the next attempt comes so
// soon that they rather wait for it than fail with the error of the last.
func (r *refresher) bearable(cause string) bool {
	left := r.hold.until.Sub(wall(r.clock))
	return cause == causeExpired && r.hold.err != nil && left > 0 && left <= time.Second
}

// sitOut waits until the next attempt may be made. over says that there is to be
// none: the client was closed, or somebody has signed in or out since before.
func (r *refresher) sitOut(before *snapshot, cause string) (over bool, err error) {
	if !r.pause(r.hold.ends(cause)) {
		return true, ErrClosed
	}
	k := r.session.known.Load()
	over = k.SID != r.sid || r.overtaken(before, k)
	if over {
		r.hold = hold{}
	}
	return over, k.err
}

// attempt is one renewal: lease, load, note, guard, send, save, publish.
func (r *refresher) attempt(cause string) error {
	before := r.session.known.Load()
	r.took = 0
	r.showLease()
	kept := r.acquire(before, cause)
	// Also without the right to send: who has kept it from us may have left a token.
	err := r.read()
	s := r.session.known.Load()
	if kept != nil && !r.overtaken(before, s) {
		return r.blocked(cause, kept)
	}
	damaged := errors.Is(err, storage.ErrCorrupt) && r.mayLogin() && !s.alive(wall(r.clock))
	if err != nil && !damaged && !r.mayDoWithout(err) {
		return r.blocked(cause, err)
	}
	switch {
	case r.overtaken(before, s):
		return r.beaten(s, cause)
	case !s.active() && !r.mayLogin():
		return s.err
	case !s.active(), damaged: // what memory holds may have been spent by others since
		cause = causeSignIn
	case cause == causeSignIn:
		cause = causeExpired
	}
	if cause != causeSignIn && s.Tokens.RefreshToken != "" {
		noted, err := r.announce(s, cause)
		if noted == nil {
			return err
		}
		s = noted
	}
	return r.send(s, cause)
}

// overtaken says that somebody else was here since before: they left a token
// that can be used, or signed out.
func (r *refresher) overtaken(before, now *snapshot) bool {
	return (now.SID != before.SID || now.Gen != before.Gen) && (now.alive(wall(r.clock)) || !now.exists())
}

// beaten follows another process that has left s.
func (r *refresher) beaten(s *snapshot, cause string) error {
	r.brought = true
	r.board.debug("evertoken: another process was quicker", slog.String("reason", cause))
	return s.err
}

// shared is the store's side of leases; nil if it has none.
func (r *refresher) shared() storage.Leaser {
	leaser, _ := r.store.(storage.Leaser)
	return leaser
}

// acquire gets the right to send, where the store has one to give and there is
// something to spend.
func (r *refresher) acquire(s *snapshot, cause string) error {
	leaser := r.shared()
	if r.held != nil || leaser == nil || s.exists() && s.Tokens.RefreshToken == "" && cause != causeSignIn {
		return nil
	}
	r.board.debug("evertoken: asking for the lease", slog.String("reason", cause))
	ttl := leaseTTL
	if r.grace > 0 {
		ttl = min(ttl, r.grace/3)
	}
	err := r.queue(s, func(ctx context.Context) error {
		lease, err := leaser.Acquire(ctx, r.session.key, ttl)
		if err == nil {
			r.held = flight.Hold(lease, ttl, r.clock)
		}
		return err
	})
	if err == nil && !r.held.Lasting() {
		err = flight.Within(r.ctx, r.clock, stepTimeout, r.held.Extend)
	}
	if err != nil {
		return &storeError{"lease", err}
	}
	return nil
}

// queue waits for the right to send, for as long as there is reason to. It looks
// at the record meanwhile: a holder that was killed when it had saved its token
// leaves the lease to lapse, and the token to be used. Its goroutine ends before it
// returns.
func (r *refresher) queue(before *snapshot, acquire func(context.Context) error) error {
	ctx, leave := context.WithCancel(r.ctx)
	defer leave()
	done := make(chan error, 1)
	go func() { done <- flight.Within(ctx, r.clock, min(r.sched.interval, time.Minute), acquire) }()
	for {
		look := r.clock.Timer(leaseLook)
		select {
		case err := <-done:
			look.Stop()
			return err
		case <-look.C:
		}
		if r.read() == nil && r.overtaken(before, r.session.known.Load()) {
			leave()
			return <-done
		}
	}
}

// settleRight releases the lease, unless a pair is still to be saved under it.
func (r *refresher) settleRight() {
	if r.session.settled() {
		r.held.Release()
		r.held = nil
	}
	r.showLease()
}

// mayDoWithout says whether a token may be sent although the store failed: at
// its end only, and only where nobody else can be sending. That is a store that
// is not shared, or a lock that is held by the kernel's word while merely the
// data cannot be written.
func (r *refresher) mayDoWithout(err error) bool {
	if r.session.served.Load().alive(wall(r.clock)) || !r.session.known.Load().exists() {
		return false
	}
	var failed *storeError
	return r.shared() == nil || r.held.Lasting() && errors.As(err, &failed) && failed.step == "save"
}

// announce writes the note, after giving somebody else's open one its time. It
// returns the session with it, or without where it is sent all the same; nil ends
// the attempt, without an error if somebody else was quicker.
func (r *refresher) announce(s *snapshot, cause string) (*snapshot, error) {
	now := wall(r.clock)
	if r.foreign(s) {
		seen := s.before().noteSeen
		h := whileOpen(seen, settledAt(now, seen, r.noteAge(s, now), r.grace, s.life), errForeignNote)
		if until := h.ends(cause); until.After(now) {
			h.prompt = until.Sub(now) <= noteSettles
			r.hold = h
			r.board.debug("evertoken: another process has an attempt open", slog.String("reason", cause), slog.Time("until", until))
			return nil, errForeignNote
		}
	}
	noted := s.with(s.Announced(r.owner(), cause, now))
	err := r.session.do(r.ctx, func(ctx context.Context) error { return r.session.swap(ctx, s, noted) })
	k := r.session.known.Load()
	switch {
	case err == nil:
		return noted, nil
	case errors.Is(err, errChanged) && r.overtaken(s, k):
		r.hold = hold{}
		return nil, r.beaten(k, cause)
	case errors.Is(err, errChanged):
		if errors.Is(r.hold.err, errChanged) {
			now = now.Add(backoffLeast) // a store whose reads lag behind its writes must not be asked in a circle
		}
		r.hold = hold{until: now, err: err, prompt: true}
		return nil, err
	case !r.mayDoWithout(err):
		return nil, r.blocked(cause, err)
	}
	return s, nil
}

// owner marks the notes of this client.
func (r *refresher) owner() string { return r.mark + "." + strconv.FormatUint(uint64(r.number), 10) }

// foreign says that somebody else has left an attempt open.
func (r *refresher) foreign(s *snapshot) bool { return s.Note.Open() && s.Note.Owner != r.owner() }

// noteAge is how long ago the open attempt was begun, by this host's clock where
// the other's is further off.
func (r *refresher) noteAge(s *snapshot, now time.Time) time.Duration {
	age := max(0, now.Sub(s.Note.Began))
	if from := s.before().noteFrom; !from.IsZero() {
		age = min(age, max(0, now.Sub(from)))
	}
	return age
}

// send spends the refresh token of s, or signs in, and keeps what came of it. It
// looks for nothing newer: what came since has no note.
func (r *refresher) send(s *snapshot, cause string) error {
	sent := wall(r.clock)
	patience := patience(sent, s.life)
	call := func(ctx context.Context) (Token, error) { return r.cfg.Issuer.Refresh(ctx, s.token()) }
	if cause == causeSignIn {
		patience, r.loginAt = loginPatience, sent.Add(r.sched.interval)
		call = func(ctx context.Context) (Token, error) { return r.login(ctx, r.session.key) }
	}
	r.board.lease(leaseHere)
	r.board.debug("evertoken: sending", slog.String("reason", cause), slog.Int("attempt", s.Note.N))
	plan := flight.Plan{Clock: r.clock, Right: r.held, Patience: patience, Closing: r.ctx.Done()}
	ctx := attempt.With(context.WithoutCancel(r.ctx), attempt.Attempt{Reason: cause, N: s.Note.N})
	t, err := flight.Run(ctx, plan, call)
	back, s := r.setBack(s)
	sent = sent.Add(-back)
	trip := wall(r.clock).Sub(sent)
	r.took = trip
	beside := Token{RefreshToken: t.RefreshToken, Extra: t.Extra}
	if err == nil && t.AccessToken == "" {
		err = errNoAccess
	}
	if err == nil {
		t, err = t.normalize(sent)
	}
	if err != nil {
		return r.failed(s, cause, beside, err)
	}
	n := newSnapshot(record.First(record.Tokens(t), cause), trip)
	n.past = &past{replaces: s.SID}
	if cause != causeSignIn {
		n = newSnapshot(s.Next(record.Tokens(t.inherit(s.token())), cause), trip)
	}
	r.save(s, n)
	return r.succeeded(s, n)
}

// save puts a new pair into the store; it has been paid for, so closing the
// client does not interrupt it. Where s was signed out meanwhile the pair has no
// other owner; where another session took its place, the pair is left alone: the
// two may share a grant.
func (r *refresher) save(s, n *snapshot) {
	err := r.session.do(context.WithoutCancel(r.ctx), func(ctx context.Context) error {
		err := r.session.put(ctx, s, n)
		if r.session.known.Load() == n {
			r.board.know(n)
		}
		return err
	})
	if !r.session.known.Load().exists() {
		r.orphan(n)
		r.revokeOrphans()
	}
	r.troubled("evertoken: the new token could not be saved", err)
}

// succeeded clears what failures have left, unless the issuer made no progress.
func (r *refresher) succeeded(old, n *snapshot) error {
	now := wall(r.clock)
	if k := r.session.known.Load(); k.SID != n.SID || k.Gen != n.Gen {
		return k.err // beaten
	}
	if n.life.isDead(now) {
		return r.failed(n, n.Cause, Token{}, &RefreshError{Outcome: Unavailable, Err: errOnArrival})
	}
	r.sid, r.failures, r.verdicts, r.hold = n.SID, 0, 0, hold{}
	kind := SessionStarted
	if n.SID == old.SID {
		kind = Renewed
		if n.life.expiry.IsZero() && n.sameToken(old) || !n.life.expiry.IsZero() && !n.life.expiry.After(old.life.expiry) {
			r.hold.until = now.Add(noProgress(now, n.life))
			r.board.debug("evertoken: the new token lives no longer than the old one", slog.Time("until", r.hold.until))
		}
	}
	r.board.tell(Event{Kind: kind, Reason: n.Cause, Expiry: n.life.expiry, Took: r.took})
	if r.sched.fraction == 0 && !n.life.expiry.IsZero() && n.life.lifetime() <= r.sched.window && r.pool.warned.CompareAndSwap(false, true) {
		r.board.logAt(slog.LevelWarn, "evertoken: tokens live no longer than ExpiryWindow, so each check renews them; WindowFraction makes that rarer",
			slog.Duration("lifetime", n.life.lifetime()), slog.Duration("window", r.sched.window))
	}
	return nil
}

// failed decides what follows an attempt that failed. beside holds the refresh
// token that came with the error, if any.
func (r *refresher) failed(s *snapshot, cause string, beside Token, err error) error {
	known, err := judged(cause, err)
	f := failure{
		outcome: known.Outcome, silent: errors.Is(err, context.DeadlineExceeded),
		count: r.failures + 1, retryAfter: known.RetryAfter, late: errors.Is(err, errOnArrival),
	}
	if known.Outcome == NotSent {
		r.took = 0
	}
	switch {
	case cause == causeSignIn:
		if known.Outcome == Rejected || known.Outcome == Misconfigured {
			r.verdicts++
			f.verdicts = r.verdicts
		}
	case beside.RefreshToken != "" && beside.RefreshToken != s.Tokens.RefreshToken && !(known.Outcome == Rejected && r.rejectedBefore()):
		r.save(s, s.with(s.Next(replaced(s.Tokens, beside), s.Cause)))
	case known.Outcome == Rejected:
		return r.rejected(s, cause, err)
	default:
		f.sent = s.Note.N
		if known.Outcome == NotSent || known.Outcome == Misconfigured || known.StatusCode == 429 || known.StatusCode == 503 {
			_ = r.session.do(context.WithoutCancel(r.ctx), func(ctx context.Context) error { return r.session.swap(ctx, s, s.with(s.Closed())) })
		}
	}
	if errors.Is(err, flight.ErrClosing) {
		return ErrClosed // that is no failure
	}
	now := wall(r.clock)
	h := hold{until: f.retryAt(now, s.life, r.random()), err: err}
	switch {
	case cause == causeSignIn:
		h.until = latest(h.until, r.loginAt)
	case f.outcome == Ambiguous && f.retryAfter == 0:
		h = whileOpen(now, h.until, err)
	}
	return r.wait(h, Event{Reason: cause, Outcome: known.Outcome})
}

// rejectedBefore says that the attempt before was rejected too, although a token came
// beside that: the issuer has spoken then.
func (r *refresher) rejectedBefore() bool {
	var last *RefreshError
	return errors.As(r.hold.err, &last) && last.Outcome == Rejected
}

// replaced is t with what came beside an error.
func replaced(t record.Tokens, beside Token) record.Tokens {
	t.RefreshToken = beside.RefreshToken
	if beside.Extra != nil {
		t.Extra = beside.Extra
	}
	return t
}

// judged makes sure that an error has an outcome.
func judged(cause string, err error) (*RefreshError, error) {
	var known *RefreshError
	switch {
	case errors.Is(err, flight.ErrGuard), errors.Is(err, flight.ErrClosing):
		known = &RefreshError{Outcome: NotSent, Err: err}
	case errors.As(err, &known):
		return known, err
	case cause == causeSignIn:
		known = &RefreshError{Outcome: Unavailable, Err: fmt.Errorf("Login: %w", err)}
	default:
		known = &RefreshError{Outcome: Ambiguous, Err: err}
	}
	return known, known
}

// rejected marks the session as over, unless somebody else has already renewed
// it or another has taken its place.
func (r *refresher) rejected(s *snapshot, cause string, err error) error {
	failed := r.session.do(context.WithoutCancel(r.ctx), func(ctx context.Context) error { return r.session.swap(ctx, s, s.with(s.Ended())) })
	switch {
	case errors.Is(failed, errChanged):
		return r.session.known.Load().err
	case failed != nil:
		return r.blocked(cause, failed)
	}
	now := wall(r.clock)
	r.board.report(r.session.known.Load(), Event{Err: err, Outcome: Rejected, Took: r.took})
	r.hold = hold{until: now, err: fmt.Errorf("%w: %w", ErrSignedOut, err), prompt: r.mayLogin() && !now.Before(r.loginAt)}
	return r.hold.err
}

// blocked is an attempt that ended before anything was sent, for the store's sake.
func (r *refresher) blocked(cause string, err error) error {
	if r.ctx.Err() != nil {
		return ErrClosed
	}
	now := wall(r.clock)
	until := now.Add(backoff(now, r.failures+1, r.session.known.Load().life, r.random()))
	return r.wait(hold{until: until, err: err}, Event{Reason: cause, Outcome: NotSent})
}

// wait counts a failure, holds the next attempt back and tells of both.
func (r *refresher) wait(h hold, e Event) error {
	r.failures++
	h.prompt = !h.ends(e.Reason).After(wall(r.clock))
	r.hold = h
	e.Kind, e.Err, e.Next, e.Took, e.Expiry = Failed, h.err, h.until, r.took, r.session.known.Load().life.expiry
	r.board.tell(e)
	return h.err
}
