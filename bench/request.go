package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// crowd is how many goroutines send requests at the same time.
const crowd = 128

// An effort is how much is measured.
type effort struct {
	rounds   int
	turns    int // of each client in a round, of which the fastest counts
	requests int // in one turn
}

// A signer is a client that is ready: it holds a token that lasts.
type signer struct {
	name, frames string
	http.RoundTripper
}

// A cost is what a request takes at one client. The ratios are of each round.
type cost struct {
	alone, crowd            []float64 // ns for each request
	toFloor, crowdToFloor   []float64
	toOAuth2, crowdToOAuth2 []float64
	allocs, bytes           uint64
	contended               int64
}

// still is the API that answers at once and with nothing, so that the signing of
// a request is all that is measured.
type still struct{ answer *http.Response }

// RoundTrip implements http.RoundTripper.
func (s still) RoundTrip(*http.Request) (*http.Response, error) { return s.answer, nil }

// measureRequests compares what clients add to a request while their token is
// valid.
func measureRequests(ctx context.Context, e effort) (section, error) {
	signers, stop, err := signers(ctx)
	if err != nil {
		return section{}, err
	}
	defer stop()
	costs := make(map[string]*cost)
	for _, s := range signers {
		costs[s.name] = &cost{}
	}
	for range e.rounds {
		if err := compareOnce(ctx, signers, costs, e); err != nil {
			return section{}, err
		}
	}
	for _, s := range signers {
		c := costs[s.name]
		if c.allocs, c.bytes, err = allocations(ctx, s, e.requests); err != nil {
			return section{}, err
		}
		if c.contended, err = contention(ctx, s, e.requests*e.rounds); err != nil {
			return section{}, err
		}
	}
	return requestSection(e, signers, costs), nil
}

// signers connects all peers and the floor, and has each make its first request.
func signers(ctx context.Context) ([]signer, func(), error) {
	base := still{&http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}}
	all := []signer{{"floor", "main.(*floor)", &floor{
		scheme: "https", host: "api.example.com", expiry: time.Now().Add(time.Hour),
		authorization: []string{"Bearer " + strconv.FormatInt(time.Now().UnixNano(), 10)}, base: base,
	}}}
	var stops []func()
	stop := func() {
		for _, f := range stops {
			f()
		}
	}
	for _, p := range peers() {
		f, err := listen(time.Hour)
		if err != nil {
			return nil, stop, err
		}
		stops = append(stops, f.close)
		t, end, err := p.connect(ctx, f, base)
		if err != nil {
			return nil, stop, fmt.Errorf("%s: %w", p.name, err)
		}
		stops = append(stops, end)
		if _, err := alone(ctx, t, 1); err != nil {
			return nil, stop, fmt.Errorf("%s: %w", p.name, err)
		}
		all = append(all, signer{p.name, p.frames, t})
	}
	return all, stop, nil
}

// compareOnce is one round. Who begins changes from turn to turn.
func compareOnce(ctx context.Context, signers []signer, costs map[string]*cost, e effort) error {
	one, many := make(map[string]float64), make(map[string]float64)
	for turn := range e.turns * len(signers) {
		s := signers[(turn+turn/len(signers))%len(signers)]
		if err := fastest(ctx, one, s, e.requests, alone); err != nil {
			return err
		}
		if err := fastest(ctx, many, s, e.requests, together); err != nil {
			return err
		}
	}
	for name, c := range costs {
		c.alone, c.crowd = append(c.alone, one[name]), append(c.crowd, many[name])
		c.toFloor = append(c.toFloor, one[name]/one["floor"])
		c.crowdToFloor = append(c.crowdToFloor, many[name]/many["floor"])
		c.toOAuth2 = append(c.toOAuth2, one[name]/one["x/oauth2"])
		c.crowdToOAuth2 = append(c.crowdToOAuth2, many[name]/many["x/oauth2"])
	}
	return nil
}

// fastest takes one turn, and keeps how long a request took if that is less than in
// the turns before.
func fastest(ctx context.Context, times map[string]float64, s signer, n int, send func(context.Context, http.RoundTripper, int) (time.Duration, error)) error {
	took, err := send(ctx, s, n)
	if ns := float64(took) / float64(n); times[s.name] == 0 || ns < times[s.name] {
		times[s.name] = ns
	}
	return err
}

// request is one with five headers.
func request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, apiAddress, nil)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Accept": "application/json", "Accept-Language": "en", "User-Agent": "bench/1",
		"X-Request-Id": "8c1f7a", "Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	} {
		req.Header.Set(name, value)
	}
	return req, nil
}

// alone is how long one goroutine takes for n requests.
func alone(ctx context.Context, t http.RoundTripper, n int) (time.Duration, error) {
	req, err := request(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for range n {
		resp, err := t.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		_ = resp.Body.Close()
	}
	return time.Since(began), nil
}

// together is how long a crowd takes for n requests.
func together(ctx context.Context, t http.RoundTripper, n int) (time.Duration, error) {
	var wg sync.WaitGroup
	failed := make(chan error, crowd)
	began := time.Now()
	for range crowd {
		wg.Go(func() {
			if _, err := alone(ctx, t, n/crowd+1); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	close(failed)
	return took, <-failed
}

// allocations are those of one request.
func allocations(ctx context.Context, t http.RoundTripper, n int) (count, bytes uint64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = alone(ctx, t, n)
	runtime.ReadMemStats(&after)
	return (after.Mallocs - before.Mallocs) / uint64(n), (after.TotalAlloc - before.TotalAlloc) / uint64(n), err
}

func requestSection(e effort, signers []signer, costs map[string]*cost) section {
	t := table{head: []string{
		"client", "alone", "× floor", "× x/oauth2",
		strconv.Itoa(crowd) + " goroutines", "× floor", "× x/oauth2", "allocations", "bytes", "lock contentions",
	}}
	bars := make([]bar, 0, len(signers))
	for _, s := range signers {
		c := costs[s.name]
		one, many := median(c.alone), median(c.crowd)
		t.add(s.name,
			fmt.Sprintf("%.0f ns", one), fmt.Sprintf("%.2f", median(c.toFloor)), fmt.Sprintf("%.2f", median(c.toOAuth2)),
			fmt.Sprintf("%.0f ns", many), fmt.Sprintf("%.2f", median(c.crowdToFloor)), fmt.Sprintf("%.2f", median(c.crowdToOAuth2)),
			strconv.FormatUint(c.allocs, 10), strconv.FormatUint(c.bytes, 10), strconv.FormatInt(c.contended, 10))
		bars = append(bars, bar{s.name, one, many})
	}
	return section{
		title:  "What a request costs",
		text:   fmt.Sprintf(requestText, e.requests, e.rounds, e.turns),
		tables: []table{t},
		charts: []chart{{"request.svg", "Time per request by client", barChart("Time per request with a valid token", bars)}},
	}
}

const requestText = `What a client adds to a request with five headers while its token is valid; the answer comes at once, from
memory. All clients take turns of %d requests, alone and with 128 goroutines at once. There are %d rounds; in each,
the fastest of %d turns counts for a client. Times and ratios are medians over the rounds, a ratio being that of two
clients in one round. The floor does by hand only what cannot be left out: a shallow copy of the request, a clone of
the header map, one header, a comparison of the origin, a look at the clock. Lock contentions are those of a mutex
profile (every event, 128 goroutines) with a function of the client on the stack, without those of the runtime's
own allocator locks.`
