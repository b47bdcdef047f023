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

// The modes in which the issuer answers: no request fails or waits, and each
// renewal takes one exchange.
func TestExpiryIsNotNoticed(t *testing.T) {
	for _, m := range modes() {
		if m.fault.refuses != nil || m.fault.down != nil {
			continue
		}
		o := inBubble(t, tokenLife, func(ctx context.Context, f *farEnd) (outcome, error) { return m.try(ctx, own(), f) })
		failed, waited, _, worst := o.count()
		if failed+waited > 0 || len(o.samples) < callers*int(m.span/pace) {
			t.Errorf("%s: of %d requests %d failed and %d waited, one for %v", m.name, len(o.samples), failed, waited, worst)
		}
		lifetimes := int((m.idle + m.span) / tokenLife)
		// One exchange may be under way at the end.
		if o.asked-o.minted > 1 || o.minted < lifetimes || o.used > o.minted {
			t.Errorf("%s: %d exchanges brought %d tokens in %d lifetimes; %d were used", m.name, o.asked, o.minted, lifetimes, o.used)
		}
	}
}

// The modes in which it does not always answer: nobody waits for longer than one
// attempt that failed and one that did not, and each exchange brings a token but the
// refused ones.
func TestExpiryWhileTheIssuerFails(t *testing.T) {
	for _, m := range modes() {
		if m.fault.refuses == nil && m.fault.down == nil {
			continue
		}
		o := inBubble(t, tokenLife, func(ctx context.Context, f *farEnd) (outcome, error) { return m.try(ctx, own(), f) })
		failed, waited, _, worst := o.count()
		if worst > 2*issuerDelay+slow {
			t.Errorf("%s: of %d requests %d failed and %d waited, one for %v", m.name, len(o.samples), failed, waited, worst)
		}
		refused := 0
		for n := range o.asked {
			if m.fault.refuses != nil && m.fault.refuses(n+1) {
				refused++
			}
		}
		if o.asked-o.minted-refused > 1 || o.minted < int(m.span/tokenLife) || o.used > o.minted {
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
