package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
)

// A holding is what one session at rest takes of a process.
type holding struct {
	name              string
	bytes, goroutines float64
}

// measureSessions compares what many sessions take at rest, and shows what a check
// of a pool costs as it grows.
func measureSessions(ctx context.Context, sessions int) (section, error) {
	s := section{title: "Many sessions in one process", text: fmt.Sprintf(sessionsText, sessions)}
	all := make([]holding, 0, 1+len(peers()))
	for _, p := range append([]peer{{name: "evertoken, Pool", connect: connectPool()}}, peers()...) {
		h, err := hold(ctx, p, sessions)
		if err != nil {
			return section{}, fmt.Errorf("%s: %w", p.name, err)
		}
		all = append(all, h)
	}
	growth, err := measureGrowth(ctx)
	s.tables = []table{holdings(all), growth}
	return s, err
}

// hold makes sessions that each have sent a request, and weighs them.
func hold(ctx context.Context, p peer, sessions int) (holding, error) {
	f, err := listen(time.Hour)
	if err != nil {
		return holding{}, err
	}
	defer f.close()
	clients := make([]http.RoundTripper, sessions)
	heap, goroutines := inUse()
	for i := range clients {
		t, end, err := p.connect(ctx, f, f)
		if err != nil {
			return holding{}, err
		}
		defer end()
		if _, err := alone(ctx, t, 1); err != nil {
			return holding{}, err
		}
		clients[i] = t
	}
	heap2, goroutines2 := inUse()
	runtime.KeepAlive(clients)
	n := float64(sessions)
	return holding{p.name, float64(heap2-heap) / n, float64(goroutines2-goroutines) / n}, nil
}

// inUse is the memory and the goroutines in use, once what was begun has ended.
func inUse() (heap, goroutines int) {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
		<-time.After(50 * time.Millisecond) // connections take that long to be gone
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), runtime.NumGoroutine()
}

// connectPool returns what connects one more session of a pool each time.
func connectPool() connector {
	var pool *evertoken.Pool
	made := 0
	return func(ctx context.Context, f *farEnd, base http.RoundTripper) (http.RoundTripper, func(), error) {
		var err error
		if pool == nil {
			pool, err = newPool(f, base)
		}
		if err != nil {
			return nil, nil, err
		}
		made++
		client, err := pool.Client(ctx, "user-"+strconv.Itoa(made))
		if err != nil {
			return nil, nil, err
		}
		end := func() { _ = pool.Close() } // of all, as often as it is called
		return client.Transport(), end, client.SignIn(ctx, evertoken.Token{RefreshToken: "refresh"})
	}
}

func newPool(f *farEnd, base http.RoundTripper) (*evertoken.Pool, error) {
	issuer, err := issuer(f)
	if err != nil {
		return nil, err
	}
	return evertoken.NewPool(evertoken.PoolConfig{Config: evertoken.Config{
		Issuer: issuer, Origins: []string{apiOrigin}, Base: base, Logger: slog.New(slog.DiscardHandler),
	}})
}

func holdings(all []holding) table {
	t := table{title: "A session at rest", head: []string{"client", "bytes a session", "goroutines a session"}}
	for _, h := range all {
		t.add(h.name, fmt.Sprintf("%.0f", h.bytes), fmt.Sprintf("%.2f", h.goroutines))
	}
	return t
}

// measureGrowth runs the benchmark of the pool, which is in its own package because
// it looks at when checks are made.
func measureGrowth(ctx context.Context) (table, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-C", "..", "-run", "-", "-bench", "^BenchmarkPool$", "-benchtime", "21x", ".").CombinedOutput()
	if err != nil {
		return table{}, fmt.Errorf("%w\n%s", err, out)
	}
	return readGrowth(out)
}

// readGrowth makes a table of what a benchmark has printed.
func readGrowth(out []byte) (table, error) {
	t := table{title: "A pool as it grows", head: []string{"sessions", "time of a check that is due", "goroutines at most", "bytes a session, beside its token"}}
	for line := range strings.Lines(string(out)) {
		_, rest, ok := strings.Cut(line, "/sessions=")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		found := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			found[fields[i+1]], _ = strconv.ParseFloat(fields[i], 64)
		}
		sessions, _, _ := strings.Cut(fields[0], "-")
		t.add(sessions, time.Duration(found["ns/check"]).Round(100*time.Nanosecond).String(),
			fmt.Sprintf("%.0f", found["goroutines"]), fmt.Sprintf("%.0f", found["B/session"]))
	}
	if len(t.rows) == 0 {
		return table{}, fmt.Errorf("no figures in: %s", out)
	}
	return t, nil
}

const sessionsText = `What each of %d sessions takes while nobody uses it, with a token that lives for an hour: the growth of the
heap after a collection, the token and all that a client has beside it included, and the goroutines. Only evertoken
renews all of these sessions by itself; the others do nothing before their next request. The second table is of a
pool alone: 500 checks are due at a time, of however many sessions.`
