package main

import (
	"cmp"
	"slices"
	"time"
)

// standstill is from how long a wait on the machine shows as one. A goroutine that
// has to wait for its turn waits for less.
const standstill = 10 * time.Millisecond

// A stall is a time in which the machine stood still, or was busy with others.
type stall struct{ from, to time.Time }

// stalls are those that a client shows which makes nobody wait.
func (o outcome) stalls() []stall {
	var all []stall
	slices.SortFunc(o.samples, func(a, b sample) int { return cmp.Compare(a.due, b.due) })
	for _, s := range o.samples {
		if s.took < standstill {
			continue
		}
		from := o.began.Add(s.due)
		to := from.Add(s.took)
		if last := len(all) - 1; last >= 0 && !from.After(all[last].to) {
			all[last].to = latest(all[last].to, to)
			continue
		}
		all = append(all, stall{from, to})
	}
	return all
}

// without subtracts from each wait the time in which the machine stood still.
func (o outcome) without(stalls []stall) outcome {
	samples := slices.Clone(o.samples)
	for i := range samples {
		s := &samples[i]
		from := o.began.Add(s.due)
		to := from.Add(s.took)
		for _, stood := range stalls {
			s.took -= max(0, earliest(to, stood.to).Sub(latest(from, stood.from)))
		}
	}
	o.samples = samples
	return o
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
