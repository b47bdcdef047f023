package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A row is one case at one server.
type row struct {
	name, server string
	figures      []string // what was counted, and what was done instead of what could not be
	err          error
}

// result is the column that a reader looks for first.
func (r row) result() string {
	if r.err != nil {
		return "FAILED"
	}
	return "ok"
}

// detail is what stands in the last column: figures, then the fault.
func (r row) detail() string {
	all := r.figures
	if r.err != nil {
		all = append(all[:len(all):len(all)], "fault: "+strings.ReplaceAll(r.err.Error(), "\n", " | "))
	}
	return strings.Join(all, "; ")
}

const tableWidth = 150

// printTable writes a line for each case, and more where the figures need them.
func printTable(w io.Writer, rows []row) {
	name, server := len("case"), len("server")
	for _, r := range rows {
		name, server = max(name, len(r.name)), max(server, len(r.server))
	}
	line := func(a, b, c, d string) {
		_, _ = fmt.Fprintf(w, "%-*s  %-*s  %-6s  %s\n", name, a, server, b, c, d)
	}
	line("case", "server", "result", "figures")
	for _, r := range rows {
		a, b, c := r.name, r.server, r.result()
		for _, part := range wrap(r.detail(), max(30, tableWidth-name-server-12)) {
			line(a, b, c, part)
			a, b, c = "", "", ""
		}
	}
}

// wrap breaks a text into lines; a word that is longer stays whole.
func wrap(text string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
