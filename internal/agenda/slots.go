package agenda

import (
	"container/heap"
	"context"
	"time"
)

// A slot is what an entry has of the slots.
type slot int8

const (
	none   slot = iota
	queued      // it has asked
	kept        // one is kept for the next time it runs
	taken       // it runs with one
)

// slots are what of something scarce is left, and who waits for it.
type slots struct {
	free  int
	queue queue
}

// Enter takes a slot for the task that is being done, until that ends or Leave.
// If there is none the task is to end: it will be done again with one that is
// kept for it, in the order of urgency, which is the instant by which it needs it.
func (a *Agenda) Enter(e *Entry, urgency time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case e.slot == taken:
		return true
	case e.slot == kept:
	case a.slots.free > 0 && e.slot == none:
		a.slots.free--
	default:
		if e.slot == none {
			e.slot = queued
			heap.Push(&a.slots.queue, &claim{urgency: urgency, entry: e})
		}
		return false
	}
	e.slot = taken
	a.looking--
	a.signal()
	return true
}

// Leave gives the slot back, if the task has one.
func (a *Agenda) Leave(e *Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leave(e)
}

func (a *Agenda) leave(e *Entry) {
	if e.slot == taken {
		e.slot = none
		a.looking++
		a.pass()
	}
}

// Await takes a slot for somebody who is not a task, and waits for it until ctx
// ends. Release gives it back.
func (a *Agenda) Await(ctx context.Context) error {
	a.mu.Lock()
	if a.slots.free > 0 {
		a.slots.free--
		a.mu.Unlock()
		return nil
	}
	c := &claim{urgency: a.clock.Now(), ready: make(chan struct{})}
	heap.Push(&a.slots.queue, c)
	a.mu.Unlock()
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-c.ready: // it came at the same time
		a.pass()
	default:
		c.gone = true
	}
	return context.Cause(ctx)
}

// Release gives back what Await took.
func (a *Agenda) Release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pass()
}

// pass hands a slot to the most urgent claim.
func (a *Agenda) pass() {
	for len(a.slots.queue) > 0 {
		c := heap.Pop(&a.slots.queue).(*claim)
		switch {
		case c.gone:
			continue
		case c.entry == nil:
			close(c.ready)
		default:
			c.entry.slot = kept
			a.raise(c.entry, called)
		}
		return
	}
	a.slots.free++
}

// A claim is somebody who waits for a slot: an entry, or a caller of Await.
type claim struct {
	urgency time.Time
	entry   *Entry
	ready   chan struct{}
	gone    bool // nobody waits any more
}

// A queue is a heap of claims.
type queue []*claim

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].urgency.Before(q[j].urgency) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(*claim)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return c
}
