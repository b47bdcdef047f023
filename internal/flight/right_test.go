package flight

import (
	"testing"
	"time"
	"unsafe"

	"github.com/benbjohnson/clock"
)

func TestNoRight(t *testing.T) {
	var none *Right
	none.Release()
	if none.stale() || none.Lasting() || none.Beat() != 0 {
		t.Error("no right needs no care")
	}
}

const ttl = 15 * time.Second

// wantStaleAfter holds a right to be good until at after epoch, and no longer.
func wantStaleAfter(t *testing.T, what string, r *Right, mock *clock.Mock, at time.Duration) {
	t.Helper()
	mock.Set(epoch.Add(at))
	if r.stale() {
		t.Errorf("%s: stale at %v", what, at)
	}
	mock.Add(1)
	if !r.stale() {
		t.Errorf("%s: not stale after %v", what, at)
	}
}

// A right counts for two thirds of its ttl from before the last confirmation was
// asked for.
func TestRightIsConfirmed(t *testing.T) {
	mock := clock.NewMock()
	mock.Set(epoch)
	l := new(lease)
	r := Hold(l, ttl, mock)
	if r.Beat() != 5*time.Second || r.Lasting() {
		t.Errorf("beats each %v, lasting %t", r.Beat(), r.Lasting())
	}
	if !r.stale() {
		t.Error("good before it was confirmed")
	}
	if err := r.Extend(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantStaleAfter(t, "confirmed at once", r, mock, 10*time.Second)
	mock.Set(epoch.Add(11 * time.Second))
	l.takes = func() { mock.Add(4 * time.Second) }
	if err := r.Extend(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantStaleAfter(t, "extended", r, mock, 21*time.Second)
	l.fails = true
	if err := r.Extend(t.Context()); err == nil || !r.stale() {
		t.Errorf("Extend = %v; it confirms nothing", err)
	}
}

// A lease that may or may not last says so.
type maybe struct {
	lease
	lasts bool
}

func (m *maybe) Lasting() bool { return m.lasts }

func TestLastingRight(t *testing.T) {
	mock := clock.NewMock()
	for _, lasts := range []bool{true, false} {
		r := Hold(&maybe{lasts: lasts}, ttl, mock)
		mock.Add(time.Hour)
		if r.Lasting() != lasts || r.stale() == lasts {
			t.Errorf("lasts %t: lasting %t, stale %t", lasts, r.Lasting(), r.stale())
		}
	}
}

// A twoClock has its wall and its monotonic clock moved apart.
type twoClock struct {
	clock.Clock
	now time.Time
}

func (c *twoClock) Now() time.Time                     { return c.now }
func (c *twoClock) Timer(d time.Duration) *clock.Timer { return c.Clock.Timer(d) }

// monotonic moves the monotonic reading of an instant alone. The time package has
// no way to say that.
func monotonic(at time.Time, d time.Duration) time.Time {
	type layout struct {
		wall uint64
		ext  int64
		loc  *time.Location
	}
	(*layout)(unsafe.Pointer(&at)).ext += int64(d)
	return at
}

// Either clock may be the one that shows how old a right is: the monotonic one
// stands still while a machine sleeps, and the wall clock can be set back.
func TestRightByBothClocks(t *testing.T) {
	const long = 11 * time.Second
	granted := time.Now()
	for _, tt := range []struct {
		name  string
		now   time.Time
		stale bool
	}{
		{"neither moved", granted, false},
		{"both moved", granted.Add(long), true},
		{"the machine slept", monotonic(granted.Add(long), -long), true},
		{"the clock was set back", monotonic(granted, long), true},
	} {
		c := &twoClock{clock.NewMock(), granted}
		r := Hold(new(lease), ttl, c)
		if err := r.Extend(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.now = tt.now
		if r.stale() != tt.stale {
			t.Errorf("%s: wall %v, monotonic %v: stale %t", tt.name, tt.now.Round(0).Sub(granted.Round(0)), tt.now.Sub(granted), r.stale())
		}
	}
}
