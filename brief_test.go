package evertoken

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// inBriefWorld is a world of tokens that live for four seconds: they are due after
// two, not sent any more after three, and at their end after four.
func inBriefWorld(t *testing.T, f func(*testing.T, *world)) {
	t.Helper()
	inWorld(t, 4*time.Second, func(c *Config) { c.CheckInterval, c.WindowFraction = 100*time.Millisecond, 0.5 }, func(t *testing.T, w *world) {
		w.signIn()
		f(t, w)
	})
}

// asking asks for the token as a request does.
func (w *world) asking() <-chan result {
	done := make(chan result, 1)
	go func() {
		token, err := w.client.Token(w.t.Context())
		done <- result{token.AccessToken, err}
	}()
	synctest.Wait()
	return done
}

type result struct {
	access string
	err    error
}

func unavailable(after time.Duration) func(context.Context, Token) (Token, error) {
	return fails(&RefreshError{Outcome: Unavailable, StatusCode: 503, RetryAfter: after})
}

// The last moments of a token are left alone, unless attempts fail: then it is sent
// to its very end, and nobody waits or fails before.
func TestLastMomentsOfAToken(t *testing.T) {
	inBriefWorld(t, func(t *testing.T, w *world) {
		answered := make(chan struct{})
		defer close(answered)
		w.issuer.then(unavailable(time.Second), w.issuer.after(answered))
		w.pass(3500 * time.Millisecond)
		w.wantCalls(2)
		for _, d := range []time.Duration{0, 500*time.Millisecond - 1} {
			w.pass(d)
			if done := w.asking(); len(done) == 0 || (<-done).access != "access-1" {
				t.Error("it is not served at once")
			}
		}
		w.pass(1)
		if done := w.asking(); len(done) > 0 {
			t.Errorf("after its end there is %+v", <-done)
		}
	})
	inBriefWorld(t, func(t *testing.T, w *world) {
		w.issuer.then(unavailable(time.Minute))
		w.pass(4*time.Second - 1)
		w.wantToken("access-1")
		w.pass(1)
		var failed *RefreshError
		if got := <-w.asking(); !errors.As(got.err, &failed) {
			t.Errorf("after its end there is %+v", got)
		}
	})
	inBriefWorld(t, func(t *testing.T, w *world) {
		answered := make(chan struct{})
		w.issuer.then(w.issuer.after(answered))
		w.pass(3500 * time.Millisecond)
		done := w.asking()
		if len(done) > 0 {
			t.Errorf("although nothing has failed there is %+v", <-done)
		}
		close(answered)
		if got := <-done; got.access != "access-2" {
			t.Errorf("%+v", got)
		}
	})
}

// Nobody knows when in an exchange the issuer began to count. While attempts fail, the
// token is sent for as long as it may be good, a second after its end at most.
func TestVeryEndOfAToken(t *testing.T) {
	const trip = 300 * time.Millisecond
	inBriefWorld(t, func(t *testing.T, w *world) {
		w.issuer.then(func(context.Context, Token) (Token, error) {
			sent := w.clock.Now()
			<-w.clock.Timer(trip).C
			token := w.issuer.mint()
			token.Expiry = sent.Add(4 * time.Second)
			return token, nil
		}, unavailable(time.Minute))
		w.pass(2500 * time.Millisecond)
		w.wantToken("access-2")
		end := w.client.Status().Expiry.Add(trip)
		w.pass(end.Sub(w.clock.Now()) - 1)
		if done := w.asking(); len(done) == 0 || (<-done).access != "access-2" {
			t.Error("it is not served at once")
		}
		w.pass(1)
		var failed *RefreshError
		if got := <-w.asking(); !errors.As(got.err, &failed) {
			t.Errorf("after its end there is %+v", got)
		}
	})
}

// Who finds no token less than a second before the next attempt waits for it.
func TestShortHoldIsWaitedOut(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(*world)
		access    string
		err       error
		calls     int
	}{
		"renewed":    {func(w *world) { w.pass(500 * time.Millisecond) }, "access-2", nil, 2},
		"signed in":  {(*world).signIn, "access-2", nil, 1},
		"signed out": {func(w *world) { _ = w.client.SignOut(w.t.Context()) }, "", ErrSignedOut, 1},
		"closed":     {func(w *world) { w.closing() }, "", ErrClosed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBriefWorld(t, func(t *testing.T, w *world) {
				w.pass(2050 * time.Millisecond) // the check that finds the token due is at 2100
				w.issuer.then(unavailable(2400 * time.Millisecond))
				w.pass(1950 * time.Millisecond)
				w.wantCalls(1)
				done := w.asking()
				if len(done) > 0 {
					t.Fatalf("before the next attempt there is %+v", <-done)
				}
				tt.meanwhile(w)
				if got := <-done; got.access != tt.access || !errors.Is(got.err, tt.err) {
					t.Errorf("%+v", got)
				}
				w.pass(time.Second)
				w.wantCalls(tt.calls)
			})
		})
	}
}

// A longer one is told of.
func TestLongHoldIsToldOf(t *testing.T) {
	inBriefWorld(t, func(t *testing.T, w *world) {
		w.issuer.then(unavailable(4 * time.Second))
		w.pass(4 * time.Second)
		var failed *RefreshError
		if got := <-w.asking(); !errors.As(got.err, &failed) {
			t.Errorf("%+v", got)
		}
		w.wantCalls(1)
	})
}
