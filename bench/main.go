// Command bench measures what evertoken costs and what it spares, beside other
// clients: what a request costs, what requests wait for when tokens expire, what
// many sessions take, and what a renewal costs at each store. All that is compared
// takes turns, or runs at the same time, within one run; the ratios count, not the
// times.
//
//	go run ./bench [-report FOLDER] [-patience TIME] [request] [expiry] [sessions] [stores]
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/evertoken/evertoken/storage/natsstore/natstest"
)

func main() {
	natstest.Main()
	patience := flag.Duration("patience", 100*time.Second, "how long modes of expiry in which the machine stood still are tried again")
	report := flag.String("report", "", "the folder into which REPORT.md and its charts are written")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *report, *patience, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A part is what can be measured by itself.
type part struct {
	name    string
	measure func(context.Context) (section, error)
}

// parts are in the order of the report.
func parts(patience time.Duration) []part {
	return []part{
		{"request", func(ctx context.Context) (section, error) {
			return measureRequests(ctx, effort{rounds: 41, turns: 11, requests: 5000})
		}},
		{"expiry", func(ctx context.Context) (section, error) { return measureExpiry(ctx, patience) }},
		{"sessions", func(ctx context.Context) (section, error) { return measureSessions(ctx, 200) }},
		{"stores", func(ctx context.Context) (section, error) { return measureStores(ctx, 201) }},
	}
}

// run measures the named parts, or all, prints them, and writes the report if
// there is a folder for it.
func run(ctx context.Context, out io.Writer, folder string, patience time.Duration, names []string) error {
	var sections []section
	for _, p := range parts(patience) {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		s, err := p.measure(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := s.print(out); err != nil {
			return err
		}
		sections = append(sections, s)
	}
	if folder == "" {
		return nil
	}
	return writeReport(folder, sections)
}
