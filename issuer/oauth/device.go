package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

const (
	pollEvery   = 5 * time.Second  // RFC 8628, section 3.2, if the server does not say
	pollSlower  = 5 * time.Second  // what slow_down adds, for good (section 3.5)
	pollMost    = time.Minute      // what doubling stops at
	pollTimeout = 30 * time.Second // one question
)

// A Prompt is what a person needs to sign a device in: they open URL anywhere
// and type UserCode, or open FullURL, which holds the code.
type Prompt struct {
	UserCode string
	URL      string
	FullURL  string    // may be empty
	Expiry   time.Time // of the code; zero if the server does not say
}

// A deviceCode is one sign-in under way.
type deviceCode struct {
	Prompt
	code     string
	interval time.Duration
}

// Device signs a person in who confirms it in a browser on any machine (RFC
// 8628). show is called once; the wait lasts until the person has decided, the
// code has ended, or ctx has. A refusal and the end of the code are
// [evertoken.Rejected].
func (i *Issuer) Device(ctx context.Context, show func(context.Context, Prompt) error) (evertoken.Token, error) {
	d, err := i.deviceCode(ctx)
	if err != nil {
		return evertoken.Token{}, fmt.Errorf("oauth: device: %w", err)
	}
	if err := show(ctx, d.Prompt); err != nil {
		return evertoken.Token{}, fmt.Errorf("oauth: device: show: %w", err)
	}
	t, err := i.poll(ctx, d)
	if err != nil {
		return evertoken.Token{}, fmt.Errorf("oauth: device: %w", err)
	}
	return t, nil
}

// deviceCode begins a sign-in.
func (i *Issuer) deviceCode(ctx context.Context) (*deviceCode, error) {
	if err := i.ready(); err != nil {
		return nil, err
	}
	if i.DeviceURL == "" {
		return nil, misconfigured("DeviceURL is missing")
	}
	sent := i.clock.Now()
	q := request{endpoint: i.DeviceURL, form: i.complete(nil)}
	a, err := i.send(ctx, &q)
	if err != nil {
		return nil, err
	}
	doc, ok := parse(a)
	if !ok || !succeeded(a) {
		return nil, i.refusal(a, doc, q)
	}
	return newDeviceCode(a, doc, sent, i.clock.Now())
}

func newDeviceCode(a *exchange.Answer, doc document, sent, now time.Time) (*deviceCode, error) {
	d := &deviceCode{code: doc.text("device_code"), interval: pollEvery, Prompt: Prompt{
		UserCode: doc.text("user_code"),
		URL:      doc.text("verification_uri", "verification_url"),
		FullURL:  doc.text("verification_uri_complete"),
	}}
	for _, m := range [][2]string{{"device_code", d.code}, {"user_code", d.UserCode}, {"verification_uri", d.URL}} {
		if m[1] == "" {
			return nil, &evertoken.RefreshError{StatusCode: a.StatusCode, Err: fmt.Errorf("answer of type %q has no member %s", typeOf(a), m[0])}
		}
	}
	if n, ok := doc.number("interval"); ok && n > 0 {
		d.interval = span(n, time.Second)
	}
	if n, ok := doc.number("expires_in"); ok {
		d.Expiry = sent.Add(span(n, time.Second))
	}
	if d.ended(now) {
		return nil, errCodeEnded()
	}
	return d, nil
}

func (d *deviceCode) ended(now time.Time) bool { return !d.Expiry.IsZero() && !now.Before(d.Expiry) }

func errCodeEnded() error {
	return &evertoken.RefreshError{Outcome: evertoken.Rejected, Code: "expired_token", Err: errors.New("the code ended before anybody confirmed it")}
}

// poll asks until there is an answer.
func (i *Issuer) poll(ctx context.Context, d *deviceCode) (evertoken.Token, error) {
	wait := d.interval
	for {
		if err := i.sleep(ctx, wait); err != nil {
			return evertoken.Token{}, err
		}
		if d.ended(i.clock.Now()) {
			return evertoken.Token{}, errCodeEnded()
		}
		t, err := i.pollOnce(ctx, d)
		if err == nil || ctx.Err() != nil {
			return t, err
		}
		if wait, err = d.after(err); err != nil {
			return evertoken.Token{}, err
		}
	}
}

// pollOnce is one question, which silence must not make the last.
func (i *Issuer) pollOnce(ctx context.Context, d *deviceCode) (evertoken.Token, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := i.clock.Timer(pollTimeout)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-timer.C:
			cancel(context.DeadlineExceeded)
		case <-ctx.Done():
		}
	}()
	defer func() {
		cancel(nil)
		<-done
		timer.Stop()
	}()
	return i.tokenRequest(ctx, request{form: map[string][]string{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.code},
	}})
}

// after says how long to wait after a poll without a token, or that it was the
// last (RFC 8628, section 3.5).
func (d *deviceCode) after(err error) (time.Duration, error) {
	var failed *evertoken.RefreshError
	if !errors.As(err, &failed) {
		return 0, err
	}
	switch {
	case failed.Code == "authorization_pending":
	case failed.Code == "slow_down":
		d.interval += pollSlower
	case failed.Code == "access_denied", failed.Code == "expired_token":
		final := *failed
		final.Outcome = evertoken.Rejected
		return 0, &final
	case failed.Outcome == evertoken.Unavailable, failed.Outcome != evertoken.Rejected && failed.Outcome != evertoken.Misconfigured && failed.Code == "":
		// Nobody gave a verdict: the server is to be asked less often.
		d.interval = max(d.interval, min(2*d.interval, pollMost))
	default:
		return 0, err
	}
	return max(d.interval, failed.RetryAfter), nil
}

// sleep waits on the issuer's clock.
func (i *Issuer) sleep(ctx context.Context, d time.Duration) error {
	timer := i.clock.Timer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
