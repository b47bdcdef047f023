package main

import (
	"testing"
	"time"
)

// Two stalls that overlap are one; what of a wait lies in it does not count.
func TestStalls(t *testing.T) {
	began := time.Now()
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	still := outcome{began: began, samples: []sample{
		{due: ms(150), took: ms(20)}, {due: ms(100), took: ms(60)}, {due: ms(50), took: ms(9)}, {due: ms(300), took: ms(100)},
	}}
	waits := outcome{began: began.Add(ms(10)), samples: []sample{
		{due: ms(0), took: ms(300)},  // 10 to 310: less 100 to 170, and 300 to 310
		{due: ms(100), took: ms(10)}, // 110 to 120: all of it
		{due: ms(200), took: ms(5)},  // 210 to 215
	}}
	got := waits.without(still.stalls())
	for i, want := range []time.Duration{ms(220), 0, ms(5)} {
		if got.samples[i].took != want {
			t.Errorf("wait %d: %v, want %v", i, got.samples[i].took, want)
		}
	}
	if waits.samples[0].took != ms(300) {
		t.Error("the samples were changed")
	}
}
