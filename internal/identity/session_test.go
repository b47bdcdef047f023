package identity

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestWithoutRotationATokenStays(t *testing.T) {
	b := newBench(t, nil)
	_, first := b.login(true)
	for range 3 {
		if got := b.mustRenew(first); got != first {
			t.Fatal("rotated")
		}
	}
	if got := (Counts{Refreshes: 3}); b.Counts() != got {
		t.Errorf("counts %+v, want %+v", b.Counts(), got)
	}
}

func TestRotationKillsTheOldTokenAtOnce(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.Rotate = true })
	_, first := b.login(true)
	second := b.mustRenew(first)
	b.mustRefuse(first)
	b.mustRenew(second) // without reuse detection the session goes on
	if got := (Counts{Refreshes: 3, SpentTwice: 1}); b.Counts() != got {
		t.Errorf("counts %+v, want %+v", b.Counts(), got)
	}
}

func TestGraceAnswersWithTheSameToken(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.Rotate, cfg.DetectReuse, cfg.ReuseGrace = true, true, 10*time.Second })
	_, first := b.login(true)
	second := b.mustRenew(first)
	b.pass(10*time.Second - 1)
	if got := b.mustRenew(first); got != second {
		t.Fatal("the grace rotated again")
	}
	if got := b.Counts().SpentTwice; got != 0 {
		t.Errorf("spent twice: %d, want 0 within the grace", got)
	}
	b.pass(1)
	b.mustRefuse(first)
	b.mustRefuse(second) // reuse was detected: the family is gone
}

func TestGraceEndsWhenTheNewTokenIsSpent(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.Rotate, cfg.DetectReuse, cfg.ReuseGrace = true, true, time.Hour })
	_, first := b.login(true)
	third := b.mustRenew(b.mustRenew(first))
	b.mustRefuse(first)
	b.mustRefuse(third)
}

func TestReuseEndsOnlyItsOwnSession(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.Rotate, cfg.DetectReuse = true, true })
	_, first := b.login(true)
	_, other := b.login(true)
	second := b.mustRenew(first)
	b.mustRefuse(first)
	b.mustRefuse(second)
	b.mustRefuse(first) // a second replay is counted as well
	b.mustRenew(other)
	if got := b.Counts().SpentTwice; got != 2 {
		t.Errorf("spent twice: %d, want 2", got)
	}
	if got := b.Sessions(); got != 1 {
		t.Errorf("sessions: %d, want 1", got)
	}
}

// TestOneTokenIsSpentOnce races many renewals with one token.
func TestOneTokenIsSpentOnce(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.Rotate = true })
	_, refresh := b.login(true)
	const racers = 50
	var granted atomic.Int32
	var wg sync.WaitGroup
	for range racers {
		wg.Go(func() {
			if _, err := b.refresh(refresh, "", ""); err == nil {
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if granted.Load() != 1 || b.Counts().SpentTwice != racers-1 {
		t.Errorf("granted %d, counts %+v", granted.Load(), b.Counts())
	}
}

func TestSessionEnds(t *testing.T) {
	for _, c := range []struct {
		name     string
		remember bool
		change   func(*Config)
		life     time.Duration
	}{
		{"without rememberMe", false, func(*Config) {}, 120 * time.Minute},
		{"with a session lifetime", false, func(cfg *Config) { cfg.SessionLifetime = time.Hour }, time.Hour},
		{"with a short access token", false, func(cfg *Config) { cfg.AccessLifetime = time.Minute }, time.Minute},
		{"with rememberMe", true, func(*Config) {}, 30 * 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			fixed, sliding := newBench(t, c.change), newBench(t, func(cfg *Config) { c.change(cfg); cfg.Sliding = true })
			for _, b := range []*bench{fixed, sliding} {
				_, refresh := b.login(c.remember)
				b.pass(c.life - 1)
				b.mustRenew(refresh)
				b.pass(1)
				if b == fixed {
					b.mustRefuse(refresh)
					continue
				}
				b.pass(c.life - 2)
				b.mustRenew(refresh)
				b.pass(c.life)
				b.mustRefuse(refresh)
			}
		})
	}
}

func TestSetRotate(t *testing.T) {
	b := newBench(t, nil)
	_, first := b.login(true)
	b.SetRotate(true)
	second := b.mustRenew(first)
	if second == first {
		t.Fatal("not rotated")
	}
	b.SetRotate(false)
	if b.mustRenew(second) != second {
		t.Fatal("rotated")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.Rotate = true })
	_, refresh := b.login(false)
	first := refresh
	for range maxSpent + 10 {
		g, err := b.refresh(refresh, "", "")
		if err != nil {
			t.Fatal(err)
		}
		refresh = g.refresh
	}
	if got := len(b.sessions); got != maxSpent+1 {
		t.Errorf("%d tokens kept, want %d", got, maxSpent+1)
	}
	b.mustRefuse(first)
	b.pass(24 * time.Hour)
	b.login(false)
	if got := len(b.sessions); got != 1 {
		t.Errorf("%d tokens kept after the session ran out, want the new one alone", got)
	}
}

func TestRevokeUser(t *testing.T) {
	b := newBench(t, nil)
	_, one := b.login(true)
	b.login(false)
	if got := b.RevokeUser("two"); got != 0 {
		t.Errorf("somebody else had %d sessions", got)
	}
	if got := b.RevokeUser("nobody"); got != 0 {
		t.Errorf("nobody had %d sessions", got)
	}
	b.mustRenew(one)
	if got := b.RevokeUser("Demo@evertoken.dev"); got != 2 {
		t.Errorf("revoked %d, want 2", got)
	}
	b.mustRefuse(one)
}
