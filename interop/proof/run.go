package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"

	"github.com/evertoken/evertoken/storage"
)

// A trial is one case at one server, while it runs.
type trial struct {
	*server
	programs programs
	ports    *ports
	figures  []string
}

// say notes a figure for the table.
func (t *trial) say(format string, args ...any) {
	t.figures = append(t.figures, fmt.Sprintf(format, args...))
}

// store is the file store of the case.
func (t *trial) store() storage.Store { return storage.NewFile(t.storeDir()) }

func (t *trial) storeDir() string { return t.dir + "/session" }

// A proofCase is one thing that has to be so. Its server runs when it begins.
type proofCase struct {
	name string
	run  func(context.Context, *trial) error
}

// atOnce is how many cases run side by side: they wait more than they work.
const atOnce = 6

// runAll runs the wanted cases at the servers that they are for. The rows are in
// the order of the cases, whichever was done first.
func runAll(ctx context.Context, p programs, wanted *regexp.Regexp) []row {
	ports := newPorts()
	var rows []*row
	var wg sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for _, k := range append(p.kinds(), p.matchingKind()) {
		for _, c := range k.cases() {
			if !wanted.MatchString(c.name) && !wanted.MatchString(k.name) {
				continue
			}
			r := &row{name: c.name, server: k.name}
			rows = append(rows, r)
			wg.Go(func() {
				free <- struct{}{}
				defer func() { <-free }()
				r.figures, r.err = runCase(ctx, p, k, c, ports)
				fmt.Fprintf(os.Stderr, "%-6s %s, %s\n", r.result(), r.name, r.server)
			})
		}
	}
	wg.Wait()
	all := make([]row, len(rows))
	for i, r := range rows {
		all[i] = *r
	}
	return all
}

// runCase starts a server, runs the case, and ends the server.
func runCase(ctx context.Context, p programs, k kind, c proofCase, ports *ports) (figures []string, err error) {
	dir, err := os.MkdirTemp("", "evertoken-interop-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := newServer(k, dir, ports)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	stop, err := s.serveAPI()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	t := &trial{server: s, programs: p, ports: ports}
	err = c.run(ctx, t)
	return t.figures, err
}

// cases are those that a server of this kind takes part in.
func (k kind) cases() []proofCase {
	if k.name == matchingName {
		return []proofCase{{"a report of a server never seen", reportOnMatching}}
	}
	all := []proofCase{
		{"first token", firstToken},
		{"50 renewals under load", renewals},
		{"client restarted in the middle", restart},
		{"revoked session noticed", revoked},
		{"refresh token expired", expired},
		{"wrong client secret", wrongSecret},
		{"server stopped and started again", outage},
		{"four processes on one file store", processes},
		{"a report of a server never seen", reportOnReal},
	}
	if k.name == "oidc-provider" {
		all = append(all, proofCase{"DPoP with mandatory nonces", dpop}, proofCase{"device grant", device})
	}
	return all
}
