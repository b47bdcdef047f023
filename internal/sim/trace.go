package sim

import (
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"
)

// traced is how many lines are kept for the report of a violation.
const traced = 250

// A trace tells what happened, one line per event. Its digest stands for all of
// it: two runs of one seed have to have the same. It is a sum: what happens in
// different places at one instant has no order.
type trace struct {
	begin time.Time

	mu     sync.Mutex
	lines  []string // the last ones, as a ring
	n      int
	digest uint64
	echo   func(string) // each line as it comes; nil: not wanted
}

func newTrace(echo func(string)) *trace {
	return &trace{begin: time.Now(), echo: echo}
}

// add tells of something that changed the world.
func (t *trace) add(who, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.line(who, format, args...)))
	t.digest += h.Sum64()
}

// tell is for what clients say of themselves: some goroutine of theirs comes to
// it when it can, so its place among the lines of an instant means nothing.
func (t *trace) tell(who, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line(who, format, args...)
}

// aside is for what only a replay is to show: it would crowd out the rest.
func (t *trace) aside(who, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.echo != nil {
		t.echo(t.stamp(who) + text)
	}
}

func (t *trace) stamp(who string) string {
	d := time.Since(t.begin)
	return fmt.Sprintf("%2dd %02d:%02d:%02d.%03d  %-6s ", d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60,
		d/time.Second%60, d/time.Millisecond%1000, who)
}

func (t *trace) line(who, format string, args ...any) string {
	line := t.stamp(who) + fmt.Sprintf(format, args...)
	if t.echo != nil {
		t.echo(line)
	}
	if len(t.lines) < traced {
		t.lines = append(t.lines, line)
	} else {
		t.lines[t.n%traced] = line
	}
	t.n++
	return line
}

// last returns the last lines in order.
func (t *trace) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := 0
	if t.n > traced {
		from = t.n % traced
	}
	return slices.Concat(t.lines[from:], t.lines[:from])
}
