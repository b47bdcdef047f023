package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs do in virtual time, in which nothing takes time but what is waited
// for.
func inBubble[T any](t *testing.T, life time.Duration, do func(context.Context, *farEnd) (T, error)) T {
	t.Helper()
	var result T
	synctest.Test(t, func(t *testing.T) {
		var err error
		result, err = onPipe(life, func(f *farEnd) (T, error) { return do(t.Context(), f) })
		if err != nil {
			t.Fatal(err)
		}
	})
	return result
}

// In no mode does a request fail. None waits before the end of the token that is
// there, which counts from when it was asked for. Each renewal takes one exchange.
func TestExpiryIsNotNoticed(t *testing.T) {
	for _, m := range modes() {
		o := inBubble(t, tokenLife, func(ctx context.Context, f *farEnd) (outcome, error) { return m.try(ctx, own(), f) })
		failed, early := 0, 0
		for _, s := range o.samples {
			if s.failed {
				failed++
			}
			if s.took > slow && s.left > issuerDelay {
				early++
			}
		}
		_, waited, _, worst := o.count()
		if failed+early > 0 || waited > 0 && m.fault.down == nil || len(o.samples) < callers*int(m.span/pace) {
			t.Errorf("%s: of %d requests %d failed and %d waited, %d too early, one for %v", m.name, len(o.samples), failed, waited, early, worst)
		}
		refused := 0
		for n := range o.asked {
			if m.fault.refuses != nil && m.fault.refuses(n+1) {
				refused++
			}
		}
		// One exchange may be under way at the end.
		if o.asked-o.minted-refused > 1 || o.minted < int((m.idle+m.span)/tokenLife) || o.used > o.minted {
			t.Errorf("%s: %d exchanges brought %d tokens, %d were refused; %d were used", m.name, o.asked, o.minted, refused, o.used)
		}
	}
}

func TestWaiterWithDeadline(t *testing.T) {
	took := inBubble(t, time.Hour, func(ctx context.Context, f *farEnd) (time.Duration, error) { return firstWait(ctx, own(), f) })
	if took > 120*time.Millisecond {
		t.Errorf("it returns after %v", took)
	}
}

// What is measured tells clients apart: one that refreshes in the request's way is
// seen to do so.
func TestBlockingIsNoticed(t *testing.T) {
	for _, p := range peers() {
		if p.name != "smithy, blocking" {
			continue
		}
		o := inBubble(t, tokenLife, func(ctx context.Context, f *farEnd) (outcome, error) { return modes()[0].try(ctx, p, f) })
		failed, waited, _, worst := o.count()
		if failed > 0 || waited < callers || worst < issuerDelay-slow || worst > issuerDelay+slow {
			t.Errorf("%d failed, %d waited, longest %v", failed, waited, worst)
		}
	}
}
