package evertoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken/storage"
)

const (
	storeTimeout  = 10 * time.Second // one step with the store
	loginPatience = time.Minute      // one call of Config.Login
)

// A refresher is the loop that keeps the session alive. Its goroutine is the
// only one that sends refresh tokens. It is owned by halt, which waits for it.
// Requests wish for a renewal and wait on their own context, so an exchange
// outlives the caller that asked for it.
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
	refusal *wish // the newest wish that a 401 made
	gate    refusalGate
	gateSID string

	leftOut atomic.Bool // somebody signed out: Login is not called

	// From here on the loop's own.
	first    time.Time // where the grid of ticks begins
	hold     hold
	failures int
	held     *right // kept over rounds only while known is not saved
	noteSeen string // somebody else's open note, and when it was first seen
	noteAt   time.Time
	loginAt  time.Time     // Login is not called before
	pause    time.Duration // between logins that a person has to mend
	warned   bool          // of a lifetime within the window
}

// A hold keeps the loop from the next attempt of one session.
type hold struct {
	sid    string
	until  time.Time
	err    error // what those who wish for a renewal are told meanwhile; nil: nothing failed
	prompt bool  // so short that they rather wait
}

// A wish is a renewal that requests wait for, shared by all that came before
// the loop took it. err is set before done is closed.
type wish struct {
	forced  *snapshot // Refresh asked, when this was served
	refused *snapshot // a server refused this
	done    chan struct{}
	err     error
}

func (w *wish) finish(err error) {
	if w != nil {
		w.err = err
		close(w.done)
	}
}

// ask makes a wish, or joins the one that is not yet taken.
func (r *refresher) ask(forced bool) *wish {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.askLocked()
	if forced {
		w.forced = r.session.served.Load()
	}
	return w
}

func (r *refresher) askLocked() *wish {
	if r.wish == nil {
		r.wish = &wish{done: make(chan struct{})}
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

// askRefused makes or joins the wish for the token that replaces a refused one;
// nil if it is too early for another renewal.
func (r *refresher) askRefused(refused *snapshot) *wish {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.refusal; w != nil && w.refused.sameToken(refused) {
		select {
		case <-w.done:
		default:
			return w
		}
	}
	if r.gateSID != refused.SID {
		r.gateSID, r.gate = refused.SID, refusalGate{}
	}
	if !r.gate.pass(wall(r.clock), r.sched.interval, refused) {
		return nil
	}
	w := r.askLocked()
	w.refused, r.refusal = refused, w
	return w
}

func (r *refresher) take() *wish {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.wish
	r.wish = nil
	return w
}

// halt stops the loop and waits for it. It may be called more than once.
func (r *refresher) halt() error {
	r.cancel()
	<-r.done
	return r.err
}

// run is the loop: it sleeps until the next look is due or a wish wakes it.
func (r *refresher) run() {
	defer close(r.done)
	next := r.nextLook()
	if s := r.session.known.Load(); s.Note.open() || (s.exists() && !s.alive(wall(r.clock))) {
		next = wall(r.clock)
	}
	for r.sleep(next) {
		r.round(r.take(), !wall(r.clock).Before(next))
		next = r.nextLook()
		r.publishNext(next)
	}
	r.take().finish(ErrClosed)
	r.finish()
}

// sleep returns at next, or earlier when woken. It is false when the client is
// closed.
func (r *refresher) sleep(next time.Time) bool {
	wait := next.Sub(wall(r.clock))
	if wait <= 0 {
		return r.ctx.Err() == nil
	}
	timer := r.clock.Timer(wait)
	defer timer.Stop()
	select {
	case <-r.ctx.Done():
		return false
	case <-timer.C:
	case <-r.wake:
	}
	return r.ctx.Err() == nil
}

// within runs one step with the store in its turn, bounded by d on the client's
// clock. Its goroutine ends before it returns.
func (r *refresher) within(ctx context.Context, d time.Duration, step func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := r.clock.Timer(d)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-timer.C:
			cancel(context.DeadlineExceeded)
		case <-ctx.Done():
		}
	}()
	err := step(ctx)
	cancel(nil)
	<-ended
	timer.Stop()
	return err
}

// step takes one bounded step of the session. Writes that must not be lost pass
// a context that outlives the client.
func (r *refresher) step(ctx context.Context, f func(context.Context) error) error {
	return r.within(ctx, storeTimeout, func(ctx context.Context) error { return r.session.do(ctx, f) })
}

// round is one look: read the record, then renew if there is a cause. The state
// is published before those who wish for it wake.
func (r *refresher) round(w *wish, scheduled bool) {
	before := r.session.known.Load()
	if r.held != nil {
		_ = r.within(r.ctx, storeTimeout, r.held.extend)
	}
	err := r.read(before)
	if cause := r.cause(w, scheduled); cause != "" {
		if err = r.holding(cause); err == nil {
			err = r.renew(cause)
		}
	} else if s := r.session.served.Load(); s.alive(wall(r.clock)) {
		err = nil // the store may be down; what is in memory serves
	}
	r.settleRight()
	r.describe()
	w.finish(err)
}

// read brings memory and the record together, and tells what it found.
func (r *refresher) read(before *snapshot) error {
	err := r.step(r.ctx, r.session.read)
	after := r.session.known.Load()
	if after.SID != before.SID {
		r.failures, r.hold, r.pause = 0, hold{}, 0
	}
	now := Event{Reason: after.Cause, Expiry: after.life.expiry}
	switch {
	case before.exists() && !after.exists():
		r.leftOut.Store(true)
		r.tell(SessionEnded, Event{})
		r.revokeOrphan(before)
	case after.exists() && after.SID != before.SID:
		r.leftOut.Store(false)
		r.tell(SessionStarted, now)
	case after.Gen > before.Gen:
		r.failures, r.hold = 0, hold{}
		r.tell(Adopted, now)
	case after.Over && !before.Over:
		r.tell(SessionEnded, Event{})
	}
	if err != nil && r.ctx.Err() == nil {
		r.board.update(func(s *Status) { s.Err = err })
		r.board.logAt(slog.LevelWarn, "evertoken: store failed", slog.String("error", err.Error()))
	}
	return err
}

// revokeOrphan ends a session at the server whose tokens came back after
// somebody had deleted its record; nobody else can end it.
func (r *refresher) revokeOrphan(s *snapshot) {
	revoker, ok := r.cfg.Issuer.(revoker)
	if !ok || s.Tokens.RefreshToken == "" || s.Note.open() || s == r.session.served.Load() {
		return
	}
	_ = r.within(r.ctx, storeTimeout, func(ctx context.Context) error { return revoker.Revoke(ctx, s.token()) })
}

// cause says why a renewal is to be made now; empty for none. It speaks of the
// newest known token, which is not the served one while it cannot be saved.
func (r *refresher) cause(w *wish, scheduled bool) string {
	s, now := r.session.known.Load(), wall(r.clock)
	switch {
	case !s.exists() || s.Over:
		if r.mayLogin() && (scheduled || w != nil) {
			return causeSignIn
		}
	case !scheduled && w == nil:
	case !s.alive(now):
		return causeExpired
	case w != nil && w.forced != nil && w.forced.sameToken(s):
		return causeAsked
	case w != nil && w.refused != nil && w.refused.sameToken(s):
		return causeRefused
	case scheduled && r.renewable(s) && r.sched.due(now, s.life):
		return causeDue
	}
	return ""
}

// mayLogin says whether Login is to be called: somebody who signed out is not
// to be signed in again behind their back.
func (r *refresher) mayLogin() bool { return r.cfg.Login != nil && !r.leftOut.Load() }

// renewable leaves a token alone of which nothing is known and that nothing can
// replace.
func (r *refresher) renewable(s *snapshot) bool {
	return !s.life.expiry.IsZero() || s.Tokens.RefreshToken != "" || r.cfg.Login != nil
}

// holding returns why an attempt has to wait, if it has to.
func (r *refresher) holding(cause string) error {
	now := wall(r.clock)
	if cause == causeSignIn && now.Before(r.loginAt) {
		return r.whyHeld()
	}
	if !now.Before(r.hold.until) || (r.hold.err == nil && cause != causeDue) {
		return nil
	}
	return r.whyHeld()
}

// errHeld stands for a wait that no failure explains.
var errHeld = errors.New("evertoken: refresh: it is too early for another attempt")

func (r *refresher) whyHeld() error {
	if r.hold.err != nil {
		return r.hold.err
	}
	return errHeld
}

// nextLook is when the loop wakes by itself: at the next tick, or earlier for a
// token that would not last until then, for the end of a hold, and to save.
func (r *refresher) nextLook() time.Time {
	s, now := r.session.known.Load(), wall(r.clock)
	tick := r.sched.tick(now, r.first)
	next := tick
	switch {
	case !s.exists() || s.Over:
		if r.mayLogin() {
			next = earliest(tick, latest(r.loginAt, r.hold.until))
		}
	case !s.alive(now), r.hold.until.After(now) && r.sched.due(now, s.life):
		next = earliest(tick, latest(now, r.hold.until))
	default:
		next = r.sched.next(tick, s.life)
	}
	if served := r.session.served.Load(); served != s && served.exists() && !served.life.dead.IsZero() {
		// The newest token is not saved: try again, and serve it when the old one ends.
		next = earliest(next, now.Add(backoff(r.failures+1, 0)/2))
		if served.life.dead.After(now) {
			next = earliest(next, served.life.dead)
		}
	}
	if r.held != nil {
		next = earliest(next, now.Add(r.held.ttl/3))
	}
	return next
}

// renew makes attempts until one ends with a result or with a wait that is long
// enough for those who asked to be told.
func (r *refresher) renew(cause string) error {
	for {
		r.hold.prompt = false
		err := r.attempt(cause)
		if err == nil || !r.hold.prompt {
			return err
		}
		if !r.sleepUntil(r.hold.until) {
			return ErrClosed
		}
	}
}

func (r *refresher) sleepUntil(t time.Time) bool {
	for wall(r.clock).Before(t) {
		if !r.sleep(t) {
			return false
		}
	}
	return r.ctx.Err() == nil
}

// attempt is one renewal: lease, load, note, guard, send, save, publish.
func (r *refresher) attempt(cause string) error {
	before := r.session.known.Load()
	held, err := r.acquire(before, cause)
	if err != nil {
		return r.blocked(err)
	}
	r.held = held
	defer r.settleRight()
	if err := r.read(before); err != nil && !r.mayDoWithout(held, err) {
		return r.blocked(err)
	}
	s := r.session.known.Load()
	if s != before && (s.SID != before.SID || s.Gen != before.Gen) && (s.alive(wall(r.clock)) || !s.exists()) {
		return s.err // somebody else was here
	}
	if cause == causeSignIn || !s.exists() || s.Over {
		return r.login(held)
	}
	if s.Tokens.RefreshToken != "" {
		if err := r.announce(held, s, cause); err != nil {
			return err
		}
	}
	return r.send(held, cause)
}

// acquire gets the right to send, where the store has one to give and there is
// something to spend.
func (r *refresher) acquire(s *snapshot, cause string) (*right, error) {
	leaser, ok := r.cfg.Store.(storage.Leaser)
	if r.held != nil || !ok || (s.exists() && s.Tokens.RefreshToken == "" && cause != causeSignIn) {
		return r.held, nil
	}
	ttl := leaseTTL
	if r.grace > 0 {
		ttl = min(ttl, r.grace/3)
	}
	var lease storage.Lease
	err := r.within(r.ctx, min(r.sched.interval, time.Minute), func(ctx context.Context) (err error) {
		lease, err = leaser.Acquire(ctx, r.cfg.Session, ttl)
		return err
	})
	if err != nil {
		return nil, &storeError{"lease", err}
	}
	return newRight(lease, ttl, r.clock), nil
}

// settleRight releases the lease, unless a pair is still to be saved under it.
func (r *refresher) settleRight() {
	if r.held != nil && r.session.settled() {
		r.held.release()
		r.held = nil
	}
}

// mayDoWithout says whether a token may be sent although the store failed: at
// its end only, and only where nobody else can be sending. That is a store that
// is not shared, or a lock that is held by the kernel's word while merely the
// data cannot be written.
func (r *refresher) mayDoWithout(held *right, err error) bool {
	if r.session.served.Load().alive(wall(r.clock)) || !r.session.known.Load().exists() {
		return false
	}
	if _, shared := r.cfg.Store.(storage.Leaser); !shared {
		return true
	}
	var failed *storeError
	return held != nil && held.lasting && errors.As(err, &failed) && failed.step == "save"
}

// announce writes the note, after giving somebody else's open one its time.
func (r *refresher) announce(held *right, s *snapshot, cause string) error {
	if until := r.othersSettle(s, cause); until.After(wall(r.clock)) {
		err := errors.New("evertoken: refresh: another process left an attempt open; waiting until it cannot be processed any more")
		r.hold = hold{s.SID, until, err, until.Sub(wall(r.clock)) <= noteSettles}
		return err
	}
	n := note{Owner: r.owner, Began: wall(r.clock), Cause: cause}
	err := r.step(r.ctx, func(ctx context.Context) error { return r.session.announce(ctx, n) })
	switch {
	case errors.Is(err, errChanged):
		r.hold = hold{s.SID, wall(r.clock), err, true}
		return err
	case err != nil && !r.mayDoWithout(held, err):
		return r.blocked(err)
	}
	return nil
}

// othersSettle is when the token may be sent in view of somebody else's note.
func (r *refresher) othersSettle(s *snapshot, cause string) time.Time {
	now := wall(r.clock)
	if !s.Note.open() || s.Note.Owner == r.owner {
		return now
	}
	if id := fmt.Sprint(s.SID, s.Gen, s.Note.Owner, s.Note.N); id != r.noteSeen {
		r.noteSeen, r.noteAt = id, now
	}
	age := max(0, now.Sub(s.Note.Began))
	if quiet := r.session.lastQuiet(); !quiet.IsZero() {
		age = min(age, max(0, now.Sub(quiet)))
	}
	return settledAt(now, r.noteAt, age, r.grace, s.life, cause == causeRefused)
}

// send spends the refresh token and keeps what came of it.
func (r *refresher) send(held *right, cause string) error {
	s, sent := r.session.known.Load(), wall(r.clock)
	t, err := r.exchange(held, patience(s.life.left(sent)), func(ctx context.Context) (Token, error) {
		return r.cfg.Issuer.Refresh(ctx, s.token())
	})
	arrived := wall(r.clock)
	if err == nil && t.AccessToken == "" {
		err = &RefreshError{Err: errors.New("the issuer's result has no access token")}
	}
	fresh, bad := t.normalize(sent)
	if err == nil && bad != nil {
		err = &RefreshError{Err: bad}
	}
	if err != nil {
		return r.failed(s, t.RefreshToken, err)
	}
	n := newSnapshot(s.next(fresh.inherit(s.token()), cause), arrived.Sub(sent))
	r.save(n)
	return r.succeeded(s, n, Renewed)
}

// save puts a new pair into the store; it has been paid for, so closing the
// client does not interrupt it.
func (r *refresher) save(n *snapshot) {
	var beaten *snapshot
	err := r.step(context.WithoutCancel(r.ctx), func(ctx context.Context) error {
		if k := r.session.known.Load(); k.SID != n.SID {
			beaten = k
			return nil
		}
		return r.session.put(ctx, n)
	})
	if beaten != nil || !r.session.known.Load().exists() {
		r.revokeLate(n)
	}
	if err != nil {
		r.board.logAt(slog.LevelWarn, "evertoken: the new token could not be saved", slog.String("error", err.Error()))
		r.board.update(func(s *Status) { s.Err = err })
	}
}

// revokeLate ends at the server a session that was signed out here while it was
// being renewed. Where another session took its place its tokens are left alone:
// the two may share a grant.
func (r *refresher) revokeLate(n *snapshot) {
	if !r.session.known.Load().exists() {
		r.revokeOrphan(n)
	}
}

// succeeded clears what failures have left, unless the issuer made no progress.
func (r *refresher) succeeded(old, n *snapshot, kind Kind) error {
	now := wall(r.clock)
	if k := r.session.known.Load(); k.SID != n.SID || k.Gen != n.Gen {
		return k.err // beaten
	}
	if n.life.isDead(now) {
		err := &RefreshError{Outcome: Unavailable, Err: errors.New("the issuer's token had ended on arrival")}
		return r.failed(n, "", err)
	}
	r.failures, r.hold, r.pause = 0, hold{}, 0
	if !n.life.expiry.IsZero() && !n.life.expiry.After(old.life.expiry) ||
		n.life.expiry.IsZero() && n.Tokens.AccessToken == old.Tokens.AccessToken {
		r.hold = hold{sid: n.SID, until: now.Add(max(n.life.left(now)/4, time.Second))}
	}
	r.board.update(func(s *Status) { s.Err = nil })
	r.tell(kind, Event{Reason: n.Cause, Expiry: n.life.expiry})
	r.warnOnce(n)
	return nil
}

func (r *refresher) warnOnce(n *snapshot) {
	if r.warned || r.sched.fraction != 0 || n.life.expiry.IsZero() || n.life.lifetime() > r.sched.window {
		return
	}
	r.warned = true
	r.board.logAt(slog.LevelWarn, "evertoken: tokens live no longer than ExpiryWindow, so each check renews them; WindowFraction makes that rarer",
		slog.Duration("lifetime", n.life.lifetime()), slog.Duration("window", r.sched.window))
}

// failed decides what follows an attempt that failed. newest is the refresh
// token that came beside the error, if any.
func (r *refresher) failed(s *snapshot, newest string, err error) error {
	var known *RefreshError
	if !errors.As(err, &known) {
		known = &RefreshError{Outcome: Ambiguous, Err: err}
		err = known
	}
	late := context.WithoutCancel(r.ctx)
	sent := s.Note.N
	switch {
	case newest != "" && newest != s.Tokens.RefreshToken:
		t := s.token()
		t.RefreshToken = newest
		r.save(s.with(s.next(t, s.Cause)))
		sent = 0
	case known.Outcome == Rejected:
		return r.rejected(s, err)
	case known.Outcome == NotSent, known.Outcome == Misconfigured, known.StatusCode == 429, known.StatusCode == 503:
		_ = r.step(late, r.session.retract)
	}
	if errors.Is(err, ErrClosed) {
		return ErrClosed // Close cancelled it before it was written: that is no failure
	}
	r.failures++
	f := failure{known.Outcome, errors.Is(err, context.DeadlineExceeded), sent, r.failures, known.RetryAfter}
	now := wall(r.clock)
	r.hold = hold{sid: s.SID, until: f.retryAt(now, s.life, r.random()), err: err}
	r.hold.prompt = !r.hold.until.After(now)
	r.tell(Failed, Event{Reason: s.Note.Cause, Outcome: known.Outcome, Err: err, Expiry: s.life.expiry, Next: r.hold.until})
	return err
}

// rejected marks the session as over, unless somebody else has already renewed it.
func (r *refresher) rejected(s *snapshot, err error) error {
	if failed := r.step(context.WithoutCancel(r.ctx), r.session.condemn); failed != nil {
		return r.blocked(failed)
	}
	if k := r.session.known.Load(); !k.Over {
		return nil
	}
	r.tell(SessionEnded, Event{Err: err, Outcome: Rejected, Expiry: s.life.expiry})
	err = fmt.Errorf("%w: %w", ErrSignedOut, err)
	r.board.update(func(st *Status) { st.Err = err })
	if r.mayLogin() {
		r.hold = hold{sid: s.SID, until: wall(r.clock), err: err, prompt: !wall(r.clock).Before(r.loginAt)}
	}
	return err
}

// blocked is an attempt that ended before anything was sent, for the store's sake.
func (r *refresher) blocked(err error) error {
	if r.ctx.Err() != nil {
		return ErrClosed
	}
	r.failures++
	s, until := r.session.known.Load(), wall(r.clock).Add(backoff(r.failures, r.random()))
	r.hold = hold{sid: s.SID, until: until, err: err}
	r.tell(Failed, Event{Outcome: NotSent, Err: err, Expiry: s.life.expiry, Next: until})
	return err
}

// login calls Config.Login under the lease, at most once per check interval.
func (r *refresher) login(held *right) error {
	if !r.mayLogin() {
		return r.session.known.Load().err
	}
	sent := wall(r.clock)
	r.loginAt = sent.Add(r.sched.interval)
	t, err := r.exchange(held, loginPatience, r.cfg.Login)
	if err == nil && t.AccessToken == "" {
		err = errors.New("evertoken: Login: its token has no AccessToken")
	}
	if err == nil {
		t, err = t.normalize(sent)
	}
	if err != nil {
		return r.loginFailed(err)
	}
	n := newSnapshot(firstRecord(t), wall(r.clock).Sub(sent))
	old := r.session.known.Load()
	err = r.step(context.WithoutCancel(r.ctx), func(ctx context.Context) error { return r.session.begin(ctx, n) })
	if err != nil && r.session.known.Load() != n {
		return r.blocked(err)
	}
	return r.succeeded(&snapshot{life: life{}, record: record{SID: old.SID}}, n, SessionStarted)
}

// loginFailed waits as after any failure, and longer after a verdict: a few
// wrong passwords lock an account.
func (r *refresher) loginFailed(err error) error {
	if errors.Is(err, ErrClosed) {
		return ErrClosed
	}
	now := wall(r.clock)
	var known *RefreshError
	r.failures++
	wait := backoff(r.failures, r.random())
	if errors.As(err, &known) {
		switch {
		case known.Outcome == Rejected || known.Outcome == Misconfigured:
			r.pause = min(max(2*r.pause, verdictPause), longestPause)
			wait = r.pause
		case known.RetryAfter > 0:
			wait = min(known.RetryAfter, longestPause)
		}
	} else {
		err = &RefreshError{Outcome: Unavailable, Err: fmt.Errorf("Login: %w", err)}
	}
	r.loginAt = latest(r.loginAt, now.Add(wait))
	r.hold = hold{sid: r.session.known.Load().SID, until: r.loginAt, err: err}
	e := Event{Reason: causeSignIn, Err: err, Next: r.loginAt}
	if errors.As(err, &known) {
		e.Outcome = known.Outcome
	}
	r.tell(Failed, e)
	return err
}

// finish leaves nothing behind: a pair that is not saved gets one more try.
func (r *refresher) finish() {
	if !r.session.settled() {
		r.err = r.step(context.WithoutCancel(r.ctx), r.session.write)
	}
	r.held.release()
	r.held = nil
}

func (r *refresher) tell(k Kind, e Event) {
	e.Kind = k
	r.board.tell(e)
}

// describe brings the status up to what the loop knows.
func (r *refresher) describe() {
	k, now := r.session.known.Load(), wall(r.clock)
	settled := r.session.settled()
	r.board.update(func(s *Status) {
		s.Failures, s.PersistPending = r.failures, !settled
		s.Expiry, s.Reason, s.LastRefresh = k.life.expiry, k.Cause, k.life.issued
		if r.hold.err != nil && now.Before(r.hold.until) {
			s.Err = r.hold.err
		}
		switch {
		case !k.exists(), k.Over && !k.alive(now):
			s.State = SignedOut
		case r.failures > 0 || s.PersistPending || k.Over || !k.alive(now):
			s.State = Degraded
		default:
			s.State, s.Err = SignedIn, nil
		}
	})
}

func (r *refresher) publishNext(next time.Time) {
	r.board.update(func(s *Status) { s.NextCheck = next })
}
