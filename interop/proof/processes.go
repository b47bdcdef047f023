package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/interop/internal/tap"
	"github.com/evertoken/evertoken/storage"
)

// envTask holds the task of a child process, as JSON.
const envTask = "EVERTOKEN_INTEROP_TASK"

// A task is what a child needs to know.
type task struct {
	Kind   string
	Port   int
	API    string // URL
	Store  string // folder
	Result string // file
}

// A result is what a child has seen when it ends.
type result struct {
	Renewals []tap.Renewal
	Requests int
	Refused  int64
	Fault    string
}

// processes has four of them share a session, each with traffic of its own.
func processes(ctx context.Context, t *trial) error {
	const workers, want = 4, 30
	n, err := t.signedIn(ctx, t.busy(t.web()))
	if err != nil {
		return err
	}
	if err := n.Close(); err != nil {
		return err
	}
	began := time.Now()
	children, err := t.startWorkers(ctx, workers)
	if err == nil {
		err = t.renewTogether(ctx, children, want)
	}
	took := time.Since(began)
	for _, c := range children {
		_ = c.in.Close() // which ends it, unless it has ended
		<-c.ended
	}
	if err != nil {
		return err
	}
	return t.judge(children, took, n.tap.Renewals())
}

// startWorkers starts this very program as children.
func (t *trial) startWorkers(ctx context.Context, workers int) ([]*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var all []*process
	for i := range workers {
		what, err := json.Marshal(task{t.name, t.port, t.api, t.storeDir(), t.resultFile(i)})
		if err != nil {
			return all, err
		}
		cmd := exec.CommandContext(ctx, exe)
		cmd.Env = append(os.Environ(), envTask+"="+string(what))
		p, err := launch(cmd)
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

// resultFile is where a child leaves what it has seen.
func (t *trial) resultFile(worker int) string {
	return filepath.Join(t.dir, fmt.Sprintf("worker-%d.json", worker))
}

// inTurn is how far apart renewals are that processes are told to make in turn:
// further than checks. A process that meets more than one 401 between two checks
// gives the second to its caller, if the record does not explain it yet.
const inTurn = time.Second

// renewTogether waits until the children have renewed often enough, and each has
// at least taken over what another one did. Where renewals are forced, the children
// are told to in turn.
func (t *trial) renewTogether(ctx context.Context, children []*process, want int) error {
	for turn := 0; ; turn++ {
		renewed, involved := 0, 0
		for _, c := range children {
			renewed += c.said("renewed")
			if c.said("renewed")+c.said("adopted") > 0 {
				involved++
			}
			if err := c.gone(); err != nil {
				return err
			}
		}
		if renewed >= want && involved == len(children) {
			return nil
		}
		var err error
		if c := children[turn%len(children)]; t.fixed {
			err = c.order(ctx)
		}
		if err = errors.Join(err, pause(ctx, inTurn)); err != nil {
			return err
		}
	}
}

// order has a child renew, and waits until it has.
func (p *process) order(ctx context.Context) error {
	const between = 10 * time.Millisecond
	before := p.said("done")
	if _, err := io.WriteString(p.in, "renew\n"); err != nil {
		return err
	}
	for p.said("done") == before {
		if err := errors.Join(p.gone(), pause(ctx, between)); err != nil {
			return err
		}
	}
	return nil
}

// judge puts together what the children saw.
func (t *trial) judge(children []*process, took time.Duration, all []tap.Renewal) error {
	requests, refused := 0, int64(0)
	var shares []int
	for i, c := range children {
		data, err := os.ReadFile(t.resultFile(i))
		if err != nil {
			return fmt.Errorf("%w; the process said:\n%s", err, c.tail())
		}
		var r result
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		if r.Fault != "" {
			return fmt.Errorf("process %d: %s", i+1, r.Fault)
		}
		all, requests, refused = append(all, r.Renewals...), requests+r.Requests, refused+r.Refused
		shares = append(shares, len(r.Renewals))
	}
	t.sayHow()
	t.say("renewals by process: %v in %v", shares, took.Round(time.Second))
	t.say("%d requests, 0 failed", requests)
	return t.spentOnce(refused, all)
}

// work is a child's life: traffic on the shared session until its parent closes
// its standard input, or goes away.
func work(ctx context.Context, p programs, what string) error {
	var t task
	if err := json.Unmarshal([]byte(what), &t); err != nil {
		return fmt.Errorf("%s: %w", envTask, err)
	}
	for _, k := range p.kinds() {
		if k.name == t.Kind {
			return t.work(ctx, &server{kind: k, port: t.Port, api: t.API})
		}
	}
	return fmt.Errorf("%s: no server %q", envTask, t.Kind)
}

// work runs the child's client. What failed is part of its result: only what keeps
// it from having one is an error.
func (t task) work(ctx context.Context, s *server) error {
	n, err := s.open(ctx, s.busy(options{clientID: "web", store: storage.NewFile(t.Store)}))
	if err != nil {
		return err
	}
	l := n.load(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
			l.note(n.Refresh(ctx), 0)
			fmt.Println("done")
		}
	}()
	n.tell(ctx, gone)
	var r result
	if err := errors.Join(l.end(), n.Close()); err != nil {
		r.Fault = err.Error()
	}
	r.Renewals, r.Requests, r.Refused = n.tap.Renewals(), l.Requests, n.base.refused.Load()
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(t.Result, data, 0o600)
}

// tell prints a word for each new token, until gone.
func (n *session) tell(ctx context.Context, gone <-chan struct{}) {
	told := map[evertoken.Kind]int{}
	for {
		_, _, changed := n.seen.count("") // before the counts: what comes after it wakes us
		for _, k := range []evertoken.Kind{evertoken.Renewed, evertoken.Adopted} {
			for now := n.seen.number(k); told[k] < now; told[k]++ {
				fmt.Println(k)
			}
		}
		select {
		case <-changed:
		case <-gone:
			return
		case <-ctx.Done():
			return
		}
	}
}
