package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The report has the tables and shows the charts, and the charts are XML.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	outcomes := []outcome{{samples: []sample{{due: time.Second, took: 300 * time.Millisecond}}}}
	err := writeReport(dir, []section{{
		title: "Found", text: "How.",
		tables: []table{{title: "All", head: []string{"client", "n"}, rows: [][]string{{"one", "1"}}, note: "Seen."}},
		charts: []chart{
			{"a.svg", "bars", barChart("Bars & more", []bar{{"one", 100, 200}})},
			{"b.svg", "strips", expiryChart(peers()[:1], outcomes)},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "REPORT.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## Found\n\nHow.\n", "**All**\n\n| client | n |\n| --- | ---: |\n| one | 1 |\n", "![bars](a.svg)", "\nSeen.\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report has no %q:\n%s", want, text)
		}
	}
	for _, name := range []string{"a.svg", "b.svg"} {
		svg, err := os.ReadFile(filepath.Join(dir, name))
		d := xml.NewDecoder(bytes.NewReader(svg))
		for err == nil {
			_, err = d.Token()
		}
		if err != io.EOF { //nolint:errorlint // as it is documented
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBetter(t *testing.T) {
	table := table{head: []string{"client", "took", "failed"}, rows: [][]string{
		{"floor", "1 ns", "0"}, {"evertoken", "200 ns", "2"}, {"x/oauth2", "1.5ms", "1"}, {"smithy", "199 ns", "10"},
	}}
	if got, want := table.better("took", "failed"), "Lower than evertoken's are: took: smithy (199 ns) instead of 200 ns; failed: x/oauth2 (1) instead of 2."; got != want {
		t.Errorf("%s", got)
	}
	table.rows = table.rows[:2]
	if got, want := table.better("took", "failed"), "No peer has lower figures than evertoken."; got != want {
		t.Errorf("%s", got)
	}
}
