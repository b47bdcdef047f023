package sim

import (
	"net/http"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// The doors of the issuer differ in where the refresh token stands: in a header,
// which arrives even if the body is lost, or in the body.
const (
	lightnapDoor = "lightnap"
	oauthDoor    = "oauth"
)

// issuer returns a process's side of the issuer.
func (p *process) issuer(t *http.Transport) evertoken.Issuer {
	w := p.w
	if w.door == oauthDoor {
		o := &oauth.Issuer{
			TokenURL: baseURL + "/oauth/token", RevocationURL: baseURL + "/oauth/revoke",
			Transport: t, Clock: p.host,
		}
		if w.graceKnown {
			o.Dialect.ReuseGrace = w.grace
		}
		return o
	}
	l := &lightnap.Issuer{BaseURL: baseURL, Transport: t}
	if w.graceKnown {
		return graceful{l, w.grace}
	}
	return l
}

// graceful is an issuer whose grace is known to the client.
type graceful struct {
	*lightnap.Issuer
	grace time.Duration
}

// ReuseGrace tells.
func (g graceful) ReuseGrace() time.Duration { return g.grace }
