package sim

import (
	"flag"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed     = flag.Uint64("seed", 0, "the seed that TestReplay runs, or the first of TestSimulate and TestTwice")
	seeds    = flag.Uint64("seeds", 1, "how many worlds TestTwice runs twice, or TestSimulate at most if -duration is zero")
	duration = flag.Duration("duration", 0, "for how long TestSimulate runs new seeds")
)

// live lives through the world of one seed, in a bubble of its own.
func live(t *testing.T, seed uint64, echo func(string)) (r Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		w, err := newWorld(t.Context(), newScenario(seed), echo)
		if err != nil {
			t.Fatal(err)
		}
		w.run()
		r = w.result(time.Since(begin))
	})
	return r
}

// run is live for a world in which nothing may be found. If something is, the
// last of its trace is shown, and how to see all of it.
func run(t *testing.T, seed uint64) Result {
	t.Helper()
	r := live(t, seed, nil)
	if len(r.Violations) > 0 {
		t.Errorf("seed %d: %s\n%s\nreplay: go test ./internal/sim -run Replay -seed %d -v",
			seed, strings.Join(r.Violations, "\n"), strings.Join(r.Trace[max(0, len(r.Trace)-60):], "\n"), seed)
	}
	return r
}

// TestSeeds runs worlds that never change: what held yesterday holds today.
func TestSeeds(t *testing.T) {
	for s := range uint64(8) {
		run(t, s+1)
	}
}

// TestTwice runs worlds twice: a seed decides everything, so they have to come
// out the same.
func TestTwice(t *testing.T) {
	first := max(*seed, 2) // in the first one goroutines of a frozen process meet at one instant
	for s := first; s < first+*seeds; s++ {
		if a, b := run(t, s), run(t, s); a.Digest != b.Digest {
			t.Errorf("seed %d was lived through in two ways: %x, %x", s, a.Digest, b.Digest)
		}
	}
}

// TestReplay shows all that happens in one world.
func TestReplay(t *testing.T) {
	if *seed == 0 {
		return // there is nothing to show
	}
	r := live(t, *seed, func(line string) { t.Log(line) })
	for _, v := range r.Violations {
		t.Error(v)
	}
	t.Log(r)
}

// TestSimulate runs new worlds for as long as it is told, and reports.
func TestSimulate(t *testing.T) {
	total := newResult()
	for begin, s := time.Now(), *seed; time.Since(begin) < *duration; s++ {
		total.add(run(t, s))
	}
	t.Log(total)
}
