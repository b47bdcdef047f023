package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/origin"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// envSecret is where the secret of a confidential client may come from.
const envSecret = "EVERTOKEN_CLIENT_SECRET"

// A profile is what is kept of a session beside its tokens: whose it is and how
// it was begun. It holds no secret, only where to find one.
type profile struct {
	LightNap string `json:"lightnap,omitempty"` // the URL of a LightNap server
	Login    string `json:"login,omitempty"`    // who signed in there

	Server     *oauth.Metadata `json:"server,omitempty"` // an OAuth server, as it described itself
	ClientID   string          `json:"client_id,omitempty"`
	SecretFile string          `json:"client_secret_file,omitempty"`
	SecretEnv  bool            `json:"client_secret_env,omitempty"` // the secret is in envSecret
	Scope      []string        `json:"scope,omitempty"`
	Params     url.Values      `json:"params,omitempty"`   // further ones that the issuer wants
	Redirect   string          `json:"redirect,omitempty"` // empty: any port
	Preset     string          `json:"preset,omitempty"`
	DPoP       bool            `json:"dpop,omitempty"`
	Way        string          `json:"way,omitempty"`  // "device" or "browser"
	APIs       []string        `json:"apis,omitempty"` // where the proxy may send tokens; empty: where it is told to
}

// setSecretFile remembers where the file is, wherever the next command is run.
func (p *profile) setSecretFile(name string) (err error) {
	p.SecretFile, err = filepath.Abs(name)
	return err
}

func (p *profile) addScope(s string) error {
	p.Scope = append(p.Scope, strings.Fields(s)...)
	return nil
}

func (p *profile) addParam(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return errors.New("is not NAME=VALUE")
	}
	if p.Params == nil {
		p.Params = url.Values{}
	}
	p.Params.Add(name, value)
	return nil
}

func (p *profile) setRedirect(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Port() == "" || u.Path == "" {
		return errors.New("is not http://127.0.0.1:PORT/PATH")
	}
	p.Redirect = s
	return nil
}

func (p *profile) addAPI(s string) error {
	if _, err := origin.Parse(s); err != nil {
		return err
	}
	p.APIs = append(p.APIs, s)
	return nil
}

// readProfile reads what encode has written.
func readProfile(data []byte) (profile, error) {
	var p profile
	if json.Unmarshal(data, &p) != nil || !p.exists() {
		return profile{}, errors.New("the profile is damaged")
	}
	return p, nil
}

func (p profile) exists() bool { return p.LightNap != "" || p.Server != nil }

func (p profile) encode() ([]byte, error) { return json.MarshalIndent(p, "", "\t") }

// authority names whoever may see the session's refresh token, and nobody else.
func (p profile) authority() string {
	if p.LightNap != "" {
		return "lightnap " + p.LightNap
	}
	return "oauth " + p.Server.IssuerURL + " " + p.ClientID
}

// String is for people.
func (p profile) String() string {
	switch {
	case p.LightNap == "":
		return fmt.Sprintf("%s (client %s)", p.Server.IssuerURL, p.ClientID)
	case p.Login == "":
		return p.LightNap
	}
	return fmt.Sprintf("%s (%s)", p.LightNap, p.Login)
}

// origins are where the session's tokens may go; never none, for a client wants
// one even if it sends no request.
func (p profile) origins() []string {
	switch {
	case p.LightNap != "":
		return []string{originOf(p.LightNap)}
	case len(p.APIs) > 0:
		return p.APIs
	}
	return []string{originOf(p.Server.IssuerURL)}
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func (p profile) issuer() (evertoken.Issuer, error) {
	if p.LightNap != "" {
		return p.lightnapIssuer(), nil
	}
	return p.oauthIssuer()
}

func (p profile) lightnapIssuer() *lightnap.Issuer {
	return &lightnap.Issuer{BaseURL: p.LightNap, DeviceDetails: "evertoken on " + hostName()}
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "an unknown host"
	}
	return name
}

func (p profile) oauthIssuer() (*oauth.Issuer, error) {
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	i := p.Server.NewIssuer(client)
	i.Scope, i.Params, i.DPoP, i.APIs = p.Scope, p.Params, p.DPoP, p.APIs
	i.Dialect, err = preset(p.Preset)
	return i, err
}

func preset(name string) (oauth.Dialect, error) {
	var names []string
	for _, d := range oauth.Presets() {
		if d.Name == name {
			return d, nil
		}
		names = append(names, d.Name)
	}
	if name == "" {
		return oauth.Dialect{}, nil
	}
	return oauth.Dialect{}, misused("there is no preset %q, but %s", name, strings.Join(names, ", "))
}

// client is how the server knows us. A secret is used only where the session was
// begun with one: it is not for other servers.
func (p profile) client() (oauth.ClientAuth, error) {
	secret, err := p.secret()
	switch {
	case err != nil:
		return nil, err
	case secret == "":
		return oauth.Public(p.ClientID)
	case len(p.Server.ClientAuths) > 0 && !slices.Contains(p.Server.ClientAuths, "client_secret_basic"):
		return oauth.ClientSecretPost(p.ClientID, secret)
	}
	return oauth.ClientSecretBasic(p.ClientID, secret)
}

// secret returns the client's; empty if it has none.
func (p profile) secret() (string, error) {
	secret := ""
	switch {
	case p.SecretFile != "":
		text, err := os.ReadFile(p.SecretFile)
		if err != nil {
			return "", fmt.Errorf("the client's secret: %w", err)
		}
		secret = strings.TrimSpace(string(text))
	case p.SecretEnv:
		secret = os.Getenv(envSecret)
	default:
		return "", nil
	}
	if secret == "" {
		return "", fmt.Errorf("client %s needs its secret, and %s is empty", p.ClientID, or(p.SecretFile, envSecret))
	}
	return secret, nil
}

func or(s, standard string) string {
	if s == "" {
		return standard
	}
	return s
}
