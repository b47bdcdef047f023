package sim

import (
	"testing"
	"testing/synctest"
	"time"
)

// Wall and monotonic clock agree until the machine sleeps or its clock is set.
func TestHostClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(3 * time.Minute)
		begin := h.Now()
		if got := time.Until(begin); got != 3*time.Minute {
			t.Fatalf("offset is %v", got)
		}
		check := func(what string, monotonic, wall time.Duration) {
			t.Helper()
			now := h.Now()
			if m, w := now.Sub(begin), now.Round(0).Sub(begin.Round(0)); m != monotonic || w != wall {
				t.Errorf("%s: monotonic %v, wall %v; want %v, %v", what, m, w, monotonic, wall)
			}
		}
		<-time.After(time.Second)
		check("awake", time.Second, time.Second)
		h.freeze(time.Minute, false)
		<-time.After(time.Second)
		check("frozen", time.Second, time.Second)
		<-time.After(time.Minute)
		check("thawed", 62*time.Second, 62*time.Second)
		h.freeze(time.Hour, true)
		<-time.After(time.Hour + time.Second)
		check("slept", 63*time.Second, time.Hour+63*time.Second)
		h.set(0)
		check("set", 63*time.Second, time.Hour+63*time.Second-3*time.Minute)
	})
}

// A timer that a sleeping machine held up has its whole time still to go; one
// of a dead process never fires.
func TestHostTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(0)
		timer := h.Timer(10 * time.Second)
		<-time.After(4 * time.Second)
		h.freeze(time.Hour, true)
		at := <-timer.C
		if got := at.Round(0).Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); got != time.Hour+10*time.Second {
			t.Errorf("fired after %v", got)
		}
		last := h.Timer(time.Second)
		close(h.dead)
		select {
		case <-last.C:
			t.Error("a dead process's timer fired")
		case <-time.After(time.Minute):
		}
	})
}

// Timers that are due at one instant fire one after the other: which of them a
// select would take is not for the runtime to draw.
func TestTimersNeverMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(0)
		first, second := h.Timer(time.Second), h.Timer(time.Second)
		h.freeze(time.Minute, false)
		if a, b := <-first.C, <-second.C; !b.After(a) {
			t.Errorf("fired at %v and %v", a, b)
		}
		first, second = h.Timer(time.Second), h.Timer(time.Second)
		if a, b := <-first.C, <-second.C; !b.After(a) {
			t.Errorf("without a freeze: fired at %v and %v", a, b)
		}
	})
}
