package sim

import (
	"flag"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed     = flag.Uint64("seed", 0, "the seed that TestReplay runs, or the first of TestSimulate")
	duration = flag.Duration("duration", 0, "for how long TestSimulate runs new seeds")
)

// run lives through the world of one seed, in a bubble of its own.
func run(t *testing.T, seed uint64, echo func(string)) (r Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		w, err := newWorld(t.Context(), newScenario(seed), echo)
		if err != nil {
			t.Fatal(err)
		}
		w.run()
		r = Result{
			Seed: seed, Violations: w.check.violations, Worlds: 1, Virtual: time.Since(begin),
			Renewals: w.check.renewals, Overlaps: w.check.overlaps, Faults: w.faults,
			Lost: w.check.lost, Ended: w.check.ends, Digest: w.trace.digest.Sum64(),
		}
	})
	for _, v := range r.Violations {
		t.Errorf("seed %d: %s\nreplay: go test ./internal/sim -run Replay -seed %d -v", seed, v, seed)
	}
	return r
}

// TestSeeds runs worlds that never change: what held yesterday holds today.
func TestSeeds(t *testing.T) {
	for s := range uint64(8) {
		run(t, s+1, nil)
	}
}

// TestReplay shows all that happens in one world, and that it happens again.
func TestReplay(t *testing.T) {
	if *seed == 0 {
		if a, b := run(t, 1, nil), run(t, 1, nil); a.Digest != b.Digest {
			t.Errorf("seed 1 was lived through in two ways: %x, %x", a.Digest, b.Digest)
		}
		return
	}
	r := run(t, *seed, func(line string) { t.Log(line) })
	t.Logf("%+v", r)
}

// TestSimulate runs new worlds for as long as it is told, and reports.
func TestSimulate(t *testing.T) {
	total := Result{Faults: tally{}, Lost: tally{}, Ended: tally{}}
	for begin, s := time.Now(), *seed; time.Since(begin) < *duration; s++ {
		r := run(t, s, nil)
		total.Worlds++
		total.Virtual += r.Virtual
		total.Renewals += r.Renewals
		total.Overlaps += r.Overlaps
		total.Faults.add(r.Faults)
		total.Lost.add(r.Lost)
		total.Ended.add(r.Ended)
	}
	t.Logf("%d worlds, %.2f years, %d renewals, %d overlaps", total.Worlds, total.Virtual.Hours()/24/365, total.Renewals, total.Overlaps)
	for _, counts := range []tally{total.Faults, total.Lost, total.Ended} {
		for _, what := range counts.sorted() {
			t.Logf("%8d %s", counts[what], what)
		}
	}
}
