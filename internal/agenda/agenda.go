// Package agenda does many recurring tasks with few goroutines: each at the time
// that it named, or when it is poked. Of what the tasks do, the part that needs
// something scarce is bounded by slots.
//
// What an agenda costs follows from what is due, not from how many entries there
// are: one that waits is a place in a heap.
package agenda

import (
	"container/heap"
	"math"
	"sync"
	"time"

	"github.com/benbjohnson/clock"
)

// A Clock tells the time and makes timers.
type Clock interface {
	Now() time.Time
	Timer(d time.Duration) *clock.Timer
}

// A Task is done over and over, never twice at once: each Do happens after the one
// before, and after what its Poke happened after.
type Task interface {
	// Do does what there is to do, and returns when it is to be called again;
	// zero: not before a poke. due is false if a poke has come before the time
	// that it named last, and true for a slot that it has asked for.
	Do(due bool) (next time.Time)
}

// An Entry is the place of one task. Its fields are the agenda's, and guarded by
// its mu.
type Entry struct {
	task    Task
	at      time.Duration // when it is due, since the beginning of the agenda
	back    time.Duration // what the task was told of the clock's setting back
	index   int32         // in the plan
	rank    rank
	slot    slot
	running bool
	planned bool // it stands in the plan
}

// A rank is what comes first, whatever is due when.
type rank int8

const (
	called rank = iota // for a slot that is kept for it
	poked
	waits // for its time
)

// never is the time of an entry that waits for a poke only.
const never = time.Duration(math.MaxInt64)

// An Agenda runs what is due. Its one goroutine, which sleeps until then, is
// owned by Close; each Do has a goroutine of its own for as long as it takes.
type Agenda struct {
	clock Clock
	looks int           // how many tasks may run without a slot
	wake  chan struct{} // holds one element when there may be something to start
	done  chan struct{}

	mu      sync.Mutex
	plan    plan // the entries that are not running
	active  int  // how many run
	looking int  // how many of those that the agenda has started run without a slot
	began   time.Time
	last    time.Time     // the wall clock, as it was seen last
	back    time.Duration // by how much it has been set back, in all
	slots   slots
	closed  bool
}

// New returns an agenda that is at work. At most looks tasks run at once without
// a slot, and slots with one.
func New(c Clock, looks, slots int) *Agenda {
	now := c.Now().Round(0)
	a := &Agenda{clock: c, looks: looks, wake: make(chan struct{}, 1), done: make(chan struct{}), began: now, last: now}
	a.slots.free = slots
	go a.run()
	return a
}

// Open takes up a task. The caller stands in for its first Do, until it calls
// File; meanwhile it may be poked.
func (a *Agenda) Open(e *Entry, t Task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active++
	*e = Entry{task: t, at: never, back: a.back, rank: waits, running: true}
}

// File ends what Open began. next is what Do would return.
func (a *Agenda) File(e *Entry, next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.file(e, next)
}

// Poke has the task done now, or once more if it is being done.
func (a *Agenda) Poke(e *Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.raise(e, poked)
}

// Back is by how much the wall clock was set back since the task has asked last, or
// was taken up.
func (a *Agenda) Back(e *Entry) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now()
	back := a.back - e.back
	e.back = a.back
	return back
}

// Close waits until nothing runs, or is poked, and ends. What is planned for later
// is not done any more.
func (a *Agenda) Close() {
	a.mu.Lock()
	a.closed = true
	a.signal()
	a.mu.Unlock()
	<-a.done
}

func (a *Agenda) run() {
	defer close(a.done)
	for {
		wait, open := a.start()
		if !open {
			return
		}
		a.sleep(wait)
	}
}

// sleep returns after d, or earlier when woken.
func (a *Agenda) sleep(d time.Duration) {
	var fired <-chan time.Time
	if d < never {
		timer := a.clock.Timer(d)
		defer timer.Stop()
		fired = timer.C
	}
	select {
	case <-fired:
	case <-a.wake:
	}
}

// start starts what is due, as far as it may run, and returns how long nothing
// else will be. It is false after Close.
func (a *Agenda) start() (wait time.Duration, open bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	for e := a.next(now); e != nil; e = a.next(now) {
		heap.Pop(&a.plan)
		due := e.at <= now || e.slot == kept
		e.rank, e.running = waits, true
		if e.slot == kept {
			e.slot = taken
		} else {
			a.looking++
		}
		a.active++
		go a.do(e, due)
	}
	wait = never
	if len(a.plan) > 0 && a.plan[0].rank == waits && a.plan[0].at > now {
		wait = a.plan[0].at - now
	}
	return wait, a.active > 0 || !a.closed
}

// next is the entry to start now; nil if nothing is due, or may run.
func (a *Agenda) next(now time.Duration) *Entry {
	if len(a.plan) == 0 {
		return nil
	}
	e := a.plan[0]
	if e.rank == waits && (e.at > now || a.closed) || e.slot != kept && a.looking >= a.looks {
		return nil
	}
	return e
}

func (a *Agenda) do(e *Entry, due bool) {
	next := e.task.Do(due)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leave(e)
	a.looking--
	a.file(e, next)
}

// now is how long the agenda has been at work, by the wall clock: a machine that
// slept has to catch up. Time by which the clock was set back counts twice, so
// that what waits comes no later for that.
func (a *Agenda) now() time.Duration {
	now := a.clock.Now().Round(0)
	if d := a.last.Sub(now); d > 0 {
		a.back += d
	}
	a.last = now
	return now.Sub(a.began) + a.back
}

// file puts an entry that has run back into the plan.
func (a *Agenda) file(e *Entry, next time.Time) {
	a.active--
	a.signal()
	e.running, e.at = false, never
	if a.now(); !next.IsZero() {
		e.at = next.Sub(a.began) + a.back
	}
	if e.at < never || e.rank < waits {
		a.put(e)
	}
}

// raise gives an entry a rank, unless it has a better one. If it is running,
// file puts it in its place.
func (a *Agenda) raise(e *Entry, r rank) {
	if e.rank <= r {
		return
	}
	e.rank = r
	switch {
	case e.planned:
		heap.Fix(&a.plan, int(e.index))
		a.signal()
	case !e.running:
		a.put(e)
	}
}

func (a *Agenda) put(e *Entry) {
	heap.Push(&a.plan, e)
	if e.index == 0 {
		a.signal()
	}
}

func (a *Agenda) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// A plan is a heap of entries.
type plan []*Entry

func (p plan) Len() int { return len(p) }

func (p plan) Less(i, j int) bool {
	if p[i].rank != p[j].rank {
		return p[i].rank < p[j].rank
	}
	return p[i].at < p[j].at
}

func (p plan) Swap(i, j int) {
	p[i], p[j] = p[j], p[i]
	p[i].index, p[j].index = int32(i), int32(j)
}

// Push implements heap.Interface.
func (p *plan) Push(x any) {
	e := x.(*Entry)
	e.index, e.planned = int32(len(*p)), true
	*p = append(*p, e)
}

// Pop implements heap.Interface.
func (p *plan) Pop() any {
	last := len(*p) - 1
	e := (*p)[last]
	e.planned = false
	(*p)[last] = nil
	*p = (*p)[:last]
	return e
}
