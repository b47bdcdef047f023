package xoauth2

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

// An Issuer renews tokens as an oauth2.Config describes it. x/oauth2 makes the
// request and reads the answer; the client decides when, saves a rotated refresh
// token before it is used, and is told by each failure whether the old one can
// have been spent.
//
//	token, err := config.Exchange(ctx, code)
//	if err != nil { ... }
//	client, err := evertoken.New(ctx, evertoken.Config{
//		Issuer:  &xoauth2.Issuer{Config: config},
//		Origins: []string{"https://api.example.com"},
//	})
//	if err != nil { ... }
//	err = client.SignIn(ctx, xoauth2.Token(token))
//
// It does not know where tokens may go: evertoken.Config.Origins is required.
// An Issuer is safe for concurrent use; its fields must not be changed once it
// is used.
type Issuer struct {
	// Config has the token endpoint and the client's credentials. Required.
	//
	// With AuthStyleAutoDetect x/oauth2 repeats a request that failed, whatever
	// the reason, with the credentials in the other place. That would spend a
	// refresh token twice, so the repetition is let through only after the
	// server has refused the client or its request, not the grant.
	Config *oauth2.Config

	// Transport has the proxy, the certificates and the dialer to use; it is
	// copied. Nil means as http.DefaultTransport. The HTTP client that
	// oauth2.HTTPClient puts into a context is not used.
	Transport *http.Transport

	once   sync.Once
	client *exchange.Client
}

var _ evertoken.Issuer = (*Issuer)(nil)

// Refresh implements [evertoken.Issuer].
func (i *Issuer) Refresh(ctx context.Context, t evertoken.Token) (evertoken.Token, error) {
	if i.Config == nil {
		return evertoken.Token{}, &evertoken.RefreshError{Outcome: evertoken.Misconfigured, Err: errors.New("xoauth2: Issuer: Config is missing")}
	}
	if t.RefreshToken == "" {
		return evertoken.Token{}, &evertoken.RefreshError{Outcome: evertoken.Rejected, Err: errors.New("xoauth2: there is no refresh token")}
	}
	i.once.Do(func() { i.client = exchange.New(i.Transport) })
	w := &wire{client: i.client}
	sent := time.Now()
	// A source of its own for each attempt: one that lives on would keep the
	// newest refresh token to itself.
	fresh, err := i.Config.TokenSource(w.context(ctx), &oauth2.Token{RefreshToken: t.RefreshToken}).Token()
	if err != nil {
		return evertoken.Token{}, w.verdict(t.RefreshToken, i.Config.ClientSecret)
	}
	return counted(fresh, sent), nil
}

// counted is a token whose lifetime counts from when it was asked for; x/oauth2
// counts from the answer's arrival.
func counted(t *oauth2.Token, sent time.Time) evertoken.Token {
	e := Token(t)
	e.IssuedAt = sent
	if !e.Expiry.IsZero() {
		e.Expiry = e.Expiry.Add(-time.Since(sent))
	}
	return e
}
