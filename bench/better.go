package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// better says which clients of a table have lower figures than our own, in the
// named columns, in all of which the lower is the better.
func (t table) better(columns ...string) string {
	mine := slices.IndexFunc(t.rows, func(cells []string) bool { return cells[0] == own().name })
	var wins []string
	for _, name := range columns {
		i := slices.Index(t.head, name)
		var who []string
		for _, cells := range t.rows {
			if isPeer(cells[0]) && figure(cells[i]) < figure(t.rows[mine][i]) {
				who = append(who, fmt.Sprintf("%s (%s)", cells[0], cells[i]))
			}
		}
		if len(who) > 0 {
			wins = append(wins, fmt.Sprintf("%s: %s instead of %s", name, strings.Join(who, ", "), t.rows[mine][i]))
		}
	}
	if len(wins) == 0 {
		return "No peer has lower figures than evertoken."
	}
	return "Lower than evertoken's are: " + strings.Join(wins, "; ") + "."
}

// isPeer leaves out what is in a table as a measure for the others.
func isPeer(name string) bool {
	return slices.ContainsFunc(peers(), func(p peer) bool { return p.name == name })
}

// figure is the number in a cell, or its duration in nanoseconds.
func figure(cell string) float64 {
	if d, err := time.ParseDuration(strings.ReplaceAll(cell, " ", "")); err == nil {
		return float64(d)
	}
	n, _ := strconv.ParseFloat(cell, 64)
	return n
}
