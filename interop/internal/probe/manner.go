package probe

import (
	"fmt"
	"slices"

	"github.com/evertoken/evertoken/issuer/oauth"
)

// A manner is how a server wants to be asked.
type manner struct{ json, grantInURL, bearer bool }

// mannerOf is the part of a dialect that decides what goes out.
func mannerOf(d oauth.Dialect) manner { return manner{d.JSON, d.GrantInURL, d.RenewByBearer} }

// dialect is the zero Dialect of the manner.
func (m manner) dialect() oauth.Dialect {
	return oauth.Dialect{JSON: m.json, GrantInURL: m.grantInURL, RenewByBearer: m.bearer}
}

// String is for people.
func (m manner) String() string {
	switch {
	case m.bearer:
		return "the session's token in a header"
	case m.json && m.grantInURL:
		return "JSON and grant_type in the URL"
	case m.json:
		return "JSON"
	case m.grantInURL:
		return "a form and grant_type in the URL"
	}
	return "a form"
}

// manners are those to try: a form first.
func (p *prober) manners() ([]manner, error) {
	all := []manner{{}}
	for _, d := range oauth.Presets() {
		m := mannerOf(d)
		if d.Name == p.Preset {
			return []manner{m}, nil
		}
		if !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	if p.Preset != "" {
		return nil, fmt.Errorf("there is no preset %q", p.Preset)
	}
	return all, nil
}

// candidates are the dialects that ask in the manner that was found: the zero one,
// then the presets.
func (p *prober) candidates() []oauth.Dialect {
	all := []oauth.Dialect{p.manner.dialect()}
	for _, d := range oauth.Presets() {
		if mannerOf(d) == p.manner {
			all = append(all, d)
		}
	}
	return all
}

// Methods of client authentication.
const (
	Basic = "basic"
	Post  = "post"
	None  = "none"
)

// method is how the client proves itself.
func (c Config) method() string {
	switch {
	case c.Auth != "":
		return c.Auth
	case c.Secret != "":
		return Basic
	}
	return None
}

// client proves a client in the configured way; nil says nothing of a client.
func (p *prober) client(id, secret string) oauth.ClientAuth {
	var a oauth.ClientAuth
	var err error
	switch {
	case id == "":
		return nil
	case p.method() == Basic:
		a, err = oauth.ClientSecretBasic(id, secret)
	case p.method() == Post:
		a, err = oauth.ClientSecretPost(id, secret)
	default:
		a, err = oauth.Public(id)
	}
	if err != nil { // a secret is missing: Validate has said so
		return nil
	}
	return a
}

// Validate says what is wrong with the settings of the client.
func (c Config) Validate() error {
	switch m := c.method(); {
	case m != Basic && m != Post && m != None:
		return fmt.Errorf("probe: client authentication %q is none of basic, post, none", m)
	case m != None && (c.ClientID == "" || c.Secret == ""):
		return fmt.Errorf("probe: client authentication %q needs a client id and a secret", m)
	}
	return nil
}

// clientName tells who asks, without the secret.
func (p *prober) clientName() string {
	if p.ClientID == "" {
		return "no client"
	}
	return fmt.Sprintf("client %q (%s)", p.ClientID, map[string]string{
		Basic: "client_secret_basic", Post: "client_secret_post", None: "no secret",
	}[p.method()])
}
