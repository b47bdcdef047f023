package main

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// slow is what nobody should have to wait for while a valid token is there.
const slow = 100 * time.Millisecond

// A traffic is what callers send: each of them one request every pace, for span.
type traffic struct {
	callers int
	pace    time.Duration
	span    time.Duration
	burst   bool // all at the same moment instead of one after the other
	cancel  bool // a caller's context, as soon as its request has returned
}

// A sample is one request. It counts from when it was due, not from when it was
// sent: one that waits must not hide those that it holds back.
type sample struct {
	due    time.Duration // since the traffic began
	took   time.Duration
	failed bool
	left   time.Duration // of the newest token, when the request was due, as the API counts
}

// flow sends the traffic and returns what became of it. When ctx ends, whatever is
// still due is counted as if it were answered then.
func (tr traffic) flow(ctx context.Context, f *farEnd, t http.RoundTripper) []sample {
	all := make([][]sample, tr.callers)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			phase := tr.pace * time.Duration(i) / time.Duration(tr.callers)
			if tr.burst {
				phase = 0
			}
			all[i] = tr.call(ctx, f, t, began, phase)
		})
	}
	wg.Wait()
	var samples []sample
	for _, s := range all {
		samples = append(samples, s...)
	}
	return samples
}

// call is one caller.
func (tr traffic) call(ctx context.Context, f *farEnd, t http.RoundTripper, began time.Time, due time.Duration) []sample {
	var samples []sample
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for ; due < tr.span; due += tr.pace {
		at := began.Add(due)
		if wait := time.Until(at); wait > 0 {
			timer.Reset(wait)
			<-timer.C
		}
		s := sample{due: due, left: f.left(at)}
		if ctx.Err() == nil {
			s.failed = tr.send(ctx, t) != nil && ctx.Err() == nil
		}
		s.took = time.Since(at)
		samples = append(samples, s)
	}
	return samples
}

func (tr traffic) send(ctx context.Context, t http.RoundTripper) error {
	if tr.cancel {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
	}
	return get(ctx, t)
}

// get makes one request, which the API has to accept.
func get(ctx context.Context, t http.RoundTripper) error {
	req, err := request(ctx)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errRefused
	}
	return nil
}
