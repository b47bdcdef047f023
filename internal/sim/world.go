package sim

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken"
)

const sessionKey = "shared"

// A scenario is what a seed decides about a world before it begins.
type scenario struct {
	seed       uint64
	processes  int
	lifetime   time.Duration // of access tokens
	interval   time.Duration
	window     time.Duration
	fraction   float64
	door       string
	rotate     bool
	detect     bool // the issuer ends sessions whose spent tokens come back
	older      bool // generation of the LightNap door
	grace      time.Duration
	graceKnown bool
	kind       storeKind
	login      bool            // processes sign in by themselves
	skews      []time.Duration // of the processes' clocks
	length     time.Duration   // of the time with faults
	requests   float64         // of programs, per lifetime of a token
	rates      map[fault]float64
}

// newScenario draws one. Its length is such that each world costs about the same.
func newScenario(seed uint64) scenario {
	d := newDice(seed, "scenario")
	s := scenario{
		seed:      seed,
		processes: pick(d, 1, 1, 2, 2, 2, 3, 3, 4, 5, 8),
		lifetime:  pick(d, 5*time.Minute, 10*time.Minute, 20*time.Minute, 2*time.Minute, time.Hour, time.Hour, 2*time.Hour, 2*time.Hour, 8*time.Hour, 24*time.Hour),
		interval:  pick(d, 30*time.Second, time.Minute, time.Minute, time.Minute, 2*time.Minute),
		window:    5 * time.Minute,
		fraction:  pick(d, 0, 0, 0.25),
		door:      pick(d, lightnapDoor, oauthDoor),
		rotate:    d.chance(0.95),
		detect:    d.chance(0.8),
		grace:     pick(d, 0, 0, 10*time.Second, 30*time.Second, time.Minute),
		kind:      pick(d, leases, leases, leases, locks),
		login:     d.chance(0.2),
		requests:  4,
		rates:     rates(d),
	}
	s.older = s.door == lightnapDoor && s.rotate && d.chance(0.3)
	s.graceKnown = s.grace > 0 && d.chance(0.5)
	if s.processes == 1 && d.chance(0.5) {
		s.kind = plain
	}
	skew := pick(d, 0, 5*time.Second, 5*time.Minute)
	if d.chance(0.5) { // with good clocks all around much more can be told for certain
		skew = 0
		delete(s.rates, hostClock)
		delete(s.rates, issuerClock)
	}
	for range s.processes {
		s.skews = append(s.skews, time.Duration((2*d.float()-1)*float64(skew)))
	}
	if s.kind == locks { // all on one machine
		for i := range s.skews {
			s.skews[i] = s.skews[0]
		}
		delete(s.rates, suspend)
		delete(s.rates, hostClock)
	}
	if d.chance(0.7) { // else looks that find nothing to do fill whole worlds
		s.interval = max(s.interval, s.lifetime/100)
	}
	const looks, renewals = 4_000, 300
	s.length = min(looks*s.interval/time.Duration(s.processes), renewals*s.lifetime)
	return s
}

// busy is the same world for a comparison: people stay signed in, tokens live long
// and programs are busy, so that who renews on demand does so about as often as who
// renews ahead.
func (s scenario) busy() scenario {
	s.rates = maps.Clone(s.rates)
	for _, f := range []fault{signIn, signOut, asked, revocation} {
		delete(s.rates, f)
	}
	s.lifetime, s.requests = max(s.lifetime, time.Hour), 20
	s.length = 20_000 * s.interval / time.Duration(s.processes)
	return s
}

// networkOnly is the same world with good machines and a good store: what is lost
// there, the network and the issuer have cost.
func (s scenario) networkOnly() scenario {
	rates := make(map[fault]float64)
	for _, f := range append(ways(), outage, brownout) {
		rates[f] = s.rates[f]
	}
	s.rates = rates
	return s
}

func (s scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d processes, %s door, tokens of %v, checks every %v, window %v (%.2f), rotate %t, detect %t, older %t, grace %v (known %t), store with %s, login %t, clocks %v, %v long\n",
		s.processes, s.door, s.lifetime, s.interval, s.window, s.fraction, s.rotate, s.detect, s.older, s.grace, s.graceKnown, s.kind, s.login, s.skews, s.length)
	for _, faults := range [][]fault{ways(), storeFaults(), events()} {
		for _, f := range faults {
			if s.rates[f] > 0 {
				fmt.Fprintf(&b, "  %-40s %.4f\n", f, s.rates[f])
			}
		}
	}
	return b.String()
}

// skewed says that clocks disagree.
func (s scenario) skewed() bool {
	for _, o := range s.skews {
		if o != 0 {
			return true
		}
	}
	return s.rates[hostClock] > 0 || s.rates[issuerClock] > 0
}

// A world is one run of a scenario. It has to be made and run in a bubble.
type world struct {
	scenario
	rival  *policy // what the processes run; nil: evertoken
	ctx    context.Context
	trace  *trace
	check  *checker
	dice   *dice
	person *dice // when somebody notices that they are signed out
	store  *store
	issuer *issuer

	missed  atomic.Bool   // somebody is about to sign in again
	calm    atomic.Bool   // there are no faults any more
	stopped chan struct{} // closed when processes are not started again
	over    chan struct{} // closed when nothing is waited for any more
	keepers sync.WaitGroup
	errands sync.WaitGroup

	mu      sync.Mutex
	slots   []*process // those that run; nil: there is none just now
	hosts   []*host    // of these, or of those that are about to run; nil: there was none yet
	weather map[fault]spell
	faults  tally
}

// A spell is a fault of the weather: until when, and how it shows.
type spell struct {
	until time.Time
	kind  fault
}

func newWorld(ctx context.Context, s scenario, rival *policy, echo func(string)) (*world, error) {
	w := &world{
		scenario: s, rival: rival, ctx: ctx, trace: newTrace(echo), dice: newDice(s.seed, "world"), person: newDice(s.seed, "person"),
		stopped: make(chan struct{}), over: make(chan struct{}),
		slots: make([]*process, s.processes), hosts: make([]*host, s.processes), weather: make(map[fault]spell), faults: make(tally),
	}
	w.check = newChecker(w)
	w.store = newStore(w, s.kind)
	var err error
	w.issuer, err = newIssuer(w)
	return w, err
}

// strikes says whether a fault befalls what is about to happen, and counts it.
func (w *world) strikes(d *dice, f fault, who string, weight float64) bool {
	hit := d.chance(w.rates[f] * weight)
	if !hit || w.calm.Load() {
		return false
	}
	w.count(f)
	w.check.disturbed(time.Now())
	if f != kill && f != frozen && f != suspend {
		w.trace.add(who, "-- %s", f)
	}
	return true
}

func (w *world) count(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[string(f)]++
}

// fate decides what befalls a connection of p.
func (w *world) fate(p *process, d *dice) *link {
	l := &link{p: p, dice: d, delay: d.between(time.Millisecond, 300*time.Millisecond)}
	if f := w.spell(outage); f != "" {
		l.fate = f
		return l
	}
	if w.spell(brownout) != "" {
		l.delay = d.between(3*time.Second, 15*time.Second)
	}
	for _, f := range ways() {
		if !w.strikes(d, f, p.slot, 1) {
			continue
		}
		l.fate = f
		if f == slow {
			l.delay = slow.lasts(d)
		}
		break
	}
	return l
}

func (w *world) spell(f fault) fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.weather[f]; time.Now().Before(s.until) && !w.calm.Load() {
		return s.kind
	}
	return ""
}

// process returns the one that runs in a slot, or nil if there is none or it is
// about to end.
func (w *world) process(slot int) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.slots[slot]; p != nil && !p.stopping {
		return p
	}
	return nil
}

// close asks a process to end by itself.
func (w *world) close(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.stopping {
		p.stopping = true
		close(p.stop)
	}
}

// power notes the host of a process that is about to run.
func (w *world) power(slot int, h *host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[slot] = h
}

func (w *world) occupy(slot int, p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slots[slot] = p
}

// keep owns the processes of one slot, one after the other: it starts each,
// waits for its end, and ends it.
func (w *world) keep(slot int) {
	d := newDice(w.seed, fmt.Sprintf("keeper %d", slot))
	down := d.between(time.Millisecond, time.Second)
	for life := 1; w.rest(down); life++ {
		down = d.between(100*time.Millisecond, 10*time.Minute)
		if w.calm.Load() {
			down = d.between(100*time.Millisecond, time.Second)
		}
		p, err := w.start(slot, life)
		if err != nil {
			w.trace.add(fmt.Sprintf("p%d", slot+1), "cannot start: %v", err)
			w.check.leak("error of New", err.Error())
			continue
		}
		w.trace.add(p.slot, "starts, life %d", life)
		w.check.disturbed(time.Now())
		w.occupy(slot, p)
		select {
		case <-p.dead:
		case <-p.stop:
		case <-w.stopped:
		}
		w.end(p)
		w.occupy(slot, nil)
	}
}

// rest waits between two lives; false if there is to be none.
func (w *world) rest(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.stopped:
		return false
	}
}

// end closes a process's client and checks that nothing is left of it.
func (w *world) end(p *process) {
	err := p.client.Close()
	if !p.isDead() {
		p.closed.Store(true)
		w.trace.tell(p.slot, "is closed: %v", err)
		w.check.closed(p, err)
	}
	p.die()
	w.store.left(p)
}

// run is the whole history: faults, then calm, then the end.
func (w *world) run() {
	w.trace.add("world", "%s", w.scenario)
	for i := range w.slots {
		w.keepers.Go(func() { w.keep(i) })
	}
	w.errand(func() { w.signIn(0) })
	w.storm()
	w.settle()
	close(w.stopped)
	w.keepers.Wait()
	close(w.over)
	w.errands.Wait()
	w.issuer.close()
	<-time.After(time.Second) // for goroutines of dead processes, which have nothing left to do
}

// errand runs what may take its time while the world goes on.
func (w *world) errand(f func()) { w.errands.Go(f) }

// storm lets things happen until the time is up or something is found wrong.
func (w *world) storm() {
	end := time.Now().Add(w.length)
	next := make(map[fault]time.Time)
	for _, f := range append(events(), apiRequest) {
		next[f] = w.nextOf(f)
	}
	for {
		first := end
		var what fault
		for _, f := range append(events(), apiRequest) {
			if at := next[f]; !at.IsZero() && at.Before(first) {
				first, what = at, f
			}
		}
		select {
		case <-time.After(time.Until(first)):
		case <-w.check.found:
			return
		}
		if what == "" {
			return
		}
		next[what] = w.nextOf(what)
		w.happen(what)
	}
}

// apiRequest is not a fault, but it happens like one.
const apiRequest fault = "request"

func (w *world) nextOf(f fault) time.Time {
	rate := w.rates[f]
	if f == apiRequest {
		rate = w.requests
	}
	if rate == 0 {
		return time.Time{}
	}
	return time.Now().Add(w.dice.after(time.Duration(float64(w.lifetime) / max(rate, 1e-3))))
}

// happen sets one event off. Nothing here waits: clients are called in errands,
// for the process may be frozen.
func (w *world) happen(f fault) {
	slot := w.dice.below(w.processes)
	p := w.process(slot)
	if f != apiRequest {
		w.count(f)
		w.check.disturbed(time.Now())
	}
	switch f {
	case outage, brownout:
		kind := pick(w.dice, refused, noName, resetBefore, html503, html403, stall, deadPath)
		w.begin(f, kind, f.lasts(w.dice))
	case storeDown, storeFull:
		d := f.lasts(w.dice)
		w.trace.add("world", "-- %s for %v", f, d.Round(time.Second))
		w.check.disturbed(time.Now().Add(d))
		w.store.fail(f, d)
	case cutOff:
		d := f.lasts(w.dice)
		w.trace.add(fmt.Sprintf("p%d", slot+1), "-- %s for %v", f, d.Round(time.Second))
		w.check.disturbed(time.Now().Add(d))
		w.store.sever(fmt.Sprintf("p%d", slot+1), d)
	case rollback:
		w.trace.add("world", "-- %s: %t", f, w.store.rollBack())
	case issuerClock:
		offset := w.clockError()
		w.trace.add("world", "-- %s to %v", f, offset.Round(time.Second))
		w.issuer.setClock(offset)
	case revocation:
		w.trace.add("world", "-- %s", f)
		w.issuer.revokeAll()
	case keyChange:
		w.trace.add("world", "-- %s", f)
		w.issuer.expireAccess()
	case signIn:
		w.errand(func() { w.signIn(slot) })
	default:
		if p != nil {
			w.befall(f, p)
		}
	}
}

// befall lets an event happen to one process.
func (w *world) befall(f fault, p *process) {
	switch f {
	case hostClock:
		offset := w.clockError()
		w.trace.add(p.slot, "-- %s to %v", f, offset.Round(time.Second))
		p.set(offset)
	case kill:
		w.trace.add(p.slot, "is killed")
		p.die()
	case frozen, suspend:
		p.stall(w.dice, f, "at rest")
	case closing:
		w.trace.add(p.slot, "is to close")
		w.close(p)
	case signOut:
		w.errand(func() { w.signOut(p) })
	case asked:
		w.errand(func() { w.refresh(p) })
	case apiRequest:
		url := baseURL + pick(w.dice, "/api/users/me/profile", "/api/users/me/profile", "/elsewhere")
		w.errand(func() { w.request(p, url) })
	default:
		w.check.violate("%s befalls no process", f)
	}
}

// meanwhile lets somebody do something while a process waits for an answer, which
// would hardly ever happen by chance.
func (w *world) meanwhile(p *process, d *dice) {
	for _, f := range []fault{closing, signOut, signIn} {
		if !w.strikes(d, f, p.slot, 0.5) {
			continue
		}
		wait := d.between(time.Millisecond, 10*time.Second)
		w.errand(func() {
			if !w.rest(wait) {
				return
			}
			switch f {
			case closing:
				w.close(p)
			case signOut:
				w.signOut(p)
			default:
				w.signIn(w.slotOf(p))
			}
		})
	}
}

func (w *world) slotOf(p *process) int {
	for i := range w.slots {
		if fmt.Sprintf("p%d", i+1) == p.slot {
			return i
		}
	}
	return 0
}

func (w *world) clockError() time.Duration {
	if w.dice.chance(0.3) {
		return 0
	}
	d := w.dice.between(time.Second, time.Hour)
	if w.dice.chance(0.5) {
		return -d
	}
	return d
}

func (w *world) begin(f, kind fault, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace.add("world", "-- %s for %v: %s", f, d.Round(time.Second), kind)
	w.weather[f] = spell{time.Now().Add(d), kind}
	w.check.disturbed(time.Now().Add(d))
}

// signIn is a person who signs in, at whatever process there is, and tries again
// until it works.
func (w *world) signIn(slot int) {
	for range 100 {
		if p := w.process(slot); p != nil && !p.isFrozen() {
			if w.signInAt(p) {
				return
			}
		}
		if !w.rest(time.Second) {
			return
		}
	}
}

// miss is what a person does who finds the program signed out: after a while
// they sign in again.
func (w *world) miss(p *process, err error) {
	if !w.check.signedOut(err) || w.calm.Load() || !w.missed.CompareAndSwap(false, true) {
		return
	}
	defer w.missed.Store(false)
	if w.rest(w.person.between(time.Second, time.Hour)) && !w.calm.Load() {
		w.signIn(w.slotOf(p))
	}
}

func (w *world) signInAt(p *process) bool {
	t, err := w.issuer.signIn(time.Now())
	if err != nil {
		w.check.violate("the issuer refuses to sign in: %v", err)
		return true
	}
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	w.check.signingIn(p)
	p.visit(+1)
	defer p.visit(-1)
	err = p.client.SignIn(ctx, t)
	w.trace.tell(p.slot, "SignIn: %v", err)
	w.check.leak("error of SignIn", fmt.Sprint(err))
	return err == nil
}

func (w *world) signOut(p *process) {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	w.check.signingOut(p)
	p.visit(+1)
	defer p.visit(-1)
	err := p.client.SignOut(ctx)
	w.trace.tell(p.slot, "SignOut: %v", err)
	w.check.leak("error of SignOut", fmt.Sprint(err))
}

func (w *world) refresh(p *process) {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	err := p.client.Refresh(ctx)
	w.trace.tell(p.slot, "Refresh: %v", err)
	w.check.leak("error of Refresh", fmt.Sprint(err))
	w.check.leak("status", fmt.Sprintf("%+v", p.client.Status()))
}

func (w *world) request(p *process, url string) {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	since := time.Now()
	status, err := p.get(ctx, url)
	w.check.served(p, since, status, err)
	w.check.leak("error of a request", fmt.Sprint(err))
	if err != nil && !p.isDead() {
		w.trace.tell(p.slot, "request: %v", err)
		w.miss(p, err)
	} else if status >= 400 {
		w.trace.tell(p.slot, "request: status %d", status)
	}
}

// settle ends all faults and gives everybody the time that the longest wait of
// the design may take. Then all have to agree, and go on agreeing.
func (w *world) settle() {
	if w.check.failed() || w.rival != nil {
		return
	}
	w.calm.Store(true)
	w.trace.add("world", "calm")
	w.store.heal()
	w.issuer.setClock(0)
	w.mu.Lock()
	for i, h := range w.hosts {
		if h != nil {
			h.thaw()
			h.set(w.skews[i])
		}
	}
	w.mu.Unlock()
	if !w.pass(max(65*time.Minute, w.lifetime) + 3*w.window + 4*w.interval) {
		return
	}
	w.check.converged("after the faults")
	if p := w.process(w.dice.below(w.processes)); p != nil {
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		if err := p.client.Refresh(ctx); err != nil && !w.check.signedOut(err) {
			w.check.violate("%s: Refresh fails in calm: %v", p.slot, err)
		}
	}
	if w.pass(2*w.interval + time.Second) {
		w.check.converged("two checks after a renewal")
	}
}

// pass lets time go by; false if something is found wrong meanwhile.
func (w *world) pass(d time.Duration) bool {
	select {
	case <-time.After(d):
		return !w.check.failed()
	case <-w.check.found:
		return false
	}
}

// view of a client that the checker compares.
func (p *process) token(ctx context.Context) (evertoken.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return p.client.Token(ctx)
}
