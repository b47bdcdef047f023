package sim

import (
	"flag"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed     = flag.Uint64("seed", 0, "the seed that TestReplay runs, or the first of TestSimulate and TestTwice")
	seeds    = flag.Uint64("seeds", 0, "how many worlds TestTwice runs twice, and TestSimulate at least")
	compare  = flag.Uint64("compare", 0, "in how many worlds TestCompare compares evertoken with others")
	duration = flag.Duration("duration", 0, "for how long TestSimulate runs new seeds")
)

// live lives through one world, in a bubble of its own.
func live(t *testing.T, s scenario, rival *policy, echo func(string)) (r Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		w, err := newWorld(t.Context(), s, rival, echo)
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
	r := live(t, newScenario(seed), nil, nil)
	if len(r.Violations) > 0 {
		t.Errorf("seed %d: %s\n%s\nreplay: go test ./internal/sim -run Replay -seed %d -v",
			seed, strings.Join(r.Violations, "\n"), strings.Join(r.Trace[max(0, len(r.Trace)-60):], "\n"), seed)
	}
	return r
}

// TestSeeds runs worlds that never change: what held yesterday holds today. These
// are quick ones that know every fault between them.
func TestSeeds(t *testing.T) {
	t.Parallel() // to the compiler of TestMutations
	total := newResult()
	for _, s := range []uint64{1, 4, 9, 17, 18, 45, 46, 52, 54} {
		total.add(run(t, s))
	}
	for _, f := range slices.Concat(ways(), steps(), storeFaults(), events()) {
		if total.Faults[string(f)] == 0 {
			t.Errorf("%s: in none of the worlds", f)
		}
	}
}

// TestTwice runs worlds twice: a seed decides everything, so they have to come
// out the same.
func TestTwice(t *testing.T) {
	t.Parallel()
	first := max(*seed, 1)
	for s := first; s < first+max(*seeds, 1); s++ {
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
	r := live(t, newScenario(*seed), nil, func(line string) { t.Log(line) })
	for _, v := range r.Violations {
		t.Error(v)
	}
	t.Log(r)
}

// TestCompare lives through the same worlds with evertoken and with what others
// do, and prints what it costs: sessions lost per thousand years and per thousand
// renewals, and requests that got no token.
func TestCompare(t *testing.T) {
	for _, kind := range []struct {
		name string
		of   func(scenario) scenario
	}{
		{"everything fails", scenario.busy},
		{"the network alone fails", func(s scenario) scenario { return s.busy().networkOnly() }},
	}[:2*min(*compare, 1)] {
		t.Log(kind.name)
		compareAll(t, kind.of)
	}
}

func compareAll(t *testing.T, of func(scenario) scenario) {
	t.Helper()
	for _, rival := range append([]*policy{nil}, policies()...) {
		total := newResult()
		for s := range *compare {
			total.add(live(t, of(newScenario(*seed+s)), rival, nil))
		}
		name := "evertoken"
		if rival != nil {
			name = rival.name
		}
		lost := float64(total.Lost.sum())
		t.Logf("| %s | %.0f | %.1f | %d of %d |", name, 1000*lost/years(total.Storm), 1000*lost/float64(total.Renewals), total.Failed, total.Requests+total.Failed)
		t.Log(total)
	}
}

// TestSimulate runs new worlds for as long as it is told, and reports.
func TestSimulate(t *testing.T) {
	total := newResult()
	for begin, s := time.Now(), *seed; !t.Failed() && (time.Since(begin) < *duration || s-*seed < *seeds); s++ {
		total.add(run(t, s))
	}
	t.Log(total)
}
