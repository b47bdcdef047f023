package evertoken

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken/internal/agenda"
	"github.com/evertoken/evertoken/internal/flight"
)

const saveAgain = 5 * time.Second // between tries to save a pair

// A refresher is the loop that keeps the session alive. The agenda drives it: each
// Do is a turn of the loop, and one happens after the other, whatever goroutine
// they are on. They alone send refresh tokens. The loop is owned by who calls
// stop, and waits for done. Requests wish for a renewal and wait on their own
// context, so an exchange outlives the caller that asked for it. What the loop
// does in a renewal is in renewal.go.
type refresher struct {
	*common
	session *session
	board   *board
	entry   agenda.Entry

	mu      sync.Mutex
	ctx     *turn         // of the turn that is under way, which alone reads it without mu; nil: none is
	done    chan struct{} // closed when the loop has ended; nil: nobody has asked for that
	wish    *wish         // what requests wait for; nil: nothing, or the loop has taken it
	taken   *wish         // what the loop works on; nil: nothing that anybody waits for
	gate    *gate         // nil: no server has refused a token
	orphans []orphan

	number  uint32      // of the client in its pool
	leftOut atomic.Bool // somebody signed out: Login is not called
	used    atomic.Bool // since the last turn

	// From here on the loop's own.
	ended    bool
	check    bool          // the next turn is a check, if it comes when it is due
	queued   bool          // so is it because it waits for a slot
	watched  bool          // the pool will be told when nobody holds this client any more
	brought  bool          // somebody else has brought a token since the last check
	phase    time.Duration // where the grid of ticks begins, counted from common.began
	usedAt   time.Duration // when it was seen to be used last, likewise
	sid      string        // the session of which the following tells
	gen      uint64        // and its generation when it left memory
	failures int32         // in a row
	verdicts int32         // of those, Login's that only a person can mend
	hold     hold
	loginAt  time.Time     // Login is not called before
	held     *flight.Right // nil: none; kept over rounds only while known is not saved
	trouble  error         // what the store failed at last; nil: it did not. The result of Close once done is closed
	took     time.Duration // by the exchange of the current attempt; zero: nothing was sent
}

// A hold keeps the loop from the next attempt.
type hold struct {
	until  time.Time
	early  time.Duration // by how much it ends earlier where servers refuse the token
	err    error         // what those who wish for a renewal are told meanwhile; nil: nothing failed
	prompt bool          // so short that they rather wait
}

// whileOpen is a hold for the sake of an attempt that is open since then and may still
// be processed. Until the token's end is too long where servers refuse that.
func whileOpen(since, until time.Time, err error) hold {
	return hold{until: until, early: max(0, until.Sub(since.Add(noteForced))), err: err}
}

// ends is when a renewal may be tried again that has a cause.
func (h hold) ends(cause string) time.Time {
	if cause == causeRefused {
		return h.until.Add(-h.early)
	}
	return h.until
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
	r.use()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done != nil {
		w := &wish{done: make(chan struct{})}
		w.end(ErrClosed)
		return w
	}
	looks := false
	if cause == causeRefused {
		for _, w := range []*wish{r.wish, r.taken} {
			if w != nil && w.cause == cause && w.about.sameToken(about) {
				return w
			}
		}
		if r.gate == nil {
			r.gate = new(gate)
		}
		if !r.gate.pass(wall(r.clock), r.sched.interval, about) {
			cause, looks = "", true
			r.board.debug("evertoken: too early to renew after a 401", slog.Time("expiry", about.life.expiry))
		}
	}
	if r.wish == nil {
		r.wish = &wish{done: make(chan struct{})}
		r.poke()
	}
	if looks {
		r.wish.refused = about
	}
	if w := r.wish; cause != "" && (w.about == nil || w.about.SID != about.SID || about.Newer(w.about.Record)) {
		w.cause, w.about = cause, about
	}
	return r.wish
}

// use notes that somebody uses the session. It is on the path of each request.
func (r *refresher) use() {
	if !r.used.Load() {
		r.used.Store(true)
	}
}

// poke has the loop look again.
func (r *refresher) poke() { r.agenda.Poke(&r.entry) }

// take is the wish to work on: the one that waits for a slot, if there is one.
func (r *refresher) take() *wish {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken == nil {
		r.wish, r.taken = nil, r.wish
	}
	return r.taken
}

// end ends a wish, if there is one, for all who wait for it.
func (w *wish) end(err error) {
	if w != nil {
		w.err = err
		close(w.done)
	}
}

// grant ends the wish that the loop has taken. One that came while that waited for
// a slot is the next.
func (r *refresher) grant(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken.end(err)
	r.taken = nil
	if r.wish != nil {
		r.poke()
	}
}

// supersede ends the wishes that s, a sign-in or a sign-out, has overtaken: the
// loop may be busy for minutes with the session that was before.
func (r *refresher) supersede(s *snapshot) {
	r.use()
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

// isClosing says that the loop is to end, or has ended.
func (r *refresher) isClosing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done != nil
}

// stop has the loop end. It may be called more than once.
func (r *refresher) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = make(chan struct{})
	}
	if r.ctx != nil {
		r.ctx.cancel()
	}
	r.poke()
}

// start follows the first read, which ended with err, and returns when the first
// turn is due.
func (r *refresher) start(err error) time.Time {
	s := r.session.known.Load()
	r.sid, r.trouble, r.usedAt = s.SID, err, wall(r.clock).Sub(r.began)
	r.show()
	next := r.plan()
	if s.Note.Open() || s.exists() && !s.alive(wall(r.clock)) {
		next, r.check = wall(r.clock), true
	}
	return next
}

// plan tells when the next turn is due.
func (r *refresher) plan() (next time.Time) {
	next, r.check = r.nextLook()
	r.board.plan(next)
	return next
}

// Do implements agenda.Task: it is one turn of the loop.
func (r *refresher) Do(due bool) time.Time {
	defer r.rest()
	r.setBack(nil)
	if !r.begin() {
		r.end()
		return time.Time{}
	}
	check := due && (r.check || r.queued)
	r.queued = false
	r.round(r.take(), check)
	if r.unused() && r.fellAsleep() {
		return time.Time{}
	}
	return r.plan()
}

// setBack follows a wall clock that was set back: what was measured by it lasts no
// longer for that. It returns by how much, and what has become of s.
func (r *refresher) setBack(s *snapshot) (time.Duration, *snapshot) {
	back := r.agenda.Back(&r.entry)
	if back <= 0 {
		return 0, s
	}
	r.board.debug("evertoken: the clock was set back", slog.Duration("by", back))
	r.hold.until, r.loginAt, r.usedAt = r.hold.until.Add(-back), r.loginAt.Add(-back), r.usedAt-back
	_ = r.session.do(r.values, func(context.Context) error {
		s = r.session.setBack(back, s)
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gate != nil {
		r.gate.until = r.gate.until.Add(-back)
	}
	return back, s
}

// begin gives a turn its context. It is false if the loop is to end.
func (r *refresher) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx = new(turn)
	r.ctx.Context, r.ctx.cancel = context.WithCancel(r.values)
	return r.done == nil
}

// A turn is the context of one turn of the loop. It ends with that, or earlier
// when the client is closed.
type turn struct {
	context.Context
	cancel context.CancelFunc
}

// rest leaves nothing of a turn in memory.
func (r *refresher) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx.cancel()
	r.ctx = nil
}

// end is the last turn. It leaves nothing behind: a pair that is not saved gets
// one more try.
func (r *refresher) end() {
	for r.take() != nil {
		r.grant(ErrClosed)
	}
	if r.ended {
		return // poked since
	}
	r.ended, r.trouble = true, nil
	if !r.session.settled() {
		r.trouble = r.session.do(r.values, r.session.flush)
	}
	r.held.Release()
	close(r.done)
}

// pause waits until then, within a turn. It is false when the client is closed.
func (r *refresher) pause(until time.Time) bool {
	if wait := until.Sub(wall(r.clock)); wait > 0 {
		timer := r.clock.Timer(wait)
		defer timer.Stop()
		select {
		case <-r.ctx.Done():
		case <-timer.C:
		}
	}
	return r.ctx.Err() == nil
}

// enter gets a slot for what is to be sent to the issuer. If there is none, what
// wants to be sent is put off: the turn for which a slot is kept is a check. The
// token that ends first comes first. A session whose attempts fail counts as if
// its token ended in a window from now: many that are slow to fail must not
// stand before the others.
func (r *refresher) enter() bool {
	now, s := wall(r.clock), r.session.served.Load()
	urgency := s.life.dead
	if r.failures > 0 || s.alive(now) && urgency.IsZero() {
		urgency = now.Add(r.sched.window)
	}
	r.queued = !r.agenda.Enter(&r.entry, urgency)
	return !r.queued
}

// unused says that nobody has used the session for long enough. Where there is
// none there is nothing to keep alive, so that is soon.
func (r *refresher) unused() bool {
	now, idle := wall(r.clock).Sub(r.began), r.idle
	if r.used.Swap(false) {
		r.usedAt = now
	}
	if !r.session.known.Load().exists() && r.login == nil {
		idle = min(idle, r.sched.interval)
	}
	return idle > 0 && now-r.usedAt >= idle
}

// fellAsleep takes the session out of memory if its record has all that counts.
// The next wish reads that again. Until then the agenda does not hold the client,
// so that one which nobody else holds goes as well.
func (r *refresher) fellAsleep() (asleep bool) {
	_ = r.session.do(r.ctx, func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		busy := r.queued || r.held != nil || r.wish != nil || r.taken != nil || len(r.orphans) > 0
		if asleep = !busy && r.session.settled(); asleep {
			r.gen = r.session.known.Load().Gen
			r.session.sleep(r.session.known.Load())
			r.board.sleep(r.session.known.Load())
		}
		return nil
	})
	if asleep {
		r.watch()
	}
	return asleep
}

// watch has the pool told when nobody holds this client any more.
func (r *refresher) watch() {
	if !r.watched {
		r.watched = true
		runtime.AddCleanup(r, r.pool.sweep, r.session.key)
	}
}

// round is one look: read the record, then renew if there is a cause. The state
// is published before those who wish for it wake.
func (r *refresher) round(w *wish, check bool) {
	if r.held != nil {
		_ = flight.Within(r.ctx, r.clock, stepTimeout, r.held.Extend)
	}
	before := r.session.known.Load()
	err := r.read()
	r.brought = r.brought || !before.asleep() && r.overtaken(before, r.session.known.Load())
	cause := r.cause(w, check)
	r.brought = r.brought && !check
	if cause != "" {
		if err = r.holding(cause); err == nil {
			err = r.renew(cause)
		}
	} else if r.replacedElsewhere(w) {
		err = r.await()
	} else if check && err == nil && r.single {
		r.board.tell(Event{Kind: Checked, Expiry: r.session.known.Load().life.expiry})
	} else if r.session.served.Load().alive(wall(r.clock)) {
		err = nil // the store may be down; what is in memory serves
	}
	if err == nil && w != nil && w.cause != "" {
		err = r.session.known.Load().ending() // somebody else has
	}
	if err != nil && r.ctx.Err() != nil {
		err = ErrClosed // whatever that has interrupted
	}
	r.settleRight()
	r.show()
	if !r.queued {
		r.grant(err)
	}
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
		if f := r.session.found(); f != nil {
			r.orphan(f)
		}
		if before.asleep() && s.exists() && s.Gen != r.gen { // somebody else has renewed since
			r.failures, r.hold = 0, hold{}
		}
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
	if k := r.session.known.Load(); k.SID != r.sid && !k.asleep() {
		r.sid, r.failures, r.verdicts, r.hold = k.SID, 0, 0, hold{}
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
func (r *refresher) mayLogin() bool { return r.login != nil && !r.leftOut.Load() }

// renewable leaves a token alone of which nothing is known and that nothing can
// replace.
func (r *refresher) renewable(s *snapshot) bool {
	return !s.life.expiry.IsZero() || s.Tokens.RefreshToken != "" || r.login != nil
}

// abandoned says that somebody else left an attempt open that can be made again
// while the issuer's grace lasts.
func (r *refresher) abandoned(s *snapshot, now time.Time) bool {
	return r.foreign(s) && r.noteAge(s, now) < r.grace-leastGrace && r.sched.due(now, s.life)
}

// holding returns why an attempt has to wait, if it has to.
func (r *refresher) holding(cause string) error {
	now, until := wall(r.clock), r.hold.ends(cause)
	login := cause == causeSignIn && now.Before(r.loginAt)
	if !login && (!now.Before(until) || r.hold.err == nil && cause != causeDue || r.bearable(cause)) {
		return nil
	}
	err := cmp.Or(r.hold.err, errHeld)
	r.board.debug("evertoken: held back", slog.String("reason", cause), slog.Time("until", latest(until, r.loginAt)), slog.String("error", err.Error()))
	return err
}

// nextLook is when the loop wakes by itself, and whether that is a check: at the
// next tick, or earlier for a token that would not last until then and for the
// end of a hold. In between it only looks: to save a pair, to extend the right,
// and at what others do while the issuer's grace would forgive them.
func (r *refresher) nextLook() (at time.Time, check bool) {
	s, now := r.session.known.Load(), wall(r.clock)
	at = r.sched.tick(now, r.began.Add(r.phase))
	switch {
	case r.queued: // it comes when a slot does
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
	r.mu.Unlock()
	if len(all) == 0 || !r.enter() {
		return
	}
	r.mu.Lock()
	all, r.orphans = r.orphans, nil
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

// revokeInTurn does so for somebody who is not the loop.
func (r *refresher) revokeInTurn(ctx context.Context, t Token) error {
	if err := flight.Within(ctx, r.clock, stepTimeout, r.agenda.Await); err != nil {
		return fmt.Errorf("evertoken: revoke: %w", err)
	}
	defer r.agenda.Release()
	return r.revoke(ctx, t)
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
		r.board.lease(leaseNowhere)
	}
}
