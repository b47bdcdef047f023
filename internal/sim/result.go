package sim

import (
	"fmt"
	"strings"
	"time"
)

// A Result is what one world, or several, have come to.
type Result struct {
	Violations []string
	Trace      []string // its last lines, of one world with violations
	Worlds     int
	Virtual    time.Duration // that went by in the worlds
	Storm      time.Duration // of that, with faults
	Renewals   int
	Requests   int   // of programs, with a token
	Failed     int   // that got none in a minute
	Calm       int   // requests that nothing could excuse from being served at once
	Overlaps   int   // exchanges that began across a lapsed lease
	Faults     tally // by kind
	Lost       tally // sessions, by cause
	Ended      tally // sessions that somebody ended, by who
	Digest     uint64
}

func newResult() Result { return Result{Faults: tally{}, Lost: tally{}, Ended: tally{}} }

// result is asked for when a world has come to its end.
func (w *world) result(virtual time.Duration) Result {
	c := w.check
	r := Result{
		Violations: c.violations, Worlds: 1, Virtual: virtual, Storm: w.length,
		Renewals: c.renewals, Requests: c.requests, Failed: c.unserved, Calm: c.calmRequests, Overlaps: c.overlaps,
		Faults: w.faults, Lost: c.lost, Ended: c.ends, Digest: w.trace.digest,
	}
	if len(r.Violations) > 0 {
		r.Trace = w.trace.last()
	}
	return r
}

func (r *Result) add(o Result) {
	r.Worlds += o.Worlds
	r.Virtual += o.Virtual
	r.Storm += o.Storm
	r.Renewals += o.Renewals
	r.Requests += o.Requests
	r.Failed += o.Failed
	r.Calm += o.Calm
	r.Overlaps += o.Overlaps
	r.Faults.add(o.Faults)
	r.Lost.add(o.Lost)
	r.Ended.add(o.Ended)
}

func years(d time.Duration) float64 { return d.Hours() / 24 / 365 }

// String is the report.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d worlds, %.2f virtual years, %d renewals, %d requests (%d that nothing could excuse), %d overlaps across a lapsed lease\n",
		r.Worlds, years(r.Virtual), r.Renewals, r.Requests, r.Calm, r.Overlaps)
	for _, part := range []struct {
		title  string
		counts tally
	}{{"faults", r.Faults}, {"sessions lost, by cause", r.Lost}, {"sessions ended, by whose will", r.Ended}} {
		fmt.Fprintf(&b, "%s: %d\n", part.title, part.counts.sum())
		for _, what := range part.counts.sorted() {
			fmt.Fprintf(&b, "%10d  %s\n", part.counts[what], what)
		}
	}
	return b.String()
}
