package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

var errRefused = errors.New("the API refused the token")

const (
	tokenLife     = 2 * time.Second
	issuerDelay   = 300 * time.Millisecond
	callers       = 200
	pace          = 200 * time.Millisecond
	span          = 10 * time.Second
	firstDelay    = 2 * time.Second // of the exchange that a waiter waits for
	firstDeadline = 100 * time.Millisecond
	whileThere    = "while a token was there"
)

// A mode is a way in which tokens come to their end.
type mode struct {
	name  string
	fault fault
	idle  time.Duration // without any request, after the first
	traffic
}

func modes() []mode {
	steady := traffic{callers: callers, pace: pace, span: span}
	cancelled, burst := steady, steady
	cancelled.cancel = true
	burst.burst, burst.span = true, 3*time.Second
	return []mode{
		{name: "Steady", traffic: steady},
		{name: "Every second exchange answers 503", traffic: steady,
			fault: fault{refuses: func(asked int) bool { return asked%2 == 0 }}},
		{name: "The caller's context is cancelled as soon as its request returns", traffic: cancelled},
		{name: "The token endpoint is down for three quarters of a token's life", traffic: steady,
			fault: fault{down: func(minted int, since time.Duration) bool { return minted == 3 && since < tokenLife*3/4 }}},
		{name: "Idle for ten lifetimes, then a burst", traffic: burst, idle: 10 * tokenLife},
	}
}

// An outcome is what one client made of one mode.
type outcome struct {
	began               time.Time // the traffic
	samples             []sample
	asked, minted, used int
}

// try runs a client through a mode. Its first request, which waits for the first
// token, is not counted.
func (m mode) try(ctx context.Context, p peer, f *farEnd) (outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.delay, f.fault = issuerDelay, m.fault
	t, stop, err := p.connect(ctx, f, f)
	if err != nil {
		return outcome{}, err
	}
	defer stop()
	for try := 1; err != nil || try == 1; try++ {
		// A machine that stands still may take the token's whole life from it.
		if err = get(ctx, t); err != nil && try == 5 {
			return outcome{}, err
		}
	}
	pause := time.NewTimer(m.idle)
	defer pause.Stop()
	<-pause.C
	defer time.AfterFunc(m.span+tokenLife, cancel).Stop() // some would go on for minutes
	o := outcome{began: time.Now()}
	o.samples = m.flow(ctx, f, t)
	o.asked, o.minted, o.used = f.counts()
	return o, nil
}

// count returns how many samples failed, were slow, and were slow although a
// token was there, and the longest of all.
func (o outcome) count() (failed, waited, needlessly int, worst time.Duration) {
	for _, s := range o.samples {
		worst = max(worst, s.took)
		if s.failed {
			failed++
		}
		if s.took > slow {
			waited++
			if s.left > slow {
				needlessly++
			}
		}
	}
	return failed, waited, needlessly, worst
}

// steadiest is a client with a token that never ends: what it shows is the
// machine's doing.
func steadiest() peer {
	return peer{name: "(no expiry)", connect: func(_ context.Context, _ *farEnd, base http.RoundTripper) (http.RoundTripper, func(), error) {
		expiry := time.Now().Add(time.Hour)
		return &floor{"https", "api.example.com", []string{"Bearer " + strconv.FormatInt(expiry.UnixNano(), 10)}, expiry, base}, func() {}, nil
	}}
}

// measureExpiry runs all clients at the same time through each mode.
// patience is for how long they are tried again where the machine stood still.
func measureExpiry(ctx context.Context, patience time.Duration) (section, error) {
	s := section{title: "What requests wait for when tokens expire", text: expiryText}
	all := append(peers(), steadiest())
	trials := modes()
	for i, m := range trials {
		outcomes, err := m.quietest(ctx, all, time.Now().Add(patience/time.Duration(len(trials))))
		if err != nil {
			return section{}, fmt.Errorf("%s: %w", strings.ToLower(m.name), err)
		}
		s.tables = append(s.tables, modeTable(m, all, outcomes))
		if i == 0 {
			s.charts = []chart{{"expiry.svg", "Latency over time across three expiries by client", expiryChart(peers(), outcomes)}}
		}
	}
	waits, err := eachAtOnce(peers(), func(p peer) (time.Duration, error) {
		return onPort(time.Hour, func(f *farEnd) (time.Duration, error) { return firstWait(ctx, p, f) })
	})
	s.tables = append(s.tables, waiterTable(peers(), waits))
	return s, err
}

// quietest tries a mode again if the machine stood still meanwhile, as the last of
// the clients shows, and returns the try in which it did so least. None begins
// after until but the first.
func (m mode) quietest(ctx context.Context, all []peer, until time.Time) ([]outcome, error) {
	var best []outcome
	stood := time.Duration(math.MaxInt64)
	for try := 0; try == 0 || stood > slow && time.Now().Before(until); try++ {
		outcomes, err := eachAtOnce(all, func(p peer) (outcome, error) {
			return onPort(tokenLife, func(f *farEnd) (outcome, error) { return m.try(ctx, p, f) })
		})
		if err != nil {
			return nil, err
		}
		if _, _, _, worst := outcomes[len(all)-1].count(); worst < stood {
			best, stood = outcomes, worst
		}
	}
	control := len(all) - 1
	stalls := best[control].stalls()
	for i := range control {
		best[i] = best[i].without(stalls)
	}
	return best, nil
}

// eachAtOnce does the same with all peers at the same time.
func eachAtOnce[T any](all []peer, do func(peer) (T, error)) ([]T, error) {
	results, errs := make([]T, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() {
			if results[i], errs[i] = do(p); errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", p.name, errs[i])
			}
		})
	}
	wg.Wait()
	return results, errors.Join(errs...)
}

// onPort does something with a farEnd on a port of loopback.
func onPort[T any](life time.Duration, do func(*farEnd) (T, error)) (T, error) {
	f, err := listen(life)
	if err != nil {
		var none T
		return none, err
	}
	defer f.close()
	return do(f)
}

// firstWait is how long a caller with a deadline waits while somebody else's
// request waits for the first token.
func firstWait(ctx context.Context, p peer, f *farEnd) (time.Duration, error) {
	f.delay = firstDelay
	t, stop, err := p.connect(ctx, f, f)
	if err != nil {
		return 0, err
	}
	defer stop()
	first := make(chan error, 1)
	go func() { first <- get(ctx, t) }()
	pause := time.NewTimer(firstDelay / 4)
	defer pause.Stop()
	<-pause.C
	began := time.Now()
	hurried, cancel := context.WithTimeout(ctx, firstDeadline)
	defer cancel()
	_ = get(hurried, t) // that it fails is what a deadline is for
	took := time.Since(began)
	return took, <-first
}

func modeTable(m mode, all []peer, outcomes []outcome) table {
	t := table{title: m.name, head: []string{
		"client", "requests", "failed", "over 100 ms", whileThere, "longest", "exchanges", "tokens issued", "tokens used",
	}}
	for i, p := range all {
		o := outcomes[i]
		failed, waited, needlessly, worst := o.count()
		cells := []string{p.name}
		for _, n := range []int{len(o.samples), failed, waited, needlessly} {
			cells = append(cells, strconv.Itoa(n))
		}
		cells = append(cells, worst.Round(time.Millisecond).String())
		for _, n := range []int{o.asked, o.minted, o.used} {
			cells = append(cells, strconv.Itoa(n))
		}
		t.add(cells...)
	}
	t.note = t.better("failed", whileThere, "exchanges")
	return t
}

func waiterTable(all []peer, waits []time.Duration) table {
	t := table{
		title: fmt.Sprintf("A caller with a deadline of %v while the first exchange, somebody else's, takes %v", firstDeadline, firstDelay),
		head:  []string{"client", "returns after"},
	}
	for i, p := range all {
		t.add(p.name, waits[i].Round(time.Millisecond).String())
	}
	t.note = t.better("returns after")
	return t
}

// expiryChart shows the longest wait in slices of 25 ms, over three lifetimes and
// a little more.
func expiryChart(all []peer, outcomes []outcome) string {
	const slice, shown = 25 * time.Millisecond, 7 * time.Second
	var strips []strip
	for i, p := range all {
		waits := make([]float64, shown/slice)
		for _, s := range outcomes[i].samples {
			if s.due < shown {
				j := s.due / slice
				waits[j] = max(waits[j], float64(s.took)/float64(time.Millisecond))
			}
		}
		strips = append(strips, strip{p.name, waits})
	}
	title := fmt.Sprintf("Latency while tokens of %v expire, and the issuer takes %v", tokenLife, issuerDelay)
	return stripChart(title, strips, int(shown/time.Second), 400)
}

const expiryText = `200 goroutines send a request every 200 ms each, for 10 s (3 s in the burst), in real time. Tokens live for 2 s
from the moment of the answer, for which the token endpoint takes 300 ms. Exchanges go over loopback, requests to
an API in memory, which refuses a token that has ended. All clients go through a mode at the same time, each with
an issuer of its own. A request counts from when it was due, so that one that waits does not hide those that it
holds back; the one that waits for the first token is not counted. "While a token was there" counts the waits that
began while the newest token was good at the API for another 100 ms.

The last row has a token that never ends: its waits are the machine's doing, which was busy with other things as
well. Where one of them took 10 ms or longer, the machine stood still; that time is subtracted from the waits of
all clients, and a mode in which it was longer than 100 ms was tried again, for a while, and the quietest try
counts. What a client did too late for that reason is not undone.

Each client is set up as its user would for such tokens. Those that renew in the background begin when three
quarters of the life are left, so that a failure can be repaired: evertoken (CheckInterval 100 ms, ExpiryWindow
1.5 s), cloud auth (EarlyTokenExpiry 1.5 s), smithy (RefreshBeforeExpires 1.5 s). Those that make requests wait
begin as late as can be, 100 ms before the end: x/oauth2 (ReuseTokenSourceWithExpiry) and smithy with
DisableAsyncRefresh. The margin of ghinstallation is a minute and cannot be set; its tokens claim to live for a
minute longer than they do, less those 100 ms. smithy's cache is no RoundTripper; here it has one of a few
lines around its signer. When cloud auth has to wait for a token it takes one that ends within 225 s for
none, so with tokens this short each waiting request makes an exchange of its own; with Google's, which live for
an hour, one serves all.`
