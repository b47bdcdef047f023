package main

import (
	"fmt"
	"time"
)

// span tells a length of time as people do, in one unit.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// lifeTo tells how long something lives that ends at t.
func lifeTo(t, now time.Time) string {
	at := t.Local().Format(time.DateTime)
	switch {
	case t.IsZero():
		return "does not say when it ends"
	case !t.After(now):
		return "ended " + span(now.Sub(t)) + " ago, at " + at
	}
	return "for " + span(t.Sub(now)) + ", until " + at
}
