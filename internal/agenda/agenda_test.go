package agenda

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// A task does what do says.
type task struct {
	Entry
	desk *desk
	name string
	do   func(t *task, due bool) time.Time
	back time.Duration
}

func (t *task) Do(due bool) time.Time {
	t.back += t.desk.Back(&t.Entry)
	return t.do(t, due)
}

// A desk is an agenda in a bubble, with its clock in hand.
type desk struct {
	*Agenda
	mock *clock.Mock
	mu   sync.Mutex
	log  []string
}

func atDesk(t *testing.T, looks, slots int, f func(*testing.T, *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{mock: clock.NewMock()}
		d.mock.Set(epoch)
		d.Agenda = New(d.mock, looks, slots)
		f(t, d)
		d.Close()
	})
}

func (d *desk) open(name string, next time.Time, do func(t *task, due bool) time.Time) *task {
	t := &task{desk: d, name: name, do: do}
	d.Open(&t.Entry, t)
	d.File(&t.Entry, next)
	return t
}

func (d *desk) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, fmt.Sprintf(format, args...))
}

func (d *desk) pass(by time.Duration) {
	synctest.Wait()
	d.mock.Add(by)
	synctest.Wait()
}

func (d *desk) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := strings.Join(d.log, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	d.log = nil
}

// every is a task that is due again and again.
func (d *desk) every(interval time.Duration) func(t *task, due bool) time.Time {
	return func(t *task, due bool) time.Time {
		now := d.mock.Now()
		d.note("%s %v %t", t.name, now.Sub(epoch), due)
		return now.Add(interval)
	}
}

func TestWhatIsDueIsDone(t *testing.T) {
	atDesk(t, 9, 1, func(t *testing.T, d *desk) {
		d.open("b", epoch.Add(2*time.Second), d.every(5*time.Second))
		a := d.open("a", epoch.Add(time.Second), d.every(3*time.Second))
		d.pass(5 * time.Second)
		d.want(t, "a 1s true, b 2s true, a 4s true")
		d.Poke(&a.Entry)
		d.want(t, "a 5s false")
		d.pass(3 * time.Second)
		d.want(t, "b 7s true, a 8s true")
	})
}

func TestWithoutATimeOnlyAPokeCounts(t *testing.T) {
	atDesk(t, 9, 1, func(t *testing.T, d *desk) {
		a := d.open("a", time.Time{}, func(t *task, due bool) time.Time {
			d.note("%s %t", t.name, due)
			return time.Time{}
		})
		d.pass(time.Hour)
		d.want(t, "")
		d.Poke(&a.Entry)
		d.Poke(&a.Entry)
		d.want(t, "a false")
		d.pass(time.Hour)
		d.want(t, "")
	})
}

// Who is poked while it is at work works once more, and never twice at once.
func TestPokeDuringTheTask(t *testing.T) {
	atDesk(t, 9, 1, func(t *testing.T, d *desk) {
		proceed := make(chan struct{})
		var atWork atomic.Int32
		a := d.open("a", epoch, func(t *task, due bool) time.Time {
			if atWork.Add(1) > 1 {
				d.note("at once")
			}
			<-proceed
			atWork.Add(-1)
			d.note("%s %t", t.name, due)
			return time.Time{}
		})
		synctest.Wait()
		d.Poke(&a.Entry)
		d.Poke(&a.Entry)
		synctest.Wait()
		close(proceed)
		d.want(t, "a true, a false")
	})
}

// Who makes a task stands in for its first Do.
func TestPokeBeforeItIsFiled(t *testing.T) {
	atDesk(t, 9, 1, func(t *testing.T, d *desk) {
		a := &task{desk: d, name: "a", do: d.every(time.Hour)}
		d.Open(&a.Entry, a)
		d.Poke(&a.Entry)
		d.want(t, "")
		d.File(&a.Entry, epoch.Add(time.Minute))
		d.want(t, "a 0s false")
	})
}

// However many are due, only so many run at once, and no entry is touched before
// its time.
func TestBoundOfLooks(t *testing.T) {
	const all, looks, due = 10_000, 3, 50
	atDesk(t, looks, 1, func(t *testing.T, d *desk) {
		var atWork, most, done atomic.Int32
		tick := make(chan struct{})
		for i := range all {
			at := epoch.Add(time.Hour)
			if i%(all/due) == 0 {
				at = epoch.Add(time.Second)
			}
			d.open("", at, func(*task, bool) time.Time {
				most.Store(max(most.Load(), atWork.Add(1)))
				<-tick
				atWork.Add(-1)
				done.Add(1)
				return time.Time{}
			})
		}
		d.pass(time.Second)
		if n := atWork.Load(); n != looks {
			t.Errorf("%d at work, want %d", n, looks)
		}
		close(tick)
		d.pass(time.Minute)
		if done.Load() != due || most.Load() != looks {
			t.Errorf("%d were done, up to %d at once", done.Load(), most.Load())
		}
	})
}

// sender is a task that wants a slot and keeps it until proceed.
func (d *desk) sender(urgency time.Time, proceed <-chan struct{}) func(t *task, due bool) time.Time {
	return func(t *task, due bool) time.Time {
		if !d.Enter(&t.Entry, urgency) {
			d.note("%s waits", t.name)
			return time.Time{}
		}
		d.note("%s sends %t", t.name, due)
		<-proceed
		return time.Time{}
	}
}

// Who finds no slot ends, and is called when one is kept for it; the most urgent
// first. A slot that nobody took is not lost.
func TestSlots(t *testing.T) {
	atDesk(t, 1, 1, func(t *testing.T, d *desk) { // one look is enough: who sends is none
		proceed := make(chan struct{})
		at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
		for i, urgency := range []int{9, 30, 10, 20} {
			a := d.open(string(rune('a'+i)), time.Time{}, d.sender(at(urgency), proceed))
			d.Poke(&a.Entry)
			synctest.Wait()
		}
		d.want(t, "a sends false, b waits, c waits, d waits")
		proceed <- struct{}{}
		d.want(t, "c sends true")
		proceed <- struct{}{}
		d.want(t, "d sends true")
		proceed <- struct{}{}
		d.want(t, "b sends true")
		proceed <- struct{}{}
		synctest.Wait()
		e := d.open("e", epoch, d.sender(at(0), proceed))
		d.want(t, "e sends true")
		close(proceed)
		synctest.Wait()
		d.Poke(&e.Entry)
		d.want(t, "e sends false")
	})
}

// Who waits for a slot goes on with all else, and does not ask twice. A slot that
// came too late for it goes to the next.
func TestLooksWhileWaitingForASlot(t *testing.T) {
	atDesk(t, 1, 1, func(t *testing.T, d *desk) {
		proceed := make(chan struct{})
		d.open("a", epoch, d.sender(epoch, proceed))
		synctest.Wait()
		looks := 0
		b := d.open("b", epoch, func(t *task, _ bool) time.Time {
			looks++
			if looks < 3 && d.Enter(&t.Entry, epoch) {
				d.note("b got in")
			}
			return d.mock.Now().Add(time.Second)
		})
		c := d.open("c", time.Time{}, d.sender(epoch.Add(time.Hour), proceed))
		d.Poke(&c.Entry)
		d.want(t, "a sends true, c waits")
		d.pass(5 * time.Second)
		if looks < 5 || len(d.slots.queue) != 2 {
			t.Errorf("b has looked %d times, %d wait", looks, len(d.slots.queue))
		}
		proceed <- struct{}{}
		d.want(t, "c sends true") // b does not want its slot any more
		close(proceed)
		synctest.Wait()
		if d.slots.free != 1 || b.slot != none {
			t.Errorf("%d slots are free, b has %d", d.slots.free, b.slot)
		}
	})
}

// Leave makes room for the next before the task ends.
func TestLeave(t *testing.T) {
	atDesk(t, 2, 1, func(t *testing.T, d *desk) {
		leave, end := make(chan struct{}), make(chan struct{})
		d.open("a", epoch, func(t *task, _ bool) time.Time {
			d.note("%t %t", d.Enter(&t.Entry, epoch), d.Enter(&t.Entry, epoch))
			<-leave
			d.Leave(&t.Entry)
			d.Leave(&t.Entry)
			<-end
			return time.Time{}
		})
		d.want(t, "true true")
		b := d.open("b", epoch, d.sender(epoch, end))
		d.want(t, "b waits")
		close(leave)
		d.want(t, "b sends true")
		close(end)
		synctest.Wait()
		if d.slots.free != 1 || d.looking != 0 || b.slot != none {
			t.Errorf("%d slots, %d looks", d.slots.free, d.looking)
		}
	})
}

// A caller waits in the same queue, for as long as it likes.
func TestAwait(t *testing.T) {
	atDesk(t, 1, 1, func(t *testing.T, d *desk) {
		proceed := make(chan struct{})
		d.open("a", epoch, d.sender(epoch, proceed))
		d.want(t, "a sends true")
		gone, cancel := context.WithCancelCause(t.Context())
		first, second := make(chan error), make(chan error)
		go func() { first <- d.Await(gone) }()
		go func() { second <- d.Await(t.Context()) }()
		synctest.Wait()
		bored := errors.New("bored")
		cancel(bored)
		if err := <-first; !errors.Is(err, bored) {
			t.Errorf("Await = %v", err)
		}
		close(proceed)
		if err := <-second; err != nil {
			t.Errorf("Await = %v", err)
		}
		synctest.Wait()
		if d.slots.free != 0 {
			t.Errorf("%d free while one is taken", d.slots.free)
		}
		d.Release()
		if err := d.Await(t.Context()); err != nil || d.slots.free != 0 {
			t.Errorf("Await = %v", err)
		}
		d.Release()
	})
}

// What is planned comes no later because the wall clock was set back, and the
// task is told by how much.
func TestClockSetBack(t *testing.T) {
	atDesk(t, 1, 1, func(t *testing.T, d *desk) {
		a := d.open("a", epoch.Add(30*time.Minute), d.every(time.Hour))
		b := d.open("b", epoch.Add(time.Minute), d.every(time.Hour))
		d.mock.Set(epoch.Add(-24 * time.Hour))
		d.Poke(&b.Entry)
		synctest.Wait()
		if want := 24 * time.Hour; b.back != want || a.back != 0 {
			t.Errorf("told %v and %v, want %v", b.back, a.back, want)
		}
		d.log = nil
		d.pass(time.Hour)
		d.want(t, "a -23h30m0s true, b -23h0m0s true")
		if want := 24 * time.Hour; b.back != want || a.back != want {
			t.Errorf("told %v and %v, want %v", b.back, a.back, want)
		}
	})
}

// Close waits for what runs and for what was poked, and does nothing else.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{mock: clock.NewMock()}
		d.Agenda = New(d.mock, 1, 1)
		proceed := make(chan struct{})
		slow := func(t *task, _ bool) time.Time {
			<-proceed
			d.note("%s", t.name)
			return d.mock.Now()
		}
		a := d.open("a", d.mock.Now(), slow)
		synctest.Wait()
		b, later := d.open("b", time.Time{}, slow), d.open("later", d.mock.Now(), slow)
		d.Poke(&b.Entry)
		closed := make(chan struct{})
		go func() { defer close(closed); d.Close() }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close did not wait")
		default:
		}
		close(proceed)
		<-closed
		d.want(t, "a, b")
		d.Close()
		for _, e := range []*task{a, b, later} {
			d.Poke(&e.Entry) // does no harm
		}
		if !slices.Equal(d.log, nil) {
			t.Errorf("done after Close: %v", d.log)
		}
	})
}
