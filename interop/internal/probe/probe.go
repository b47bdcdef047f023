// Package probe finds out how a token endpoint that nobody knows behaves, and
// which dialect of package oauth speaks with it.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// Config says what to ask, and how far to go.
type Config struct {
	TokenURL string // required
	ClientID string // may be empty
	Secret   string // of the client; may be empty

	// Auth is how the client proves itself: "basic", "post" or "none". Empty:
	// basic if there is a secret.
	Auth string

	// Preset is the name of the preset to ask as. Empty: find out.
	Preset string

	// Token is the refresh token of a session that may be renewed; where a
	// session has but one token, that. Required.
	Token string

	// Keep is called with each new refresh token before it is used. Its error
	// ends the probe. Nil keeps nothing.
	Keep func(token string) error

	// ResourceURL is an API that takes the access tokens; it is asked with GET.
	// Empty: what an API honours is not looked at.
	ResourceURL string

	// Reuse allows to send a spent refresh token, which may end the session.
	Reuse bool

	// Wait is the longest to wait for a token or a grace to end.
	Wait time.Duration

	// Warn is called with what may go wrong, before it can. Nil: nobody wants
	// to know.
	Warn func(string)
}

// A prober is one run. It is used by one goroutine.
type prober struct {
	Config
	manner   manner
	samples  []*sample
	newest   string    // refresh token
	grants   []*sample // renewals that were granted, in order
	accepted time.Duration
	report   *Report
}

// Run asks the server and tells what it does. An error means that it could not be
// asked; what was found out before is in the report all the same. Neither holds
// any of the secrets that went to and fro.
func Run(ctx context.Context, c Config) (*Report, error) {
	p := &prober{Config: c, newest: c.Token, report: &Report{}}
	p.report.hide(c.Token, c.Secret)
	if p.Warn == nil {
		p.Warn = func(string) {}
	}
	if c.Token == "" {
		return p.report, errors.New("probe: there is no refresh token")
	}
	if err := c.Validate(); err != nil {
		return p.report, err
	}
	for _, step := range []func(context.Context) error{
		p.findManner, p.blameClient, p.renewTwice, p.useTokens, p.spendTwice,
	} {
		if err := step(ctx); err != nil {
			p.conclude()
			return p.report, fmt.Errorf("probe: %w", err)
		}
	}
	p.conclude()
	return p.report, nil
}

// findManner asks about a made-up token in each manner that servers are known to
// want, and stays with the first in which the answer is a verdict on the token.
func (p *prober) findManner(ctx context.Context) error {
	all, err := p.manners()
	if err != nil {
		return err
	}
	p.Warn("a made-up token, an unknown client and a wrong secret are tried; servers may log that, or slow down who does it")
	var first *sample
	for _, m := range all {
		p.manner = m
		s, err := p.ask(ctx, "a made-up token", dead, p.client(p.ClientID, p.Secret), madeUp())
		if err != nil {
			return err
		}
		if first == nil {
			first = s
		}
		if p.someDialect(s) {
			first = s
			break
		}
		p.manner = all[0]
	}
	p.samples = append(p.samples, first)
	p.report.add("asked", "%s with %s, as %s", withoutQuery(p.TokenURL), p.manner, p.clientName())
	p.report.add("dead token", "%s", first)
	return nil
}

// withoutQuery is a URL as it may be shown: a query may hold a key.
func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the token endpoint"
	}
	u.RawQuery, u.User = "", nil
	return u.String()
}

// someDialect says whether a dialect takes the answer for what it is.
func (p *prober) someDialect(s *sample) bool {
	for _, d := range p.candidates() {
		if s.misread(d) == "" {
			return true
		}
	}
	return false
}

// blameClient asks as somebody else. A server that looks at the token first, or
// has no clients, says of it what it says of a dead token.
func (p *prober) blameClient(ctx context.Context) error {
	if p.ClientID == "" {
		p.report.add("unknown client", "not asked: there is no -client-id")
		return nil
	}
	who := []struct{ label, what, id, secret string }{{"unknown client", "an unknown client", madeUp(), p.Secret}}
	if p.Secret != "" {
		who = append(who, struct{ label, what, id, secret string }{"wrong secret", "a wrong secret", p.ClientID, madeUp()})
	}
	for _, w := range who {
		s, err := p.ask(ctx, w.what, faulty, p.client(w.id, w.secret), madeUp())
		if err != nil {
			return err
		}
		if s.sameAs(p.samples[0]) {
			p.report.add(w.label, "%s: the same as of a dead token, so nobody can tell them apart", s)
			continue
		}
		p.samples = append(p.samples, s)
		p.report.add(w.label, "%s", s)
	}
	return nil
}

// renewTwice renews the session, twice: what does not change in the first renewal
// may in the second.
func (p *prober) renewTwice(ctx context.Context) error {
	p.Warn("the session is renewed twice; nobody else may use its refresh token meanwhile")
	changed := 0
	for range 2 {
		s, err := p.renew(ctx)
		if err != nil {
			return err
		}
		if s.fresh.RefreshToken != "" && s.fresh.RefreshToken != s.sent {
			changed++
		}
	}
	switch changed {
	case 0:
		p.report.add("rotation", "no: renewals keep the refresh token")
	case 1:
		p.report.add("rotation", "sometimes: one of two renewals returned another refresh token")
	default:
		p.report.add("rotation", "yes: each renewal returns another refresh token")
	}
	p.tellLifetime(p.grants[len(p.grants)-1])
	return nil
}

// renew makes one renewal with the newest token.
func (p *prober) renew(ctx context.Context) (*sample, error) {
	s, err := p.ask(ctx, "the session's token", granted, p.client(p.ClientID, p.Secret), p.newest)
	if err != nil {
		return nil, fmt.Errorf("the session may have lost its refresh token: %w", err)
	}
	t, ok := p.read(s)
	if !ok {
		p.report.add("renewal", "%s", s)
		return nil, errors.New("the session was not renewed: is its token still good, and is it this client's?")
	}
	s.fresh = t
	p.grants, p.samples = append(p.grants, s), append(p.samples, s)
	p.report.hide(t.AccessToken, t.RefreshToken, t.Extra["id_token"])
	return s, p.keep(p.next(t))
}

// next is the token that renews the session after t came.
func (p *prober) next(t evertoken.Token) string {
	switch {
	case p.manner.bearer:
		return t.AccessToken
	case t.RefreshToken != "":
		return t.RefreshToken
	}
	return p.newest
}

// keep makes a token the newest, and hands it to who asked for that, before it is
// used: the one before it may be dead already.
func (p *prober) keep(token string) error {
	if token == p.newest {
		return nil
	}
	p.newest = token
	if p.Keep == nil {
		return nil
	}
	if err := p.Keep(token); err != nil {
		return fmt.Errorf("the new refresh token could not be kept: %w", err)
	}
	return nil
}

// read finds the tokens in an answer: as a dialect does, or by their names.
func (p *prober) read(s *sample) (evertoken.Token, bool) {
	for _, d := range append(p.candidates(), draftMembers(p.manner.dialect(), s)) {
		if t, err := s.replay(d); err == nil {
			return t, true
		}
	}
	return evertoken.Token{}, false
}

// conclude says which dialects fit all that was seen, or what one would look like.
func (p *prober) conclude() {
	if len(p.samples) == 0 {
		return
	}
	var fits, nearly []string
	for _, d := range p.candidates() {
		faults := p.faults(d)
		switch {
		case len(faults) == 0:
			fits = append(fits, nameOf(d))
		case d.Name == p.Preset || p.Preset == "" && d.Name == "":
			nearly = append(nearly, nameOf(d)+": "+faults[0])
		}
	}
	if len(fits) > 0 {
		p.report.fits(fits)
		return
	}
	for _, n := range nearly {
		p.report.add("misfit", "%s", n)
	}
	p.suggest()
}

// nameOf is how a dialect is called in a report.
func nameOf(d oauth.Dialect) string {
	if d.Name == "" {
		return "the zero Dialect"
	}
	return d.Name
}

// faults are the answers that a dialect takes for something else than they are.
func (p *prober) faults(d oauth.Dialect) []string {
	var all []string
	for _, s := range p.samples {
		if f := s.misread(d); f != "" {
			all = append(all, f)
		}
	}
	if d.ReuseGrace > 0 && p.Reuse && d.ReuseGrace > p.accepted {
		all = append(all, fmt.Sprintf("its ReuseGrace is %v, the server's no longer than %v", d.ReuseGrace, p.accepted))
	}
	return all
}
