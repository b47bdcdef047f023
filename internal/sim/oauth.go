package sim

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
	"github.com/evertoken/evertoken/issuer/lightnap"
)

// The doors of the issuer differ in where the refresh token stands: in a header,
// which arrives even if the body is lost, or in the body.
const (
	lightnapDoor = "lightnap"
	oauthDoor    = "oauth"
)

// client returns a process's side of the issuer.
func (w *world) client(t *http.Transport) evertoken.Issuer {
	var i evertoken.Issuer = &lightnap.Issuer{BaseURL: baseURL, Transport: t}
	if w.door == oauthDoor {
		i = &oauthIssuer{exchange.New(t)}
	}
	if w.graceKnown {
		return graceful{i, w.grace}
	}
	return i
}

// graceful is an issuer whose grace is known to the client.
type graceful struct {
	evertoken.Issuer
	grace time.Duration
}

func (g graceful) ReuseGrace() time.Duration { return g.grace }

// Revoke passes on what embedding an interface hides.
func (g graceful) Revoke(ctx context.Context, t evertoken.Token) error {
	if r, ok := g.Issuer.(interface {
		Revoke(context.Context, evertoken.Token) error
	}); ok {
		return r.Revoke(ctx, t)
	}
	return nil
}

// An oauthIssuer speaks RFC 6749, section 6, and RFC 7009: as much of them as
// the simulated issuer needs.
type oauthIssuer struct {
	exchange *exchange.Client
}

// Refresh implements evertoken.Issuer.
func (i *oauthIssuer) Refresh(ctx context.Context, t evertoken.Token) (evertoken.Token, error) {
	a, err := i.post(ctx, "/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {t.RefreshToken}})
	if err != nil {
		return evertoken.Token{}, err
	}
	var answer struct {
		Access  string        `json:"access_token"`
		Refresh string        `json:"refresh_token"`
		Expires time.Duration `json:"expires_in"`
		Error   string        `json:"error"`
	}
	if json.Unmarshal(a.Body, &answer) != nil || a.StatusCode != http.StatusOK {
		failed := exchange.Unexplained(a)
		if answer.Error != "" {
			failed.Code, failed.Outcome = answer.Error, exchange.OAuthOutcome(answer.Error)
		}
		return evertoken.Token{}, failed
	}
	return evertoken.Token{AccessToken: answer.Access, RefreshToken: answer.Refresh}, nil
}

// Revoke ends the session at the issuer.
func (i *oauthIssuer) Revoke(ctx context.Context, t evertoken.Token) error {
	_, err := i.post(ctx, "/oauth/revoke", url.Values{"token": {t.RefreshToken}})
	return err
}

func (i *oauthIssuer) post(ctx context.Context, path string, form url.Values) (*exchange.Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return i.exchange.Do(r)
}
