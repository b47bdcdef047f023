package probe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// delays are when a spent token is sent again, after the renewal that spent it.
// Each is asked only if the one before was accepted: the first refusal may be the
// end of the session.
func delays(most time.Duration) []time.Duration {
	var all []time.Duration
	for _, s := range []int{0, 1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300} {
		if d := time.Duration(s) * time.Second; d <= most {
			all = append(all, d)
		}
	}
	return all
}

// spendTwice sends a refresh token that was spent, until the server refuses it,
// and then looks whether the session has outlived that.
func (p *prober) spendTwice(ctx context.Context) error {
	if !p.Reuse {
		p.report.add("reuse", "not tried: -reuse does, and may end the session")
		return nil
	}
	p.Warn("a refresh token is now spent twice: many servers end the session for that, and whoever uses it has to sign in again")
	s, err := p.renew(ctx)
	if err != nil {
		return err
	}
	if s.fresh.RefreshToken == "" || s.fresh.RefreshToken == s.sent {
		p.report.add("reuse", "refresh tokens are not spent here: the same one is good again and again")
		p.accepted = p.Wait
		return nil
	}
	refused, err := p.untilRefused(ctx, s)
	if err != nil || refused == nil {
		return err
	}
	p.samples = append(p.samples, refused)
	return p.lookForFamily(ctx)
}

// untilRefused returns the answer that refused the token; nil if none did.
func (p *prober) untilRefused(ctx context.Context, first *sample) (*sample, error) {
	spent := time.Now()
	accepted := 0
	for _, d := range delays(p.Wait) {
		if err := pause(ctx, time.Until(spent.Add(d))); err != nil {
			return nil, err
		}
		s, err := p.ask(ctx, "a spent token", dead, p.client(p.ClientID, p.Secret), first.sent)
		if err != nil {
			return nil, err
		}
		t, ok := p.read(s)
		if !ok {
			p.tellGrace(accepted, time.Since(spent), s)
			return s, nil
		}
		p.report.hide(t.AccessToken, t.RefreshToken, t.Extra["id_token"])
		if accepted++; accepted == 1 {
			p.report.add("reuse answer", "%s", likeness(t.RefreshToken, first.fresh.RefreshToken))
		}
		p.accepted = d
	}
	p.report.add("reuse", "a spent token is still accepted after %v; -wait for longer to find the end", p.accepted)
	return nil, nil
}

// likeness compares what a spent token brings with what it had brought.
func likeness(again, first string) string {
	if again == first {
		return "a spent token brings the same new one once more"
	}
	return "a spent token brings yet another new one"
}

// tellGrace tells how long a spent token was accepted.
func (p *prober) tellGrace(accepted int, refusedAfter time.Duration, s *sample) {
	if accepted == 0 {
		p.report.add("reuse", "refused at once: %s; leave ReuseGrace zero", s)
		return
	}
	p.report.add("reuse", "accepted %v after it was spent, refused after %v: %s; ReuseGrace may be %v",
		p.accepted, refusedAfter.Round(100*time.Millisecond), s, p.accepted)
}

// lookForFamily renews with the newest token after a spent one was refused.
func (p *prober) lookForFamily(ctx context.Context) error {
	s, err := p.ask(ctx, "the newest token after reuse", granted, p.client(p.ClientID, p.Secret), p.newest)
	if err != nil {
		return err
	}
	if t, ok := p.read(s); ok {
		p.report.hide(t.AccessToken, t.RefreshToken, t.Extra["id_token"])
		p.report.add("family", "reuse does not end the session: its newest token is still good")
		return p.keep(p.next(t))
	}
	if s.answer.Status >= 500 {
		return errors.New("the newest token after reuse: " + fmt.Sprint(s.answer.Status))
	}
	s.means = dead
	p.samples = append(p.samples, s)
	p.report.add("family", "reuse ends the session: its newest token is dead too: %s; sign in again", s)
	return nil
}
