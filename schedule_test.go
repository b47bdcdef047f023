package evertoken

import (
	"testing"
	"time"

	"github.com/evertoken/evertoken/internal/record"
)

// lived is the life of a token that was issued at epoch.
func lived(lifetime, roundTrip time.Duration) life {
	return newLife(Token{IssuedAt: epoch, Expiry: epoch.Add(lifetime)}, roundTrip)
}

func TestLife(t *testing.T) {
	for _, tt := range []struct {
		name           string
		lifetime, trip time.Duration
		dead           time.Duration // after epoch
	}{
		{"whole seconds are cut", time.Hour, 0, time.Hour - time.Second},
		{"and the way is long", time.Hour, 10 * time.Second, time.Hour - 11*time.Second},
		{"but a quarter at most", 8 * time.Second, 10 * time.Second, 6 * time.Second},
		{"ended before it was issued", -time.Minute, 0, -time.Minute},
	} {
		l := lived(tt.lifetime, tt.trip)
		at := epoch.Add(tt.dead)
		if !l.dead.Equal(at) || !l.isDead(at) || l.isDead(at.Add(-1)) || l.left(at.Add(-time.Second)) != time.Second {
			t.Errorf("%s: dead at %v", tt.name, l.dead.Sub(epoch))
		}
	}
	unknown := newLife(Token{IssuedAt: epoch}, time.Hour)
	if unknown.isDead(epoch.Add(1e6*time.Hour)) || unknown.left(epoch) != 0 || unknown.lifetime() != 0 {
		t.Errorf("a token of unknown expiry lives for %+v", unknown)
	}
}

func TestDue(t *testing.T) {
	for _, tt := range []struct {
		name string
		l    life
		s    schedule
		from time.Duration // after epoch
	}{
		{"less than the window, strictly", lived(2*time.Hour, 0), schedule{window: 5 * time.Minute}, 115*time.Minute + 1},
		{"by its expiry, not by when it is dead", lived(2*time.Hour, time.Minute), schedule{window: 5 * time.Minute}, 115*time.Minute + 1},
		{"a share of the lifetime", lived(4*time.Minute, 0), schedule{window: 5 * time.Minute, fraction: 0.25}, 3*time.Minute + 1},
		{"a share that is longer than the window", lived(2*time.Hour, 0), schedule{window: 5 * time.Minute, fraction: 0.25}, 115*time.Minute + 1},
		{"unknown", newLife(Token{IssuedAt: epoch}, 0), schedule{window: 5 * time.Minute}, time.Hour},
	} {
		at := epoch.Add(tt.from)
		if tt.s.due(at.Add(-1), tt.l) || !tt.s.due(at, tt.l) {
			t.Errorf("%s: due from %v, want %v", tt.name, tt.s.opens(tt.l).Sub(epoch), tt.from)
		}
	}
}

func TestNext(t *testing.T) {
	s := schedule{window: 5 * time.Minute}
	for _, tt := range []struct {
		name       string
		l          life
		tick, want time.Duration
	}{
		{"the tick", lived(time.Hour, 0), time.Minute, time.Minute},
		{"a tick at which the token is dead", lived(61*time.Second, 0), time.Minute, 30*time.Second + 500*time.Millisecond + 1},
		{"a tick just before", lived(61*time.Second+1, 0), time.Minute, time.Minute},
		{"a window that is shorter than half the life", lived(time.Hour, 0), 2 * time.Hour, 55*time.Minute + 1},
		{"unknown", newLife(Token{IssuedAt: epoch}, 0), time.Minute, time.Minute},
	} {
		if got := s.next(epoch.Add(tt.tick), tt.l).Sub(epoch); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A window that is shorter than what the token loses on its way.
func TestNextInATinyWindow(t *testing.T) {
	s := schedule{window: 100 * time.Millisecond}
	if got := s.next(epoch.Add(time.Minute), lived(10*time.Second, 0)).Sub(epoch); got != 9*time.Second {
		t.Errorf("%v, want the moment at which it is dead", got)
	}
}

func TestTicks(t *testing.T) {
	s, first := schedule{interval: time.Minute}, epoch.Add(20*time.Second)
	for now, want := range map[time.Duration]time.Duration{
		0: 20 * time.Second, 20 * time.Second: 80 * time.Second, 80*time.Second - 1: 80 * time.Second, 10 * time.Minute: 10*time.Minute + 20*time.Second,
	} {
		if got := s.tick(epoch.Add(now), first).Sub(epoch); got != want {
			t.Errorf("after %v comes %v, want %v", now, got, want)
		}
	}
}

// How long an exchange took says when the issuer may have begun to count, but not if
// it took so long that somebody must have slept.
func TestDoubt(t *testing.T) {
	for trip, want := range map[time.Duration]time.Duration{-time.Second: 0, 0: 0, 300 * time.Millisecond: 300 * time.Millisecond, time.Hour: time.Second} {
		if got := lived(time.Hour, trip).doubt; got != want {
			t.Errorf("after an exchange of %v: %v, want %v", trip, got, want)
		}
	}
}

// Full jitter: a draw from all of a time that doubles up to a minute.
func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		failures int32
		lifetime time.Duration // zero: unknown
		random   float64
		want     time.Duration
	}{
		{1, time.Hour, 0, time.Second}, {2, time.Hour, 0, 2 * time.Second}, {6, time.Hour, 0, 32 * time.Second},
		{7, time.Hour, 0, time.Minute}, {5000, time.Hour, 0, time.Minute},
		{1, time.Hour, 0.5, 500 * time.Millisecond}, {3, time.Hour, 0.75, time.Second},
		{7, 8 * time.Minute, 0, time.Minute}, {7, 4 * time.Minute, 0, 30 * time.Second}, {7, 0, 0, time.Minute},
		{1, 4 * time.Second, 0, 500 * time.Millisecond}, {9, 2 * time.Second, 0.5, 125 * time.Millisecond},
		{1, time.Millisecond, 0, 100 * time.Millisecond},
	} {
		l := lived(tt.lifetime, 0)
		if tt.lifetime == 0 {
			l = life{issued: epoch}
		}
		if got := backoff(epoch, tt.failures, l, tt.random); got != tt.want {
			t.Errorf("failure %d, lifetime %v, draw %v: %v, want %v", tt.failures, tt.lifetime, tt.random, got, tt.want)
		}
	}
}

// A token that lives for seconds is asked for each second only for as long as its
// end is no further away than that.
func TestBackoffAfterTheEnd(t *testing.T) {
	brief := lived(8*time.Second, 0)
	for ago, want := range map[time.Duration]time.Duration{
		-time.Second: time.Second, 0: time.Second, 4 * time.Second: time.Second, 8 * time.Second: 2 * time.Second,
		time.Minute: 15 * time.Second, 4 * time.Minute: time.Minute, 24 * time.Hour: time.Minute,
	} {
		if got := backoff(brief.dead.Add(ago), 20, brief, 0); got != want {
			t.Errorf("%v after its end: %v, want %v", ago, got, want)
		}
	}
}

func TestNoProgress(t *testing.T) {
	l := lived(time.Hour, 0)
	for left, want := range map[time.Duration]time.Duration{4 * time.Minute: time.Minute, time.Second: time.Second, -time.Minute: time.Second} {
		if got := noProgress(l.dead.Add(-left), l); got != want {
			t.Errorf("%v left: %v, want %v", left, got, want)
		}
	}
}

func TestRetryAt(t *testing.T) {
	alive := life{issued: epoch, expiry: epoch.Add(10 * time.Minute), dead: epoch.Add(10 * time.Minute)}
	for _, tt := range []struct {
		name string
		f    failure
		left time.Duration
		want time.Duration
	}{
		{"closed, first", failure{sent: 1, count: 1}, 4 * time.Minute, 0},
		{"closed, second", failure{sent: 2, count: 2}, 4 * time.Minute, 210 * time.Second},
		{"closed, second, late", failure{sent: 2, count: 3}, 20 * time.Second, 4 * time.Second},
		{"silent, first", failure{sent: 1, silent: true, count: 1}, 4 * time.Minute, 210 * time.Second},
		{"silent, first, late", failure{sent: 1, silent: true, count: 1}, 20 * time.Second, 0},
		{"silent, second, late", failure{sent: 2, silent: true, count: 2}, 20 * time.Second, 2 * time.Second},
		{"nothing to spend", failure{count: 1}, 4 * time.Minute, time.Second},
		{"ended on arrival", failure{outcome: Unavailable, late: true, count: 1}, time.Minute, 0},
		{"ended on arrival again", failure{outcome: Unavailable, late: true, count: 2}, time.Minute, 2 * time.Second},
		{"unavailable for long", failure{outcome: Unavailable, count: 12}, time.Minute, time.Minute},
		{"Retry-After", failure{outcome: Unavailable, retryAfter: 2 * time.Hour}, time.Minute, time.Hour},
		{"misconfigured", failure{outcome: Misconfigured}, time.Minute, 5 * time.Minute},
		{"not sent", failure{outcome: NotSent, sent: 1, count: 1}, 4 * time.Minute, time.Second},
		{"Retry-After of something ambiguous", failure{retryAfter: 10 * time.Second, sent: 1, count: 1}, 4 * time.Minute, 10 * time.Second},
		{"wrong password, first", failure{outcome: Rejected, verdicts: 1}, time.Minute, 5 * time.Minute},
		{"wrong password, third", failure{outcome: Rejected, verdicts: 3}, time.Minute, 20 * time.Minute},
		{"wrong password, fifth", failure{outcome: Rejected, verdicts: 5}, time.Minute, time.Hour},
		{"wrong password, for weeks", failure{outcome: Rejected, verdicts: 1000}, time.Minute, time.Hour},
	} {
		now := alive.expiry.Add(-tt.left)
		if got := tt.f.retryAt(now, alive, 0).Sub(now); got != tt.want {
			t.Errorf("%s: after %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSettledAt(t *testing.T) {
	l := life{dead: epoch.Add(10 * time.Minute)}
	for _, tt := range []struct {
		name       string
		age, grace time.Duration
		want       time.Duration
	}{
		{"within the grace", 5 * time.Second, 10 * time.Second, 0},
		{"at its end", 9 * time.Second, 10 * time.Second, 570 * time.Second},
		{"no grace", 0, 0, 570 * time.Second},
	} {
		if got := settledAt(epoch, epoch, tt.age, tt.grace, l).Sub(epoch); got != tt.want {
			t.Errorf("%s: after %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPatience(t *testing.T) {
	l := lived(time.Hour, 0)
	for left, want := range map[time.Duration]time.Duration{-time.Hour: time.Minute, 2 * time.Minute: 90 * time.Second, time.Hour: 3 * time.Minute} {
		if got := patience(l.dead.Add(-left), l); got != want {
			t.Errorf("%v before its end: %v, want %v", left, got, want)
		}
	}
	if got := patience(epoch, life{issued: epoch}); got != 3*time.Minute {
		t.Errorf("with an end that nobody knows: %v", got)
	}
}

func TestTickAfterTheClockWasSetBack(t *testing.T) {
	s := schedule{interval: time.Minute}
	if got := s.tick(epoch, epoch.Add(8*time.Hour)); got != epoch.Add(time.Minute) {
		t.Errorf("tick = %v, want within one interval", got)
	}
}

// How long somebody else's attempt is waited for counts from when it was seen.
func TestSettledAtIsNotPutOff(t *testing.T) {
	dying := life{dead: epoch.Add(lastTry)}
	for seen, want := range map[time.Duration]time.Duration{0: 3 * time.Second, 2 * time.Second: time.Second} {
		if got := settledAt(epoch, epoch.Add(-seen), 0, 0, dying).Sub(epoch); got != want {
			t.Errorf("seen %v ago: after %v, want %v", seen, got, want)
		}
	}
}

// A token that servers refuse is not kept until its end for the sake of an attempt
// that may still be processed. What else holds an attempt back does so for all.
func TestHoldEnds(t *testing.T) {
	for _, tt := range []struct {
		name        string
		cause       string
		until, open time.Duration // after epoch; zero: none is
		want        time.Duration
	}{
		{"refused", causeRefused, 10 * time.Minute, time.Minute, 3 * time.Minute},
		{"refused, about to end", causeRefused, 2 * time.Minute, time.Minute, 2 * time.Minute},
		{"due", causeDue, 10 * time.Minute, time.Minute, 10 * time.Minute},
		{"refused, but nothing is open", causeRefused, 10 * time.Minute, 0, 10 * time.Minute},
	} {
		h := hold{until: epoch.Add(tt.until)}
		if tt.open > 0 {
			h = whileOpen(epoch.Add(tt.open), h.until, nil)
		}
		if got := h.ends(tt.cause).Sub(epoch); got != tt.want {
			t.Errorf("%s: after %v, want %v", tt.name, got, tt.want)
		}
	}
}

// refused is a token that a server answered with 401.
func refused(sid string, gen uint64, cause string) *snapshot {
	return &snapshot{Record: record.Record{SID: sid, Gen: gen, Cause: cause}}
}

func TestGate(t *testing.T) {
	var g gate
	at := time.Duration(0)
	for i, step := range []struct {
		after time.Duration
		about *snapshot
		want  bool
	}{
		{0, refused("a", 1, causeSignIn), true},
		{time.Minute - 1, refused("a", 1, causeSignIn), false}, // one per interval
		{1, refused("a", 1, causeSignIn), true},
		{0, refused("b", 1, causeSignIn), true},               // another sign-in counts for itself
		{time.Second, refused("b", 2, causeRefused), false},   // what a 401 has made starts no other,
		{0, refused("b", 2, causeRefused), false},             // and counts once:
		{2*time.Minute - 1, refused("b", 3, causeDue), false}, // the next is two intervals off
		{1, refused("b", 3, causeDue), true},                  //
		{0, refused("b", 4, causeRefused), false},             // refused again:
		{4*time.Minute - 1, refused("b", 5, causeDue), false}, // four
		{1, refused("b", 5, causeDue), true},                  //
		{4 * time.Minute, refused("b", 7, causeDue), true},    // that renewal was not refused: back to one interval
		{time.Minute, refused("b", 8, causeDue), true},        //
		{0, refused("b", 9, causeRefused), false},             //
		{2 * time.Minute, refused("b", 10, causeDue), true},   //
	} {
		at += step.after
		if got := g.pass(epoch.Add(at), time.Minute, step.about); got != step.want {
			t.Fatalf("step %d at %v: %t, want %t; gate %+v", i, at, got, step.want, g)
		}
	}
}

// Refused over and over: the pause ends at an hour.
func TestGateAtItsLongest(t *testing.T) {
	var g gate
	now := epoch
	for gen := uint64(1); gen < 40; gen += 2 {
		for !g.pass(now, time.Minute, refused("a", gen, causeDue)) {
			now = now.Add(time.Minute)
		}
		g.pass(now, time.Minute, refused("a", gen+1, causeRefused))
	}
	if got := g.until.Sub(now); got != longestPause {
		t.Errorf("the next renewal may come after %v", got)
	}
	g.pass(now.Add(-30*time.Minute), time.Minute, refused("a", 50, causeRefused))
	if got := g.until.Sub(now); got != longestPause {
		t.Errorf("a clock that was set back shortened it to %v", got)
	}
}
