package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

// Metadata is what a server publishes about itself (RFC 8414, section 2): the
// part of it that matters here. What it does not mention is empty; by the RFC a
// server without Grants has the authorization code, and one without ClientAuths
// takes client_secret_basic.
type Metadata struct {
	IssuerURL         string    `json:"issuer"`
	AuthURL           string    `json:"authorization_endpoint"`
	TokenURL          string    `json:"token_endpoint"`
	RevocationURL     string    `json:"revocation_endpoint"`
	DeviceURL         string    `json:"device_authorization_endpoint"`
	MutualTLS         Endpoints `json:"mtls_endpoint_aliases"` // RFC 8705, section 5
	Grants            []string  `json:"grant_types_supported"`
	Scopes            []string  `json:"scopes_supported"`
	ClientAuths       []string  `json:"token_endpoint_auth_methods_supported"`
	SigningAlgorithms []string  `json:"token_endpoint_auth_signing_alg_values_supported"`
	DPoPAlgorithms    []string  `json:"dpop_signing_alg_values_supported"`
	IssuerInAnswers   bool      `json:"authorization_response_iss_parameter_supported"`

	transport *http.Transport
}

// Endpoints are those that a server has for clients with a certificate. An empty
// one is the same as for the others.
type Endpoints struct {
	TokenURL      string `json:"token_endpoint"`
	RevocationURL string `json:"revocation_endpoint"`
	DeviceURL     string `json:"device_authorization_endpoint"`
}

// Discover asks the server at issuerURL about itself: at the place of RFC 8414,
// and at that of OpenID Connect if there is nothing. A document that names
// another issuer is an error, down to a slash at the end: it is not to be trusted
// with what belongs to this one. transport may be nil; see [Issuer.Transport].
func Discover(ctx context.Context, issuerURL string, transport *http.Transport) (*Metadata, error) {
	m, err := discover(ctx, issuerURL, exchange.New(transport))
	if err != nil {
		return nil, fmt.Errorf("oauth: discover: %w", err)
	}
	m.transport = transport
	return m, nil
}

func discover(ctx context.Context, issuerURL string, client *exchange.Client) (*Metadata, error) {
	u, err := url.Parse(issuerURL)
	if checkURL(issuerURL) != nil || err != nil || u.RawQuery != "" {
		return nil, misconfigured("the issuer URL is not https://host[:port][/path], or http on loopback")
	}
	var last error
	for _, place := range wellKnown(u) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Accept", "application/json")
		a, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		if succeeded(a) && !exchange.HTML(a) {
			return readMetadata(a, issuerURL)
		}
		e := exchange.Unexplained(a)
		e.Outcome = evertoken.Unavailable // there is nothing that asking could have spent
		e.Err = fmt.Errorf("no metadata at %s: answer of type %q", place, typeOf(a))
		last = e
		if busy(a) {
			break // it may well be there
		}
	}
	return nil, last
}

// wellKnown lists where the document can be. RFC 8414 puts its name before the
// path of the issuer (section 3.1), OpenID Connect behind it.
func wellKnown(issuer *url.URL) []string {
	origin := issuer.Scheme + "://" + issuer.Host
	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	return []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + path + "/.well-known/openid-configuration",
	}
}

// readMetadata checks a document before any of it is used.
func readMetadata(a *exchange.Answer, asked string) (*Metadata, error) {
	fault := func(format string, args ...any) error {
		return &evertoken.RefreshError{Outcome: evertoken.Misconfigured, StatusCode: a.StatusCode, Err: fmt.Errorf(format, args...)}
	}
	var m Metadata
	if err := json.Unmarshal(a.Body, &m); err != nil {
		var member *json.UnmarshalTypeError
		if errors.As(err, &member) {
			return nil, fault("member %s of the metadata, type %q, is of another kind", member.Field, typeOf(a))
		}
		return nil, fault("answer of type %q, %d bytes, is no JSON object", typeOf(a), len(a.Body))
	}
	switch {
	case m.IssuerURL == "":
		return nil, fault("answer of type %q has no member issuer", typeOf(a))
	case m.IssuerURL != asked:
		return nil, fault("the metadata is of issuer %q, not of %q", exchange.Clean(m.IssuerURL), asked)
	case m.TokenURL == "":
		return nil, fault("answer of type %q has no member token_endpoint", typeOf(a))
	}
	for _, e := range []struct{ name, url string }{
		{"token_endpoint", m.TokenURL}, {"authorization_endpoint", m.AuthURL},
		{"revocation_endpoint", m.RevocationURL}, {"device_authorization_endpoint", m.DeviceURL},
		{"mtls_endpoint_aliases.token_endpoint", m.MutualTLS.TokenURL},
		{"mtls_endpoint_aliases.revocation_endpoint", m.MutualTLS.RevocationURL},
		{"mtls_endpoint_aliases.device_authorization_endpoint", m.MutualTLS.DeviceURL},
	} {
		if err := checkURL(e.url); e.url != "" && err != nil {
			return nil, fault("member %s %w", e.name, err)
		}
	}
	return &m, nil
}

// NewIssuer returns an issuer for the server, to complete and then to use. With
// [MutualTLS] it goes to the endpoints that are for that.
func (m *Metadata) NewIssuer(client ClientAuth) *Issuer {
	i := &Issuer{
		TokenURL: m.TokenURL, RevocationURL: m.RevocationURL, DeviceURL: m.DeviceURL, AuthURL: m.AuthURL,
		IssuerURL: m.IssuerURL, IssuerInAnswers: m.IssuerInAnswers,
		Client: client, Transport: m.transport,
	}
	if _, ok := client.(mutualTLS); ok {
		i.TokenURL = or(m.MutualTLS.TokenURL, i.TokenURL)
		i.RevocationURL = or(m.MutualTLS.RevocationURL, i.RevocationURL)
		i.DeviceURL = or(m.MutualTLS.DeviceURL, i.DeviceURL)
	}
	return i
}
