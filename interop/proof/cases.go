package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/interop/internal/tap"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// often is how often clients look here. With the window of 5 min each look renews
// tokens that live no longer, at either server.
const often = 600 * time.Millisecond

func (t *trial) web() options { return options{clientID: "web", store: t.store(), interval: often} }

// busy is for a session that requests are made on. Where renewals are forced, the
// checks in between make none; they come more rarely than the renewals, each of
// which ends the old access token under the requests on their way.
func (k kind) busy(o options) options {
	o.interval = often
	if k.fixed {
		o.window = time.Second
	}
	return o
}

// renew waits for renewals in the background, or forces them.
func (t *trial) renew(ctx context.Context, n *session, l *load, times int) error {
	if t.fixed {
		return n.force(ctx, l, times)
	}
	_, err := n.seen.until(ctx, evertoken.Renewed, times)
	return err
}

// sayHow tells what makes the renewals of a busy session.
func (t *trial) sayHow() {
	if t.fixed {
		t.say("tokens live for 5 min there; instead: renewals forced by Client.Refresh")
		return
	}
	t.say("in the background, tokens of %d s", accessSeconds)
}

// forcedEvery is how far apart forced renewals are.
const forcedEvery = 200 * time.Millisecond

// firstToken signs in by browser at endpoints that were discovered.
func firstToken(ctx context.Context, t *trial) (err error) {
	began := time.Now()
	n, err := t.signedIn(ctx, options{clientID: "web"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	token, err := n.Token(ctx)
	if err != nil {
		return err
	}
	if token.RefreshToken == "" || token.Expiry.IsZero() || token.TokenType != "Bearer" {
		return fmt.Errorf("the token is %v", token)
	}
	t.say("discovery, code with PKCE over loopback, API answered 200, in %v", time.Since(began).Round(time.Millisecond))
	t.say("access token for %v", token.Expiry.Sub(token.IssuedAt))
	return nil
}

// renewals are made in the background if tokens are short-lived, and forced else.
func renewals(ctx context.Context, t *trial) (err error) {
	const want = 50
	n, err := t.signedIn(ctx, t.busy(t.web()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	t.sayHow()
	if t.asks != "" {
		t.say("its userinfo says 403 of a token that a renewal has ended; instead: an API of ours that asks its introspection")
	}
	began := time.Now()
	l := n.load(ctx)
	err = t.renew(ctx, n, l, want)
	if err = errors.Join(err, l.end()); err != nil {
		return err
	}
	t.say("%d renewals in %v", n.seen.number(evertoken.Renewed), time.Since(began).Round(time.Second))
	t.say("%v", l)
	return t.spentOnce(n.base.refused.Load(), n.tap.Renewals())
}

// force asks for renewals one after the other. No request spans two of them: each
// is repeated once after a 401, and at this server each renewal causes one.
func (n *session) force(ctx context.Context, l *load, times int) error {
	for i := range times {
		if err := n.Refresh(ctx); err != nil {
			return fmt.Errorf("renewal %d: %w", i+1, err)
		}
		if err := errors.Join(pause(ctx, forcedEvery), l.turnover(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// spentOnce checks that no refresh token was sent twice, by what went over the
// wire and, where it tells, by the server's own word.
func (t *trial) spentOnce(refused int64, all []tap.Renewal) error {
	if refused > 0 {
		t.say("%d of the requests were answered 401 and sent again", refused)
	}
	for _, r := range all {
		if !r.Again && r.Status != 200 {
			return fmt.Errorf("a renewal was answered %d", r.Status)
		}
	}
	twice := tap.SpentTwice(all)
	t.say("%d refresh tokens sent, %d of them twice", len(all)-twice, twice)
	if said := t.said("spent-twice"); twice > 0 || said > 0 {
		return fmt.Errorf("refresh tokens were spent twice: %d on the wire, %d by the server's word", twice, said)
	}
	return nil
}

// restart closes the client between renewals and goes on with the stored session.
func restart(ctx context.Context, t *trial) error {
	const want = 10
	var all []tap.Renewal
	var requests int
	var refused int64
	for part := range 3 {
		start := t.open
		if part == 0 {
			start = t.signedIn
		}
		n, err := start(ctx, t.busy(t.web()))
		if err != nil {
			return err
		}
		l := n.load(ctx)
		err = t.renew(ctx, n, l, want)
		if err = errors.Join(err, l.end(), n.Close()); err != nil {
			return fmt.Errorf("after %d restarts: %w", part, err)
		}
		all, requests, refused = append(all, n.tap.Renewals()...), requests+l.Requests, refused+n.base.refused.Load()
	}
	t.sayHow()
	t.say("2 restarts, %d renewals, %d requests, 0 failed", len(all), requests)
	return t.spentOnce(refused, all)
}

// revoked ends the session at the server, behind the client's back.
func revoked(ctx context.Context, t *trial) (err error) {
	n, err := t.signedIn(ctx, t.web())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	// Just after a renewal, so that this token is the newest for a while.
	if _, err := n.seen.until(ctx, evertoken.Renewed, 1); err != nil {
		return err
	}
	token, err := n.Token(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := n.issuer.Revoke(ctx, token); err != nil {
		return err
	}
	return t.signedOut(ctx, n, began)
}

// signedOut waits until the client knows that its session is over.
func (t *trial) signedOut(ctx context.Context, n *session, began time.Time) error {
	e, err := n.seen.until(ctx, evertoken.SessionEnded, 1)
	if err != nil {
		return err
	}
	var said *evertoken.RefreshError
	if !errors.As(e.Err, &said) || said.Outcome != evertoken.Rejected {
		return unexpected("the session ended for another reason", e.Err)
	}
	if err := n.Refresh(ctx); !errors.Is(err, evertoken.ErrSignedOut) {
		return unexpected("Refresh after the end, want ErrSignedOut", err)
	}
	t.say("noticed after %v: %d %s", time.Since(began).Round(10*time.Millisecond), said.StatusCode, said.Code)
	return nil
}

// expired has a refresh token end before the access token that came with it.
func expired(ctx context.Context, t *trial) (err error) {
	if t.fixed {
		return expiredLongAgo(ctx, t)
	}
	// Of 8 s the last half is the window; the refresh token ends after 3.
	n, err := t.signedIn(ctx, options{clientID: "brief", store: t.store(), interval: often, window: 4 * time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	t.say("refresh token of 3 s, access token of 8 s")
	if err := t.signedOut(ctx, n, time.Now()); err != nil {
		return err
	}
	if err := n.get(ctx); err != nil {
		return fmt.Errorf("the access token is alive: %w", err)
	}
	t.say("the access token is used to its end")
	return nil
}

// expiredLongAgo is for servers whose refresh tokens live for hours: a stored
// session is made to look as it would by then, and the server has dropped the
// refresh token.
func expiredLongAgo(ctx context.Context, t *trial) (err error) {
	t.say("refresh tokens live for 5 h there; instead: a stored session whose access token ended an hour ago, and whose refresh token the server has dropped (revoked)")
	n, err := t.open(ctx, t.web())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	token, err := n.issuer.Authorize(ctx, t.browser())
	if err != nil {
		return err
	}
	if err := n.issuer.Revoke(ctx, token); err != nil {
		return err
	}
	token.IssuedAt, token.Expiry = token.IssuedAt.Add(-2*time.Hour), token.Expiry.Add(-2*time.Hour)
	began := time.Now()
	if err := n.SignIn(ctx, token); err != nil {
		return err
	}
	return t.signedOut(ctx, n, began)
}

// wrongSecret is somebody's mistake in a deployment. It must not cost the session.
func wrongSecret(ctx context.Context, t *trial) error {
	n, err := t.signedIn(ctx, t.web())
	if err != nil {
		return err
	}
	if err := n.Close(); err != nil {
		return err
	}
	o := t.web()
	o.interval, o.secret = time.Minute, "not the secret"
	if n, err = t.open(ctx, o); err != nil {
		return err
	}
	var said *evertoken.RefreshError
	if err := n.Refresh(ctx); !errors.As(err, &said) || said.Outcome != evertoken.Misconfigured {
		return errors.Join(unexpected("with a wrong secret, want misconfigured", err), n.Close())
	}
	state, used := n.Status().State, n.get(ctx)
	if err := errors.Join(used, n.Close()); err != nil || state != evertoken.Degraded {
		return unexpected(fmt.Sprintf("with a wrong secret the client is %s", state), err)
	}
	t.say("%v: %d %s; still signed in", said.Outcome, said.StatusCode, said.Code)
	if n, err = t.open(ctx, t.web()); err != nil {
		return err
	}
	if err := errors.Join(n.Refresh(ctx), n.get(ctx), n.Close()); err != nil {
		return fmt.Errorf("with the right secret again: %w", err)
	}
	t.say("renewed with the right secret")
	return nil
}

// dpop has tokens bound to a key, at a server that wants its nonce in each proof.
// The key goes with the stored session.
func dpop(ctx context.Context, t *trial) error {
	const want = 10
	o := options{clientID: "proven", dpop: true, store: t.store(), interval: often}
	var all []tap.Renewal
	var refused int64
	var asked int
	for _, start := range []func(context.Context, options) (*session, error){t.signedIn, t.open} {
		n, err := start(ctx, o)
		if err != nil {
			return err
		}
		token, err := n.Token(ctx)
		if err == nil && token.TokenType != "DPoP" {
			err = fmt.Errorf("the token is of type %q", token.TokenType)
		}
		l := n.load(ctx)
		err = errors.Join(err, t.renew(ctx, n, l, want), l.end(), n.Close())
		if err != nil {
			return err
		}
		t.say("%v", l)
		all, refused, asked = append(all, n.tap.Renewals()...), refused+n.base.refused.Load(), asked+n.tap.NoncesWanted()
	}
	if refused == 0 || asked == 0 {
		return fmt.Errorf("a nonce was asked for %d times by the API and %d times by the token endpoint: it is not mandatory", refused, asked)
	}
	t.say("restarted once, with the key from the store; %d renewals; a nonce asked for %d times by the token endpoint", len(all), asked)
	return t.spentOnce(refused, all)
}

// device signs a person in who types a code somewhere else.
func device(ctx context.Context, t *trial) (err error) {
	n, err := t.open(ctx, options{clientID: "device", store: t.store(), interval: often})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	began := time.Now()
	token, err := n.issuer.Device(ctx, t.typeCode)
	if err != nil {
		return err
	}
	t.say("code typed and confirmed, token after %v", time.Since(began).Round(100*time.Millisecond))
	if err := n.SignIn(ctx, token); err != nil {
		return err
	}
	const want = 5
	l := n.load(ctx)
	_, err = n.seen.until(ctx, evertoken.Renewed, want)
	if err = errors.Join(err, l.end()); err != nil {
		return err
	}
	t.say("%d renewals; %v", want, l)
	return t.spentOnce(n.base.refused.Load(), n.tap.Renewals())
}

// typeCode is the person: opens the page that was shown and types the code.
func (t *trial) typeCode(ctx context.Context, p oauth.Prompt) error {
	types := maps.Clone(t.types)
	types["user_code"] = p.UserCode
	b, err := newBrowser(types)
	if err != nil {
		return err
	}
	return b.visit(ctx, p.URL)
}
