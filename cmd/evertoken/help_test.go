package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

// Help fits a terminal, and tells of every command and every flag.
func TestHelp(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	pages := overviewText
	for _, c := range commands() {
		if !strings.Contains(overviewText, "\n  evertoken "+c.name) || !strings.Contains(string(doc), "evertoken "+c.name) {
			t.Errorf("nothing tells of %s", c.name)
		}
		var page bytes.Buffer
		if err := c.page(&page); err != nil {
			t.Fatal(err)
		}
		pages += page.String()
		flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.setup(flags)
		flags.VisitAll(func(f *flag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s: --%s says %q", c.name, f.Name, f.Usage)
			}
		})
		if strings.Contains(page.String(), "\n\n\n") {
			t.Errorf("two blank lines in\n%s", page.String())
		}
	}
	for line := range strings.Lines(pages) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
