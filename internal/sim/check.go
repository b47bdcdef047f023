package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/evertoken/evertoken"
)

// A checker knows every token of the issuer, is told of each step by the far
// ends, and finds what must not be. It never asks the clients, but at the end.
type checker struct {
	w      *world
	found  chan struct{} // closed by the first violation
	secret *regexp.Regexp

	mu         sync.Mutex
	violations []string
	families   []*family
	tokens     map[string]*token
	accesses   map[string]*access
	open       map[*attempt]struct{}
	trouble    time.Time // when the last fault is over
	session    string    // the sid of what is stored; empty: nothing, or it is over
	since      time.Time // when that became so
	kept       *access   // of what is stored; nil: nothing
	rolled     time.Time // when the store was rolled back last
	refusing   time.Time // since when the issuer refuses access tokens that seem good

	renewals     int
	requests     int
	unserved     int // requests that got no token
	calmRequests int // of those, the ones that nothing could excuse
	overlaps     int
	lost         tally
	ends         tally // of sessions that somebody wanted to end
}

func newChecker(w *world) *checker {
	return &checker{
		w: w, found: make(chan struct{}),
		secret:   regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-|eyJ`), // as the issuer's tokens look
		tokens:   make(map[string]*token),
		accesses: make(map[string]*access),
		open:     make(map[*attempt]struct{}),
		lost:     make(tally), ends: make(tally),
	}
}

// violate notes what must not be.
func (c *checker) violate(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.violateLocked(format, args...)
}

func (c *checker) violateLocked(format string, args ...any) {
	if c.w.rival != nil {
		return // peers have made no promises
	}
	v := fmt.Sprintf(format, args...)
	c.w.trace.add("CHECK", "VIOLATION: %s", v)
	if len(c.violations) == 0 {
		close(c.found)
	}
	c.violations = append(c.violations, v)
}

func (c *checker) failed() bool {
	select {
	case <-c.found:
		return true
	default:
		return false
	}
}

// leak looks for secrets in what people get to see.
func (c *checker) leak(where, text string) {
	if c.secret.MatchString(text) {
		c.violate("a secret in the %s: %s", where, c.secret.ReplaceAllString(text, "[HERE]"))
	}
}

// begun is told of each sign-in at the issuer.
func (c *checker) begun(t evertoken.Token, called time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &family{n: len(c.families) + 1}
	c.families = append(c.families, f)
	first := &token{family: f, n: 1, born: called}
	c.tokens[t.RefreshToken] = first
	c.accesses[t.AccessToken] = c.access(t.AccessToken, first, time.Now())
}

// access is for a new access token. Those of one second may have the same bytes.
func (c *checker) access(jwt string, refresh *token, now time.Time) *access {
	_, again := c.accesses[jwt]
	refresh.twin = again
	return &access{refresh: refresh, ends: now.Add(c.w.lifetime), shared: again}
}

// sent is told of each request that has reached the issuer's side of the wire.
func (c *checker) sent(l *link, secret string, renewal bool) *attempt {
	holder := c.w.store.holder()
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &attempt{link: l, p: l.p, token: c.tokens[secret], renewal: renewal, at: time.Now(), asleep: l.p.asleep()}
	l.attempt = a
	if l.hungUp { // while the request was on its way
		a.ended, a.gaveUp, a.unproven = a.at, true, true
	}
	if a.token == nil {
		c.violateLocked("%s sends a refresh token that the issuer never gave", l.p.slot)
		a.token = &token{family: &family{}}
	}
	if !renewal {
		c.w.trace.add(l.p.slot, "revokes %v", a.token)
		return a
	}
	c.w.trace.add(l.p.slot, "sends %v %s", a.token, l.fate)
	c.checkNote(a, secret)
	c.checkSpent(a)
	c.checkRight(a)
	c.checkOverlap(a, holder)
	c.checkSilence(a)
	c.checkRate(a)
	c.checkEarly(a)
	a.token.sends = append(a.token.sends, a)
	if a.ended.IsZero() {
		c.open[a] = struct{}{}
	}
	return a
}

// checkNote: no note, no sending, and one note for each. A store without leases
// serves one process, and a kernel's lock outlives a full disk: at the token's
// end these two may send without.
func (c *checker) checkNote(a *attempt, secret string) {
	p := a.p
	if p.note == digest(secret) {
		a.noted, p.note = p.notedAt, ""
		return
	}
	a.noted, a.unannounced = a.link.began, true
	if c.w.kind == leases {
		c.violateLocked("%s sends %v without a note in the store", p.slot, a.token)
	}
}

// checkSpent: a token whose successor was stored before the note was is not sent.
func (c *checker) checkSpent(a *attempt) {
	saved := a.token.successorSaved()
	if saved.IsZero() || !saved.Before(a.noted) || c.rolled.After(saved) || a.link.slept {
		return
	}
	c.violateLocked("%s sends %v again, although a token that came of it was stored %v ago", a.p.slot, a.token, time.Since(saved))
}

// checkRight: where there are leases, nobody sends after theirs has lapsed.
func (c *checker) checkRight(a *attempt) {
	late := a.at.Sub(a.p.mayUntil)
	if c.w.kind != leases || late < 0 || a.link.slept {
		return // who froze in the act of sending could not know
	}
	if c.w.rates[hostClock] > 0 && c.w.rates[suspend] > 0 {
		return // nor who has two clocks that are both wrong
	}
	c.violateLocked("%s sends %v; its lease has lapsed %v ago", a.p.slot, a.token, late)
}

// checkOverlap: while one exchange of a session is under way nobody begins
// another, unless the first one's lease is gone.
func (c *checker) checkOverlap(a *attempt, holder *process) {
	for b := range c.open {
		if b.token.family != a.token.family {
			continue
		}
		if !a.link.slept && (b.p == a.p || b.p == holder) { // who froze in the act of sending could not know
			c.violateLocked("%s sends %v while %s has the right to and waits for an answer", a.p.slot, a.token, b.p.slot)
		}
		c.overlaps++
	}
}

// checkSilence: a token that was sent and answered by silence is not sent again
// by the same process before the access token is about to end; and one that was
// answered by a closed connection only once. Where servers refuse the access token
// nobody waits for its end: two minutes are enough.
func (c *checker) checkSilence(a *attempt) {
	const enough = 2 * time.Minute
	t, refused := a.token, c.refusing.After(a.token.born)
	left := t.born.Add(c.w.lifetime).Sub(a.at)
	if left <= 35*time.Second+t.trip || c.w.skewed() || !t.whole || !c.w.rotate {
		return // without rotation sending again costs nothing
	}
	unproven := 0
	for _, b := range t.sends {
		if b.p != a.p && c.rolled.After(b.noted) {
			continue // its note is gone
		}
		if b.gaveUp && b.p == a.p && !(refused && a.at.Sub(b.ended) >= enough) {
			c.violateLocked("%s sends %v again after silence, although the access token lives for another %v", a.p.slot, t, left)
		}
		if b.unproven {
			unproven++
		}
		if (b.unproven || b.killed) && (b.gaveUp || !b.settled) && b.p != a.p && b.noted.Before(a.noted) && !a.link.slept && c.w.grace == 0 && !refused {
			c.violateLocked("%s sends %v, although %s has left an attempt open and the access token lives for another %v", a.p.slot, t, b.p.name, left)
		}
	}
	if unproven > 1 && !c.w.graceKnown && !refused {
		c.violateLocked("%s sends %v for the third time without knowing what became of it, although the access token lives for another %v", a.p.slot, t, left)
	}
}

// checkRate: nobody hammers the issuer. What is allowed is one renewal a check,
// the backoff of an issuer that is always busy, and some for what people ask. For
// tokens that live for minutes the backoff is shorter, but not for one that ended
// more than an hour ago. Who is started again knows nothing of what was before.
func (c *checker) checkRate(a *attempt) {
	recent := append(a.p.sends, a.at)
	for a.at.Sub(recent[0]) > time.Hour {
		recent = recent[1:]
	}
	a.p.sends = recent
	pause := min(time.Minute, c.w.lifetime/8)
	if ended := a.token.born.Add(c.w.lifetime); a.token.whole && a.at.Sub(ended) > time.Hour+10*time.Minute {
		pause = time.Minute
	}
	if most := int(time.Hour/c.w.interval+2*time.Hour/pause) + 80; len(recent) > most {
		c.violateLocked("%s sends %d times an hour", a.p.slot, len(recent))
	}
}

// checkEarly: nothing is renewed before its time, unless somebody asked for it.
func (c *checker) checkEarly(a *attempt) {
	t, w := a.token, c.w
	if w.skewed() || w.rates[keyChange]+w.rates[asked]+w.rates[revocation] > 0 || w.calm.Load() || !t.whole || !w.rotate || t.family.isOver() {
		return
	}
	if t.twin {
		return // who knew the other one takes it for as old as that
	}
	window := w.window
	if w.fraction > 0 {
		window = min(window, time.Duration(w.fraction*float64(w.lifetime)))
	}
	// Who cannot look again before a token's end renews it at half its life.
	window = max(window, min(w.interval+time.Second, w.lifetime/2)) + 5*time.Second + t.trip
	if left := t.born.Add(w.lifetime).Sub(a.at); left > window {
		c.violateLocked("%s renews %v %v before its end", a.p.slot, t, left)
	}
}

// checkPace: however many processes there are, together they renew a session
// about once a check, even one whose tokens are always due.
func (c *checker) checkPace(f *family, now time.Time) {
	for len(f.grants) > 0 && now.Sub(f.grants[0]) > time.Hour {
		f.grants = f.grants[1:]
	}
	f.grants = append(f.grants, now)
	if most := int(time.Hour/c.w.interval)*3/2 + 30; len(f.grants) > most {
		c.violateLocked("session %d is renewed %d times an hour", f.n, len(f.grants))
	}
}

// processed is told what the issuer made of a request.
func (c *checker) processed(a *attempt, refresh, jwt string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, now := a.token, time.Now()
	switch {
	case !a.renewal:
		t.family.end("signed out")
	case jwt == "":
		a.refused = true
		c.w.trace.add("issuer", "refuses %v of %s", t, a.p.slot)
		c.refused(a)
	default:
		a.granted = now
		c.renewals++
		c.checkPace(t.family, now)
		a.got = t
		if n := c.tokens[refresh]; n != nil {
			a.got = n
		} else if refresh != "" {
			n = &token{family: t.family, n: t.n + 1, prev: t, unsure: a.unannounced, born: a.noted, trip: now.Sub(a.noted)}
			c.tokens[refresh], t.next, t.spentBy, a.got = n, n, a, n
		}
		if a.got == t { // it does not rotate: the access token's life begins anew
			t.born, t.trip = a.noted, now.Sub(a.noted)
		}
		c.accesses[jwt] = c.access(jwt, a.got, now)
		c.accesses[jwt].hidden = a.unannounced
		c.w.trace.add("issuer", "gives %v to %s", a.got, a.p.slot)
	}
}

// isOver says that the issuer does not honour it any more.
func (f *family) isOver() bool { return f.ended != "" || f.lost }

func (f *family) end(why string) {
	if !f.isOver() {
		f.ended = why
	}
}

// refused finds out why a session has come to its end.
func (c *checker) refused(a *attempt) {
	f := a.token.family
	if f.lost {
		return
	}
	if f.ended != "" {
		c.ends[f.ended]++
		return
	}
	f.lost = true
	cause := c.cause(a)
	c.lost[cause]++
	c.w.trace.add("issuer", "session %d is lost: %s", f.n, cause)
}

// abandoned is told that a peer throws a session away that the issuer still honours.
func (c *checker) abandoned(secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tokens[secret]; t != nil && !t.family.lost && t.family.ended == "" {
		t.family.lost = true
		c.lost["given up"]++
	}
}

// cause says of what a session died whose spent token came back. All causes but
// the last are accepted: no client can do anything about them, unless it sends again
// so soon that a slow issuer would have processed both.
func (c *checker) cause(a *attempt) string {
	t, x := a.token, a.token.spentBy
	if x == nil {
		c.violateLocked("the issuer refuses %v, which is current", t)
		return "no cause"
	}
	saved := t.successorSaved()
	grace := ""
	if c.w.grace > 0 {
		grace = ", until the grace was over"
	}
	switch {
	case !saved.IsZero() && c.rolled.After(saved):
		return "the store was rolled back"
	case x.arrived.IsZero() && x.gaveUp && x.p.stoodStill(x.noted):
		return "sent when its time was up"
	case a.gaveUp || a.killed:
		return "processed after the longest wait" + grace
	case a.link.slept:
		return "frozen between the guard and the sending"
	case x.arrived.IsZero() && x.killed:
		return "killed with the answer under way"
	case x.arrived.IsZero() && x.link.fate.losesReply():
		return "the answer was lost" + grace
	case x.arrived.IsZero() && x.gaveUp && x.granted.After(x.ended):
		return "processed after the longest wait" + grace
	case x.arrived.IsZero() && x.p.stoodStill(x.granted):
		return "frozen with the answer under way"
	case a.at.Before(x.arrived) && a.p != x.p:
		return "sent twice across a lapsed lease"
	case c.rolled.After(x.noted): // to before all that told of it, and another session has come between
		return "the store was rolled back"
	case a.p == x.p:
		c.violateLocked("%s sends %v although it has the token that came of it", a.p.slot, t)
	case x.p.isDead():
		return "killed with a pair that was not saved"
	case x.p.closed.Load():
		return "closed with a pair that could not be saved"
	case x.p.stoodStill(x.arrived):
		return "frozen with a pair that was not saved"
	case x.p.failedToSave.After(x.arrived):
		return "cut off with a pair that could not be saved"
	default:
		c.violateLocked("%s sends %v, which %s has exchanged %v ago", a.p.slot, t, x.p.slot, a.at.Sub(x.granted))
	}
	return "no cause"
}

// answered, cut, hungUp and died are the ways in which an exchange ends. What
// counts is the first of them.
func (c *checker) answered(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(a)
}

func (c *checker) end(a *attempt) bool {
	delete(c.open, a)
	if !a.ended.IsZero() {
		return false
	}
	a.ended = time.Now()
	return true
}

func (c *checker) cut(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end(a) {
		a.unproven = true
		c.w.trace.add("issuer", "leaves %s without an answer", a.p.slot)
	}
}

// delivered is told when the client has read what there is to read.
func (c *checker) delivered(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.p.isDead() {
		return
	}
	a.arrived = time.Now()
	c.checkBeat(a)
	a.token.family.told = a.token.family.told || a.refused
}

// hungUp is told when a client closes a connection. It has to have waited.
func (c *checker) hungUp(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := l.attempt
	l.hungUp = true
	if a == nil || !c.end(a) {
		return
	}
	a.gaveUp, a.unproven = true, true
	c.w.trace.add(a.p.slot, "gives up on %v", a.token)
	c.checkBeat(a)
	const longest, late, moment = 3*time.Minute + 10*time.Second, 5 * time.Second, 4500 * time.Millisecond
	if a.renewal && a.p.justWoke(moment, a.at.Add(longest+a.p.asleep()-a.asleep), late) && !a.link.slept {
		c.violateLocked("%s gives up on %v as soon as it wakes, without looking what has come", a.p.slot, a.token)
	}
	if a.p.stoodStill(a.noted) {
		return // its time was up before it could send
	}
	if waited, want := time.Since(a.noted), c.patience(a); a.renewal && waited < want {
		c.violateLocked("%s gives up on %v after %v; it has to wait for %v", a.p.slot, a.token, waited, want)
	}
}

// checkBeat: who waits for an answer asks for its lease again, three times in the
// time that it lasts, each of which may take as long as the pause before.
func (c *checker) checkBeat(a *attempt) {
	p := a.p
	if c.w.kind != leases || !a.renewal || p.stoodStill(a.at) {
		return
	}
	if silent := min(time.Since(p.beat), time.Since(a.at)); silent > 2*p.ttl/3+time.Second {
		c.violateLocked("%s has waited for an answer and not asked for its lease for %v", p.slot, silent)
	}
}

// extends is told that a process asks for its lease again.
func (c *checker) extends(l *lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.p.beat, l.p.ttl = time.Now(), l.ttl
}

// patience is how long an attempt must be waited for: until 30 s before the
// access token ends, but no less than a minute and no more than three.
func (c *checker) patience(a *attempt) time.Duration {
	const least, most, slack = time.Minute, 3 * time.Minute, 5 * time.Second
	if c.w.skewed() || !a.token.whole || !c.w.rotate {
		return least - slack
	}
	left := a.token.born.Add(c.w.lifetime - a.token.trip).Sub(a.noted)
	return min(max(left-30*time.Second, least), most) - slack
}

// died is told when a process was killed.
func (c *checker) died(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range c.open {
		if a.p == p && c.end(a) {
			a.killed = true
		}
	}
}

// leased is told from when until when a process has the lease now, and looked that
// it has read the record: both under the store's lock.
func (c *checker) leased(p *process, l *lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.maySince, p.mayUntil = l.since, l.until
}

func (c *checker) looked(p *process, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.met = p.met || found
	p.missing = p.met && !found
	p.seen, p.seenAt = c.session, time.Now()
	c.checkInTime(p)
}

// checkInTime: where nothing has been wrong for long, whoever looks finds a token
// that lives: it is renewed before its end, whether anybody asks for it or not.
func (c *checker) checkInTime(p *process) {
	now := time.Now()
	if c.w.skewed() || c.session == "" || c.kept == nil || c.kept.refresh.family.isOver() || now.Sub(c.trouble) <= c.aftermath() {
		return
	}
	if late := now.Sub(c.kept.ends); late > 0 {
		c.violateLocked("%s finds %v, whose access token ended %v ago, although nothing was wrong for long", p.slot, c.kept.refresh, late)
	}
}

// stored notes what the store holds.
func (c *checker) stored(r stored) {
	sid := r.SID
	c.kept = c.accesses[r.Tokens.Access]
	if r.Over {
		sid = ""
	}
	if sid != c.session {
		c.session, c.since = sid, time.Now()
	}
}

// saved is told of each record that is stored, under the store's lock.
func (c *checker) saved(p *process, before, after []byte) {
	old, r := c.read(before), c.read(after)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored(r)
	p.seen, p.seenAt, p.met, p.missing = c.session, time.Now(), true, false
	if r.before(old) {
		c.violateLocked("%s replaces gen %d att %d by the older gen %d att %d", p.slot, old.Gen, old.Att, r.Gen, r.Att)
	}
	t := c.tokens[r.Tokens.Refresh]
	if t == nil {
		c.violateLocked("%s stores a refresh token that the issuer never gave", p.slot)
		return
	}
	c.checkPlace(p, t, old, r)
	if t.saved.IsZero() {
		t.saved = time.Now()
		t.trip = t.saved.Sub(t.born)
	}
	if a := c.accesses[r.Tokens.Access]; a != nil {
		a.save(old.Note.Owner != p.owner)
		t.whole = t.whole || !t.unsure && a.refresh == t
	}
	note := ""
	if r.Note.Owner != "" {
		p.note, p.notedAt, p.owner = r.Note.Digest, time.Now(), r.Note.Owner
		note = " with a note"
	}
	if r.Note.Owner == "" && old.Note.Owner == p.owner {
		t.settle(p)
	}
	if r.Over && !old.Over && !t.family.told {
		c.violateLocked("%s takes session %d for over; the issuer never said so", p.slot, t.family.n)
	}
	c.w.trace.add(p.slot, "stores %v, gen %d att %d%s%s", t, r.Gen, r.Att, note, map[bool]string{true: ", over"}[r.Over])
}

// checkPlace: a session takes another one's place, or none, when somebody has
// signed in; else it was signed out, and does not come back.
func (c *checker) checkPlace(p *process, t *token, old, r stored) {
	begins := p.signsIn && t.n == 1
	switch {
	case begins, old.SID == r.SID, old.Over:
	case old.SID != "":
		c.violateLocked("%s replaces somebody else's session", p.slot)
	case c.w.kind == leases:
		c.violateLocked("%s brings %v back, which was signed out", p.slot, t)
	}
}

// deleted is told of each record that is deleted, under the store's lock.
func (c *checker) deleted(p *process, data []byte) {
	r := c.read(data)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w.trace.add(p.slot, "deletes the record, gen %d att %d", r.Gen, r.Att)
	c.stored(stored{})
	if !p.signsOut {
		c.violateLocked("%s deletes the record; nobody has signed out there", p.slot)
	}
}

func (c *checker) rolledBack(data []byte) {
	r := c.read(data)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rolled = time.Now()
	c.stored(r)
	c.w.trace.add("store", "is back at gen %d att %d", r.Gen, r.Att)
}

func (c *checker) read(data []byte) (r stored) {
	if len(data) == 0 {
		return r
	}
	if err := json.Unmarshal(data, &r); err != nil {
		c.violate("a record that cannot be read: %v", err)
	}
	return r
}

// failedToSave is told when a store operation of p failed.
func (c *checker) failedToSave(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.failedToSave = time.Now()
}

// closed is told when Close has returned.
func (c *checker) closed(p *process, err error) {
	if err != nil {
		c.leak("error of Close", err.Error())
	}
	if c.w.store.kept(p) {
		c.violate("%s is closed and keeps its lease", p.slot)
	}
	if n := p.connected(); n > 0 && !p.visited() {
		c.violate("%s is closed and has %d connections", p.slot, n)
	}
}

// used is told of each request of a program.
func (c *checker) used(p *process, u *url.URL, jwt string) {
	now := p.bubble()
	c.mu.Lock()
	defer c.mu.Unlock()
	if jwt == "" {
		if u.Host == "localhost" {
			c.violateLocked("%s sends a request without a token", p.slot)
		}
		return
	}
	if u.Host != "localhost" {
		c.violateLocked("%s sends a token to %s", p.slot, u.Host)
	}
	c.requests++
	a, ok := c.accesses[jwt]
	if !ok {
		c.violateLocked("%s uses an access token that the issuer never gave", p.slot)
		return
	}
	if !a.shared {
		c.checkUnsaved(p, a.refresh)
	}
	var tolerance time.Duration
	for _, o := range c.w.skews {
		tolerance = max(tolerance, 2*o.Abs())
	}
	if a.hidden || c.rolled.After(a.saved) {
		return // who adopts it cannot know how old it is
	}
	tolerance += min(a.refresh.trip, time.Second) // the client cannot know when in the exchange it began
	if late := now.Sub(a.ends) - tolerance; late > 0 && c.w.rates[hostClock]+c.w.rates[issuerClock] == 0 {
		c.violateLocked("%s uses an access token %v after its end", p.slot, late)
	}
}

// checkUnsaved: a new token is not used before it is stored, for as long as there
// is the old one.
func (c *checker) checkUnsaved(p *process, t *token) {
	if !t.saved.IsZero() || t.prev == nil || !t.prev.whole || c.w.skewed() || c.w.rates[keyChange] > 0 {
		return
	}
	if left := t.prev.born.Add(c.w.lifetime - t.prev.trip - 5*time.Second).Sub(p.bubble()); left > 0 {
		c.violateLocked("%s uses %v, which is not stored, although the one before lives for another %v", p.slot, t, left)
	}
}

// disturbed is told of each fault, and until when it lasts.
func (c *checker) disturbed(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until.After(c.trouble) {
		c.trouble = until
	}
}

// aftermath is how long what a fault has led to may last, in which a program may
// have to wait: the longest attempt, then a window in which to renew.
func (c *checker) aftermath() time.Duration { return 10*time.Minute + c.w.window + 2*c.w.interval }

// healthy says that there is a session, in the store and at the issuer, and counts.
// One whose token a 401 has brought is left alone, by design, if that is refused too.
func (c *checker) healthy(status int) bool {
	data, _ := c.w.store.record()
	r := c.read(data)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tokens[r.Tokens.Refresh]
	if c.session == "" || t == nil || t.family.isOver() {
		return false
	}
	if status == http.StatusUnauthorized && r.Cause == "401" && c.refusing.After(t.born) {
		return false
	}
	c.calmRequests++
	return true
}

// quiet says that nothing has gone wrong anywhere for so long that there is no
// excuse for a token that is not there.
func (c *checker) quiet(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Sub(c.trouble) > c.aftermath()
}

// served is told how a request of a program went that began at since. Where the
// issuer and the store could be reached for long enough, it does not wait, and
// is not refused.
func (c *checker) served(p *process, since time.Time, status int, err error) {
	now := time.Now()
	if err != nil {
		c.mu.Lock()
		c.unserved++
		c.mu.Unlock()
	}
	if c.signedOut(err) {
		c.checkSignedOut(p, now)
		return
	}
	if !c.quiet(now) || p.isDead() || p.closed.Load() {
		return
	}
	if !c.healthy(status) {
		return
	}
	most := 50 * time.Millisecond // two answers of the API
	if c.w.skewed() || c.w.rates[keyChange] > 0 {
		most = time.Second // a token may be refused that should be good, and replaced
	}
	if waited := now.Sub(since); err != nil || status != http.StatusOK || waited > most {
		c.violate("%s: a request is answered %d, %v after %v, although nothing was wrong for long", p.slot, status, err, waited)
	}
}

// checkSignedOut: a program that has found a session in the store is not told
// that it is signed out while that is there.
func (c *checker) checkSignedOut(p *process, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w.rates[rollback] > 0 {
		return // it may know better than the store
	}
	if p.seen == "" || p.signsOut || p.seen != c.session || now.Sub(p.seenAt) < time.Second || p.stoodStill(p.seenAt) || p.isDead() {
		return
	}
	c.violateLocked("%s is told that it is signed out, although it found a session in the store %v ago", p.slot, now.Sub(p.seenAt))
}

// told is told of events.
func (c *checker) told(p *process, e evertoken.Event, text string) {
	c.leak("event", text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Kind == evertoken.SessionStarted {
		p.leftOut = false
	}
}

// signingIn, signingOut and loggingIn are told what a process is about to do.
func (c *checker) signingIn(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.signsIn, p.leftOut, p.missing = true, false, false
}

func (c *checker) signingOut(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.signsOut, p.leftOut, p.seen = true, true, ""
}

func (c *checker) loggingIn(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w.trace.add(p.slot, "logs in")
	p.signsIn = true
	if p.leftOut || p.missing {
		c.violateLocked("%s logs in behind the back of whoever signed out", p.slot)
	}
	if c.w.kind != plain && c.session != "" && c.since.Before(p.maySince) && !p.stoodStill(p.maySince) {
		c.violateLocked("%s logs in, although there is a session since before it had the right to", p.slot)
	}
}

// revoked is told that the issuer has ended all sessions.
func (c *checker) revoked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.families {
		f.end("revoked")
	}
}

// refusesEarly is told of access tokens that the issuer will refuse although they
// seem good: it has other keys, or its clock was set.
func (c *checker) refusesEarly() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing = time.Now()
}

func (c *checker) signedOut(err error) bool { return errors.Is(err, evertoken.ErrSignedOut) }

// converged checks that all processes have one token, and that it is good: the
// one in the store, or its predecessor if there was no check since.
func (c *checker) converged(when string) {
	for i := range c.w.slots {
		p := c.w.process(i)
		if p == nil {
			c.violate("%s: p%d does not run", when, i+1)
			continue
		}
		t, err := p.token(c.w.ctx)
		data, _ := c.w.store.record() // anew for each: to ask takes time, in which another may renew
		r := c.read(data)
		switch {
		case r.SID == "" || r.Over:
			if !c.signedOut(err) {
				c.violate("%s: %s is signed in without a session: %v", when, p.slot, err)
			}
		case err != nil:
			c.violate("%s: %s has no token: %v", when, p.slot, err)
		case !c.current(t, r):
			c.violate("%s: %s has another token than the store", when, p.slot)
		default:
			if status, err := p.get(c.w.ctx, baseURL+"/api/users/me/profile"); status != http.StatusOK {
				c.violate("%s: %s is refused: %d, %v", when, p.slot, status, err)
			}
		}
	}
}

func (c *checker) current(t evertoken.Token, r stored) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	used, kept := c.accesses[t.AccessToken], c.accesses[r.Tokens.Access]
	if used == nil || kept == nil || used.refresh.family != kept.refresh.family {
		return false
	}
	a, b := used.refresh, kept.refresh
	for ; a != b && a != nil; a = a.next {
		if a.next == nil || a.next.saved.IsZero() || time.Since(a.next.saved) > c.w.interval+5*time.Second {
			return false
		}
	}
	return true
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:8])
}

// losesReply says that the issuer's answer does not arrive whole.
func (f fault) losesReply() bool {
	return f == lostReply || f == stallAfter || f == deadPathAfter || f == truncated || f == gateway
}
