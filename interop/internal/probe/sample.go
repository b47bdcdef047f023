package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/interop/internal/tap"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// A meaning is what an answer means, as we know from what was asked.
type meaning string

const (
	granted meaning = "granted"
	dead    meaning = "rejected"      // the token is dead
	faulty  meaning = "misconfigured" // the client is at fault
)

// A sample is one answer of the server.
type sample struct {
	what   string // was asked about
	means  meaning
	sent   string // the token
	began  time.Time
	answer tap.Answer
	raw    []byte
	fresh  evertoken.Token         // if granted
	failed *evertoken.RefreshError // as RFC 6749 has it; nil if granted
}

// madeUp is a token, a secret or a name that no server can know.
func madeUp() string { return "made-up-" + rand.Text() }

// ask sends a token and listens to the answer. An error means that there was none.
func (p *prober) ask(ctx context.Context, what string, means meaning, auth oauth.ClientAuth, token string) (*sample, error) {
	p.report.hide(token)
	t := &tap.Tap{}
	i := &oauth.Issuer{TokenURL: p.TokenURL, Client: auth, Dialect: p.manner.dialect(), Transport: t.Transport()}
	fresh, err := i.Refresh(ctx, p.session(token))
	x := t.Last()
	a, whole := x.Answer()
	if !whole {
		if err == nil {
			err = errors.New("the answer was cut off")
		}
		return nil, fmt.Errorf("asking about %s: %w", what, err)
	}
	s := &sample{what: what, means: means, sent: token, began: x.Began, answer: a, raw: x.Raw(), fresh: fresh}
	if err != nil && !errors.As(err, &s.failed) {
		return nil, fmt.Errorf("asking about %s: %w", what, err)
	}
	return s, nil
}

// session holds the token where the manner of asking looks for it.
func (p *prober) session(token string) evertoken.Token {
	if p.manner.bearer {
		return evertoken.Token{AccessToken: token}
	}
	return evertoken.Token{RefreshToken: token}
}

// replay has an issuer of another dialect read the answer.
func (s *sample) replay(d oauth.Dialect) (evertoken.Token, error) {
	play := func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer func() { _ = far.Close() }()
			if _, err := http.ReadRequest(bufio.NewReader(far)); err == nil {
				_, _ = far.Write(s.raw)
			}
		}()
		return near, nil
	}
	i := &oauth.Issuer{TokenURL: "http://localhost/", Dialect: d, Transport: &http.Transport{DialContext: play}}
	return i.Refresh(context.Background(), evertoken.Token{AccessToken: s.sent, RefreshToken: s.sent})
}

// misread says what a dialect takes the answer for, if that is wrong.
func (s *sample) misread(d oauth.Dialect) string {
	_, err := s.replay(d)
	got := granted
	var failed *evertoken.RefreshError
	if errors.As(err, &failed) {
		got = meaning(failed.Outcome.String())
	} else if err != nil {
		got = meaning(err.Error())
	}
	if got == s.means {
		return ""
	}
	return fmt.Sprintf("the answer to %s would be taken as %s, not %s", s.what, got, s.means)
}

// String tells status and words, without secrets.
func (s *sample) String() string {
	text := fmt.Sprintf("%d", s.answer.Status)
	kind := s.answer.Header.Get("Content-Type")
	if s.failed != nil && s.failed.Code != "" {
		text += " " + s.failed.Code
		if s.failed.Description != "" {
			text += fmt.Sprintf(" (%s)", s.failed.Description)
		}
		return text
	}
	doc := s.document()
	if code, text2 := findCode(doc), findText(doc); code != "" || text2 != "" {
		return fmt.Sprintf("%s %q (%s), which RFC 6749 does not have", text, code, text2)
	}
	return fmt.Sprintf("%s, type %q, %d bytes, no error code", text, kind, len(bytes.TrimSpace(s.answer.Body)))
}

// sameAs says that two answers are the same, for all that a client can decide by.
func (s *sample) sameAs(o *sample) bool {
	return s.String() == o.String()
}
