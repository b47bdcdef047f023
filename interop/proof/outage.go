package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evertoken/evertoken"
)

// outage ends the server while the client renews, and starts it again.
func outage(ctx context.Context, t *trial) (err error) {
	n, err := t.signedIn(ctx, t.web())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if _, err := n.seen.until(ctx, evertoken.Renewed, 2); err != nil {
		return err
	}
	if err := t.down(ctx, n); err != nil {
		return err
	}
	up := time.Now()
	if err := t.start(ctx); err != nil {
		return err
	}
	if t.forgets {
		return forgotten(ctx, t, n, up)
	}
	if err := n.renewedAgain(ctx); err != nil {
		return err
	}
	t.say("renewed %v after it was started again", time.Since(up).Round(100*time.Millisecond))
	return n.get(ctx)
}

// down ends the server for longer than oidc-provider's access tokens live. The
// client must not take that for the end of the session.
func (t *trial) down(ctx context.Context, n *session) error {
	const outage = (accessSeconds + 1) * time.Second
	if err := t.stop(); err != nil {
		return err
	}
	if err := pause(ctx, outage); err != nil {
		return err
	}
	tries, last, _ := n.seen.count(evertoken.Failed)
	var why *evertoken.RefreshError
	if !errors.As(last.Err, &why) || why.Outcome != evertoken.NotSent {
		return unexpected("while the server was down, want not sent", last.Err)
	}
	if s := n.Status(); s.State != evertoken.Degraded || n.seen.number(evertoken.SessionEnded) > 0 {
		return fmt.Errorf("while the server was down the client was %s", s.State)
	}
	t.say("down for %v: %d attempts, %v, session kept", outage, tries, why.Outcome)
	return nil
}

// renewedAgain waits for the next renewal from now on.
func (n *session) renewedAgain(ctx context.Context) error {
	_, err := n.seen.until(ctx, evertoken.Renewed, n.seen.number(evertoken.Renewed)+1)
	return err
}

// forgotten is what follows at a server that keeps its sessions in memory: they
// end with it, by its own word and not before, and a person signs in again. That
// a session outlives a pause of the server is shown by freezing it instead.
func forgotten(ctx context.Context, t *trial, n *session, up time.Time) error {
	t.say("it keeps sessions in memory, so the session ended when it was back")
	if err := t.signedOut(ctx, n, up); err != nil {
		return err
	}
	token, err := n.issuer.Authorize(ctx, t.browser())
	if err == nil {
		err = n.SignIn(ctx, token)
	}
	if err == nil {
		err = n.renewedAgain(ctx)
	}
	if err != nil {
		return fmt.Errorf("signing in again: %w", err)
	}
	t.say("signed in again")
	return frozen(ctx, t, n)
}

// frozen is an outage that a server outlives: its port is open, and nobody answers.
func frozen(ctx context.Context, t *trial, n *session) error {
	const pausing = 3 * time.Second
	if err := t.freeze(); err != nil {
		return err
	}
	err := pause(ctx, pausing)
	if err = errors.Join(err, t.thaw()); err != nil {
		return err
	}
	if err := n.renewedAgain(ctx); err != nil {
		return err
	}
	t.say("instead: frozen for %v (SIGSTOP), session kept and renewed", pausing)
	return n.get(ctx)
}

// unexpected is the fault that an error was not the one that should have come.
func unexpected(what string, got error) error {
	if got == nil {
		got = errors.New("no error")
	}
	return fmt.Errorf("%s: %w", what, got)
}
