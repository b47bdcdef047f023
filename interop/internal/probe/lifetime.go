package probe

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
)

// claims are what a JWT says of its time.
type claims struct {
	Exp float64 `json:"exp"`
	Iat float64 `json:"iat"`
}

// readJWT reads an access token that is a signed JWT. Nobody checks the signature:
// this is for looking only.
func readJWT(token string) (claims, bool) {
	var c claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, false
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	return c, err == nil && json.Unmarshal(data, &c) == nil && c.Exp > 0
}

// tellLifetime tells what the server says of an access token's time, and how its
// ways of saying it agree.
func (p *prober) tellLifetime(s *sample) {
	t := s.fresh
	says := "the server does not say how long access tokens live"
	if !t.Expiry.IsZero() {
		says = fmt.Sprintf("access tokens live for %v by the answer", t.Expiry.Sub(t.IssuedAt).Round(time.Millisecond))
	}
	c, ok := readJWT(t.AccessToken)
	switch {
	case !ok && strings.Count(t.AccessToken, ".") == 4:
		says += "; they are encrypted JWTs"
	case !ok:
		says += "; they are opaque"
	case c.Iat == 0:
		says += "; they are JWTs without iat"
	default:
		life := time.Duration((c.Exp - c.Iat) * float64(time.Second))
		says += fmt.Sprintf("; they are JWTs whose exp - iat is %v", life)
		if !t.Expiry.IsZero() {
			says += agreement(life - t.Expiry.Sub(t.IssuedAt).Round(time.Second))
		}
	}
	p.report.add("lifetime", "%s", says)
	if date, err := http.ParseTime(s.answer.Header.Get("Date")); err == nil {
		p.report.add("clock", "%s", clockSkew(date, s.began))
	}
	p.report.add("token type", "%s", orNone(t.TokenType))
}

// agreement compares a JWT's own lifetime with the one beside it.
func agreement(more time.Duration) string {
	switch {
	case more > 0:
		return fmt.Sprintf(", %v more than the answer says", more)
	case more < 0:
		return fmt.Sprintf(", %v less than the answer says", -more)
	}
	return ", as the answer says"
}

// clockSkew compares a Date, which is cut to seconds, with our own clock.
func clockSkew(date, began time.Time) string {
	const unclear = 2 * time.Second
	if d := date.Sub(began); d < -unclear || d > unclear {
		return fmt.Sprintf("the server's clock differs from this machine's by %v", d.Round(time.Second))
	}
	return "the server's clock agrees with this machine's to 2s"
}

// orNone names what is not there.
func orNone(s string) string {
	if s == "" {
		return "none given"
	}
	return s
}

// useTokens looks at what an API honours.
func (p *prober) useTokens(ctx context.Context) error {
	if p.ResourceURL == "" {
		p.report.add("honoured", "not looked at: there is no -resource-url")
		return nil
	}
	old, now := p.grants[0].fresh, p.grants[1].fresh
	status, err := p.use(ctx, now)
	if err != nil {
		return err
	}
	if status/100 != 2 {
		p.report.add("honoured", "not even a new access token: the API says %d", status)
		return nil
	}
	if status, err = p.use(ctx, old); err != nil {
		return err
	}
	if status/100 == 2 {
		p.report.add("after renewal", "the access token before it is still honoured")
	} else {
		p.report.add("after renewal", "the access token before it is refused: the API says %d", status)
	}
	return p.outlive(ctx, p.grants[1])
}

// outlive watches an access token to its end.
func (p *prober) outlive(ctx context.Context, s *sample) error {
	life := s.fresh.Expiry.Sub(s.fresh.IssuedAt)
	end := s.began.Add(life)
	if s.fresh.Expiry.IsZero() || time.Until(end) > p.Wait {
		p.report.add("honoured", "not watched to the end, which is further away than -wait %v", p.Wait)
		return nil
	}
	step := min(max(life/50, 100*time.Millisecond), 2*time.Second)
	last := time.Now()
	for time.Now().Before(end.Add(p.Wait)) {
		asked := time.Now()
		status, err := p.use(ctx, s.fresh)
		if err != nil {
			return err
		}
		if status/100 != 2 {
			p.report.add("honoured", "for %v, refused with %d after %v; the answer said %v",
				last.Sub(s.began).Round(10*time.Millisecond), status, time.Since(s.began).Round(10*time.Millisecond), life.Round(time.Millisecond))
			return nil
		}
		last = asked
		if err := pause(ctx, step); err != nil {
			return err
		}
	}
	p.report.add("honoured", "still %v after the end that the answer said", p.Wait)
	return nil
}

// use sends an access token to the API, with the transport that keeps tokens from
// going anywhere else.
func (p *prober) use(ctx context.Context, t evertoken.Token) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ResourceURL, nil)
	if err != nil {
		return 0, errors.New("-resource-url is not a URL")
	}
	client := &http.Client{
		Transport:     &evertoken.Transport{Source: just(t), Origins: []string{req.URL.Scheme + "://" + req.URL.Host}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("asking the API: %w", err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

// just is a source of one token.
type just evertoken.Token

// Token implements evertoken.TokenSource.
func (t just) Token(context.Context) (evertoken.Token, error) { return evertoken.Token(t), nil }

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
