package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// A section is what one part has found.
type section struct {
	title  string
	text   string // what was measured, and how: paragraphs of Markdown
	tables []table
	charts []chart
}

// A table has its first column aligned to the left, the others to the right.
type table struct {
	title string // may be empty
	head  []string
	rows  [][]string
	note  string // what is to be seen in it; may be empty
}

// A chart is an image of the report.
type chart struct {
	file string
	alt  string
	svg  string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes a section for a terminal.
func (s section) print(out io.Writer) error {
	if _, err := fmt.Fprintf(out, "%s\n\n", strings.ToUpper(s.title)); err != nil {
		return err
	}
	for _, t := range s.tables {
		if t.title != "" {
			_, _ = fmt.Fprintln(out, t.title)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, cells := range append([][]string{t.head}, t.rows...) {
			_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")+"\t")
		}
		if err := w.Flush(); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "%s\n\n", t.note)
	}
	return nil
}

// markdown writes a section for the report.
func (s section) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n", s.title, s.text)
	for _, c := range s.charts {
		fmt.Fprintf(&b, "\n![%s](%s)\n", c.alt, c.file)
	}
	for _, t := range s.tables {
		if t.title != "" {
			fmt.Fprintf(&b, "\n**%s**\n", t.title)
		}
		fmt.Fprintf(&b, "\n| %s |\n| --- |%s\n", strings.Join(t.head, " | "), strings.Repeat(" ---: |", len(t.head)-1))
		for _, cells := range t.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		}
		if t.note != "" {
			fmt.Fprintf(&b, "\n%s\n", t.note)
		}
	}
	return b.String()
}
