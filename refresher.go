package evertoken

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken/internal/flight"
)

const saveAgain = 5 * time.Second // between tries to save a pair

// A refresher is the loop that keeps the session alive. Its goroutine is the
// only one that sends refresh tokens. It is owned by halt, which waits for it.
// Requests wish for a renewal and wait on their own context, so an exchange
// outlives the caller that asked for it. What the loop does in a renewal is in
// renewal.go.
type refresher struct {
	cfg     *Config
	clock   Clock
	session *session
	board   *board
	sched   schedule
	grace   time.Duration // how long the issuer accepts a spent refresh token
	owner   string        // marks this client's notes
	random  func() float64

	ctx    context.Context // ends when the client is closed
	cancel context.CancelFunc
	done   chan struct{} // closed when the loop has ended; err is set before
	err    error         // what could not be saved at the end
	wake   chan struct{} // holds one element when the loop is to look again

	mu      sync.Mutex
	wish    *wish // what requests wait for; nil: nothing, or the loop has taken it
	taken   *wish // what the loop works on; nil: nothing that anybody waits for
	gate    gate
	orphans []orphan

	leftOut atomic.Bool // somebody signed out: Login is not called

	// From here on the loop's own.
	first    time.Time // where the grid of ticks begins
	sid      string    // the session of which the following tells
	failures int       // in a row
	verdicts int       // of those, Login's that only a person can mend
	hold     hold
	loginAt  time.Time     // Login is not called before
	held     *flight.Right // nil: none; kept over rounds only while known is not saved
	trouble  error         // what the store failed at last; nil: it did not
	brought  bool          // somebody else has brought a token since the last check
	took     time.Duration // by the exchange of the current attempt; zero: nothing was sent
	warned   bool          // of a lifetime within the window
}

// newRefresher returns a loop that has neither its context yet nor begun. Its
// first check comes at a random point of the first interval, so that a fleet which
// is started together spreads.
func newRefresher(cfg *Config, s *session, b *board, random func() float64) *refresher {
	r := &refresher{
		cfg: cfg, clock: cfg.Clock, session: s, board: b,
		sched:  schedule{cfg.CheckInterval, cfg.ExpiryWindow, cfg.WindowFraction},
		owner:  rand.Text(),
		random: random,
		done:   make(chan struct{}),
		wake:   make(chan struct{}, 1),
		first:  wall(cfg.Clock).Add(time.Duration((1 - random()) * float64(cfg.CheckInterval))),
		sid:    s.known.Load().SID,
	}
	if g, ok := cfg.Issuer.(interface{ ReuseGrace() time.Duration }); ok && g.ReuseGrace() > leastGrace {
		r.grace = g.ReuseGrace()
	}
	return r
}

// A hold keeps the loop from the next attempt.
type hold struct {
	until  time.Time
	err    error // what those who wish for a renewal are told meanwhile; nil: nothing failed
	prompt bool  // so short that they rather wait
}

// A wish is a renewal that requests wait for, shared by all that came before
// the loop took it. err is set before done is closed.
type wish struct {
	cause   string    // why a token is to be replaced that could be used; empty: none is
	about   *snapshot // which one
	refused *snapshot // the one that others may be replacing just now; nil: none
	done    chan struct{}
	err     error
}

// ask makes a wish, or joins one. Its cause and about may be empty. Where a server
// refused the token and it is too early for another renewal, the wish is merely to
// look at the record: another process may have made a newer one, or be about to.
func (r *refresher) ask(cause string, about *snapshot) *wish {
	r.mu.Lock()
	defer r.mu.Unlock()
	looks := false
	if cause == causeRefused {
		for _, w := range []*wish{r.wish, r.taken} {
			if w != nil && w.cause == cause && w.about.sameToken(about) {
				return w
			}
		}
		if !r.gate.pass(wall(r.clock), r.sched.interval, about) {
			cause, looks = "", true
			r.board.debug("evertoken: too early to renew after a 401", slog.Time("expiry", about.life.expiry))
		}
	}
	if r.wish == nil {
		r.wish = &wish{done: make(chan struct{})}
	}
	if looks {
		r.wish.refused = about
	}
	if w := r.wish; cause != "" && (w.about == nil || w.about.SID != about.SID || about.Newer(w.about.Record)) {
		w.cause, w.about = cause, about
	}
	r.poke()
	return r.wish
}

// poke has the loop look again.
func (r *refresher) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *refresher) take() *wish {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wish, r.taken = nil, r.wish
	return r.taken
}

// end ends a wish, if there is one, for all who wait for it.
func (w *wish) end(err error) {
	if w != nil {
		w.err = err
		close(w.done)
	}
}

// grant ends the wish that the loop has taken.
func (r *refresher) grant(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken.end(err)
	r.taken = nil
}

// supersede ends the wishes that s, a sign-in or a sign-out, has overtaken: the
// loop may be busy for minutes with the session that was before.
func (r *refresher) supersede(s *snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range []**wish{&r.wish, &r.taken} {
		if *w != nil && ((*w).about == nil || (*w).about.SID != s.SID) {
			(*w).end(s.err)
			*w = nil
		}
	}
	r.poke()
}

// halt stops the loop and waits for it. It may be called more than once.
func (r *refresher) halt() error {
	r.cancel()
	<-r.done
	return r.err
}

// run is the loop: it sleeps until the next look is due or a wish wakes it. At
// its end nothing is left behind: a pair that is not saved gets one more try.
func (r *refresher) run() {
	defer close(r.done)
	next, check := r.nextLook()
	if s := r.session.known.Load(); s.Note.Open() || s.exists() && !s.alive(wall(r.clock)) {
		next, check = wall(r.clock), true
	}
	for r.sleep(next) {
		r.round(r.take(), check && !wall(r.clock).Before(next))
		next, check = r.nextLook()
		r.board.plan(next)
	}
	r.take()
	r.grant(ErrClosed)
	if !r.session.settled() {
		r.err = r.session.do(context.WithoutCancel(r.ctx), r.session.write)
	}
	r.held.Release()
}

// sleep returns at next, or earlier when woken. It is false when the client is
// closed.
func (r *refresher) sleep(next time.Time) bool {
	began := wall(r.clock)
	wait := next.Sub(began)
	if wait <= 0 {
		return r.ctx.Err() == nil
	}
	timer := r.clock.Timer(wait)
	defer timer.Stop()
	select {
	case <-r.ctx.Done():
	case <-timer.C:
	case <-r.wake:
	}
	if back := began.Sub(wall(r.clock)); back > 0 {
		// The clock was set back; what is waited for comes no later for that.
		r.hold.until, r.loginAt = r.hold.until.Add(-back), r.loginAt.Add(-back)
		r.board.debug("evertoken: the clock was set back", slog.Duration("by", back))
	}
	return r.ctx.Err() == nil
}

// round is one look: read the record, then renew if there is a cause. The state
// is published before those who wish for it wake.
func (r *refresher) round(w *wish, check bool) {
	if r.held != nil {
		_ = flight.Within(r.ctx, r.clock, stepTimeout, r.held.Extend)
	}
	before := r.session.known.Load()
	err := r.read()
	r.brought = r.brought || r.overtaken(before, r.session.known.Load())
	cause := r.cause(w, check)
	r.brought = r.brought && !check
	if cause != "" {
		if err = r.holding(cause); err == nil {
			err = r.renew(cause)
		}
	} else if r.replacedElsewhere(w) {
		err = r.await()
	} else if check && err == nil {
		r.board.tell(Event{Kind: Checked, Expiry: r.session.known.Load().life.expiry})
	} else if r.session.served.Load().alive(wall(r.clock)) {
		err = nil // the store may be down; what is in memory serves
	}
	r.settleRight()
	r.show()
	r.grant(err)
	if check {
		r.revokeOrphans()
	}
}

// read brings memory and the record together, and tells what it found.
func (r *refresher) read() error {
	err := r.session.do(r.ctx, func(ctx context.Context) error {
		before, settled := r.session.known.Load(), r.session.settled()
		err := r.session.read(ctx)
		s := r.session.known.Load()
		switch r.board.report(s, Event{}) {
		case SessionStarted:
			r.leftOut.Store(false)
		case Adopted:
			r.failures, r.hold = 0, hold{}
		case SessionEnded:
			if s.exists() {
				break
			}
			r.leftOut.Store(true)
			if !settled { // nobody else has this pair
				r.orphan(before)
			}
		case Renewed, Failed, Checked: // are told where they happen
		}
		return err
	})
	if sid := r.session.known.Load().SID; sid != r.sid {
		r.sid, r.failures, r.verdicts, r.hold = sid, 0, 0, hold{}
	}
	r.troubled("evertoken: the store failed", err)
	return err
}

// troubled remembers whether the store works.
func (r *refresher) troubled(what string, err error) {
	if r.ctx.Err() != nil {
		return
	}
	r.trouble = err
	if err != nil {
		r.board.logAt(slog.LevelInfo, what, slog.String("error", err.Error()))
	}
}

// cause says why a renewal is to be made now; empty for none. It speaks of the
// newest known token, which is not the served one while it cannot be saved. One
// that somebody else has just brought is left alone by the next check: else every
// process would renew tokens that live no longer than the window.
func (r *refresher) cause(w *wish, check bool) string {
	s, now := r.session.known.Load(), wall(r.clock)
	switch {
	case !s.active():
		if r.mayLogin() && (check || w != nil) {
			return causeSignIn
		}
	case (check || w != nil) && !s.alive(now):
		return causeExpired
	case w != nil && w.about != nil && w.about.sameToken(s):
		return w.cause
	case check && !r.brought && r.renewable(s) && r.sched.due(now, s.life), r.abandoned(s, now):
		return causeDue
	}
	return ""
}

// replacedElsewhere says that a server refused the newest token while another
// process is at work on the next: issuers may end the old one as soon as they have
// made the new one, which that process has still to save.
func (r *refresher) replacedElsewhere(w *wish) bool {
	s := r.session.known.Load()
	return w != nil && w.refused != nil && w.refused.sameToken(s) && r.foreign(s) && r.noteAge(s, wall(r.clock)) < leaseTTL
}

// await waits until nobody else has the right to send any more, and reads what
// they have left.
func (r *refresher) await() error {
	r.board.debug("evertoken: refused, and another process is at work on the next token")
	if err := r.acquire(r.session.known.Load(), causeRefused); err != nil {
		return err
	}
	return r.read()
}

// mayLogin says whether Login is to be called: somebody who signed out is not
// to be signed in again behind their back.
func (r *refresher) mayLogin() bool { return r.cfg.Login != nil && !r.leftOut.Load() }

// renewable leaves a token alone of which nothing is known and that nothing can
// replace.
func (r *refresher) renewable(s *snapshot) bool {
	return !s.life.expiry.IsZero() || s.Tokens.RefreshToken != "" || r.cfg.Login != nil
}

// abandoned says that somebody else left an attempt open that can be made again
// while the issuer's grace lasts.
func (r *refresher) abandoned(s *snapshot, now time.Time) bool {
	return r.foreign(s) && r.noteAge(s, now) < r.grace-leastGrace && r.sched.due(now, s.life)
}

// holding returns why an attempt has to wait, if it has to.
func (r *refresher) holding(cause string) error {
	now := wall(r.clock)
	login := cause == causeSignIn && now.Before(r.loginAt)
	if !login && (!now.Before(r.hold.until) || r.hold.err == nil && cause != causeDue) {
		return nil
	}
	err := cmp.Or(r.hold.err, errHeld)
	r.board.debug("evertoken: held back", slog.String("reason", cause), slog.Time("until", latest(r.hold.until, r.loginAt)), slog.String("error", err.Error()))
	return err
}

// nextLook is when the loop wakes by itself, and whether that is a check: at the
// next tick, or earlier for a token that would not last until then and for the
// end of a hold. In between it only looks: to save a pair, to extend the right,
// and at what others do while the issuer's grace would forgive them.
func (r *refresher) nextLook() (at time.Time, check bool) {
	s, now := r.session.known.Load(), wall(r.clock)
	at = r.sched.tick(now, r.first)
	switch {
	case !s.active():
		if r.mayLogin() {
			at = earliest(at, latest(now, latest(r.loginAt, r.hold.until)))
		}
	case !s.alive(now), r.hold.until.After(now) && r.sched.due(now, s.life):
		at = earliest(at, latest(now, r.hold.until))
	default:
		at = r.sched.next(at, s.life)
	}
	look := at
	if !r.session.settled() {
		look = earliest(look, now.Add(saveAgain))
		if dead := r.session.served.Load().life.dead; dead.After(now) {
			look = earliest(look, dead) // then the new token is served, saved or not
		}
	}
	if r.held != nil {
		look = earliest(look, now.Add(r.held.Beat()))
	}
	if r.grace > 0 && r.shared() != nil && s.active() {
		look = earliest(look, latest(now, r.sched.opens(s.life)).Add(r.grace/5))
	}
	return look, look.Equal(at)
}

// An orphan is a token that nobody holds any more but its session at the issuer.
type orphan struct {
	token Token
	since time.Time
}

// orphan takes over a token whose session is to be ended at the issuer.
func (r *refresher) orphan(s *snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.orphans = append(r.orphans, orphan{s.token(), wall(r.clock)})
}

// revokeOrphans tries once more for each, for an hour. The first failure is the
// last for now: an issuer that is down must not keep the loop from its work.
func (r *refresher) revokeOrphans() {
	r.mu.Lock()
	all := r.orphans
	r.orphans = nil
	r.mu.Unlock()
	for len(all) > 0 && r.revoke(r.ctx, all[0].token) == nil {
		all = all[1:]
	}
	if len(all) > 0 {
		all = append(all[1:], all[0]) // it may be the one at fault
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := wall(r.clock)
	r.orphans = append(r.orphans, slices.DeleteFunc(all, func(o orphan) bool { return now.Sub(o.since) >= longestPause })...)
}

// revoke ends a session at the issuer, if that can be done.
func (r *refresher) revoke(ctx context.Context, t Token) error {
	revoker, ok := r.cfg.Issuer.(revoker)
	if !ok || t.RefreshToken == "" && t.AccessToken == "" {
		return nil
	}
	err := flight.Within(ctx, r.clock, stepTimeout, func(ctx context.Context) error { return revoker.Revoke(ctx, t) })
	if err != nil {
		r.board.debug("evertoken: could not revoke", slog.String("error", err.Error()))
		return fmt.Errorf("evertoken: revoke: %w", err)
	}
	return nil
}

// show brings the status up to what the loop knows.
func (r *refresher) show() {
	err := r.hold.err
	if err == nil {
		err = r.trouble
	}
	r.board.store(cmp.Or(r.trouble, storeFailure(r.hold.err)))
	r.board.show(r.session.known.Load(), r.session.settled(), r.failures, err)
}

// storeFailure returns err if the store failed. A lease that somebody else kept for
// long is none.
func storeFailure(err error) error {
	var failed *storeError
	if !errors.As(err, &failed) || failed.step == "lease" && errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// showLease tells who may send.
func (r *refresher) showLease() {
	switch {
	case r.held != nil:
		r.board.lease(leaseHere)
	case r.foreign(r.session.known.Load()):
		r.board.lease(leaseElsewhere)
	default:
		r.board.lease("")
	}
}
