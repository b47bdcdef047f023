// Command fleet shows one session that many processes share: they renew it in
// turn, on the store that they run already, and nobody signs anybody out. With
// -chaos they are killed and frozen at random meanwhile.
//
//	go run ./examples/fleet -store file:/tmp/fleet -chaos
//	go run ./examples/fleet -store redis://127.0.0.1:6379/0
//	go run ./examples/fleet -store "postgres://user@127.0.0.1/db"
//	go run ./examples/fleet -store nats://127.0.0.1:4222
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

// workerEnv makes this program a worker: see task.
const workerEnv = "EVERTOKEN_FLEET_TASK"

type options struct {
	store    string
	workers  int
	duration time.Duration
	renewals int // end after so many; 0: by duration alone
	lifetime time.Duration
	grace    time.Duration
	chaos    bool
	seed     uint64
	json     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if task := os.Getenv(workerEnv); task != "" {
		exit(work(ctx, task, os.Stdin, os.Stdout))
	}
	var o options
	flag.StringVar(&o.store, "store", "", "where the session is: a `URL` of file:, redis:, postgres: or nats:; empty means a new folder")
	flag.IntVar(&o.workers, "workers", 6, "how many processes")
	flag.DurationVar(&o.duration, "duration", time.Minute, "for how long")
	flag.IntVar(&o.renewals, "renewals", 0, "end earlier, after so many renewals; 0 means not to")
	flag.DurationVar(&o.lifetime, "lifetime", 2500*time.Millisecond, "of access tokens")
	flag.DurationVar(&o.grace, "grace", 3*time.Second, "for which the server accepts a spent refresh token")
	flag.BoolVar(&o.chaos, "chaos", false, "kill and freeze workers at random")
	flag.Uint64Var(&o.seed, "seed", 1, "of the chaos")
	flag.BoolVar(&o.json, "json", false, "print the summary as one JSON object on the last line")
	flag.Parse()
	exit(show(ctx, o, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// show runs a fleet for a person to watch. The error says what went wrong, also
// with the session.
func show(ctx context.Context, o options, out *os.File) error {
	f, err := newFleet(ctx, o)
	if err != nil {
		return err
	}
	t := newTable(out)
	t.title(o, f.store)
	sum, err := f.run(ctx, func() { t.draw(f) })
	if err != nil {
		return err
	}
	t.summary(sum)
	if o.json {
		if err := json.NewEncoder(io.Writer(out)).Encode(sum); err != nil {
			return err
		}
	}
	return sum.verdict(o.grace > 0)
}
