// Command proof runs the client against real servers, each case at a server of
// its own, and prints a table of what came of it. make interop starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	var p programs
	var only string
	var limit time.Duration
	flag.StringVar(&p.oidcProvider, "oidc-provider", "oidc-provider", "`folder` of our server.mjs and its node_modules")
	flag.StringVar(&p.zitadel, "zitadel", "", "the example server of zitadel/oidc, a `program`")
	flag.StringVar(&p.matching, "matching", "", "the matching server (examples/server), a `program`")
	flag.StringVar(&p.probe, "probe", "", "the command of this module, a `program`")
	flag.StringVar(&only, "run", "", "only cases whose name or server fits this `expression`")
	flag.DurationVar(&limit, "limit", 3*time.Minute, "for all cases together")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the limit of %v for all cases has passed", limit))
	defer cancel()
	if ok := run(ctx, p, only); !ok {
		cancel()
		stop()
		os.Exit(1) //nolint:gocritic // both have run
	}
}

// run does everything and says whether it went well.
func run(ctx context.Context, p programs, only string) bool {
	if task, ok := os.LookupEnv(envTask); ok { // we are a child of a case
		return report(work(ctx, p, task))
	}
	wanted, err := regexp.Compile(only)
	if err != nil {
		return report(fmt.Errorf("-run: %w", err))
	}
	began := time.Now()
	rows := runAll(ctx, p, wanted)
	printTable(os.Stdout, rows)
	failed := 0
	for _, r := range rows {
		if r.err != nil {
			failed++
		}
	}
	fmt.Printf("interop: %d cases, %d failed, in %v\n", len(rows), failed, time.Since(began).Round(time.Second))
	return failed == 0 && len(rows) > 0
}

// report prints an error and says whether there was none.
func report(err error) bool {
	if err != nil {
		fmt.Fprintln(os.Stderr, "proof:", err)
	}
	return err == nil
}
