// Package grpccreds signs gRPC calls with the access token of a client. It
// implements the interface credentials.PerRPCCredentials of
// google.golang.org/grpc and does not depend on it.
//
//	creds, err := grpccreds.New(client, grpccreds.Options{})
//	if err != nil { ... }
//	conn, err := grpc.NewClient("dns:///api.example.com",
//		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
//		grpc.WithPerRPCCredentials(creds))
package grpccreds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/evertoken/evertoken"
)

// Options say where tokens may go. The zero value is for a [*evertoken.Client]
// and its own origins.
type Options struct {
	// Origins are where tokens may be sent: https://host[:port], as the authority
	// of the connection names it. Nil means those of the source, if it is an
	// *evertoken.Client.
	Origins []string

	// InsecureLoopback sends tokens without TLS, for a server on this machine.
	// Origins must then name it alone, as http://127.0.0.1:port,
	// http://[::1]:port or http://localhost:port.
	InsecureLoopback bool
}

// Credentials sign each call with the token that is valid by then; streams keep
// the one that they were opened with. A call whose server is not among the
// origins fails, and so does one without TLS; neither gets a token. The code of
// such a failure, and of one to get a token, is Unauthenticated.
//
// A call that the server refuses as Unauthenticated is not repeated and renews
// nothing; Client.Refresh does. Credentials are safe for concurrent use.
type Credentials struct {
	transport *evertoken.Transport
	scheme    string // of the connections
}

// New returns credentials that take their tokens from source. It fails on a nil
// source and on origins that are missing or unfit, and asks for no token.
func New(source evertoken.TokenSource, o Options) (*Credentials, error) {
	if source == nil {
		return nil, errors.New("grpccreds: source is nil")
	}
	if own, ok := source.(interface{ Transport() *evertoken.Transport }); ok && o.Origins == nil {
		o.Origins = own.Transport().Origins
	}
	c := &Credentials{
		transport: &evertoken.Transport{Source: source, Origins: o.Origins, Base: echo{}},
		scheme:    "https",
	}
	if o.InsecureLoopback {
		c.scheme = "http"
	}
	if _, err := c.authorization(context.Background(), &url.URL{Scheme: "none", Host: "none"}); err != nil {
		return nil, fmt.Errorf("grpccreds: %w", err)
	}
	if err := c.check(o.Origins); err != nil {
		return nil, err
	}
	return c, nil
}

// check refuses origins that no connection of this kind can have. Without TLS
// the others would be a way for tokens to leave in the clear.
func (c *Credentials) check(origins []string) error {
	fit := 0
	for i, o := range origins {
		u, err := url.Parse(o)
		if err == nil && strings.EqualFold(u.Scheme, c.scheme) {
			fit++
		} else if c.scheme == "http" {
			return fmt.Errorf("grpccreds: Options.Origins[%d] is not http, which is all that InsecureLoopback is for", i)
		}
	}
	if fit == 0 {
		return errors.New("grpccreds: Options.Origins has no https origin: set InsecureLoopback for a server without TLS on this machine")
	}
	return nil
}

// RequireTransportSecurity has grpc refuse connections without TLS, unless
// Options.InsecureLoopback is set.
func (c *Credentials) RequireTransportSecurity() bool { return c.scheme == "https" }

// GetRequestMetadata returns the authorization of one call to uri, which is
// https://authority/service whatever the connection is. It waits until ctx ends,
// and only if there is no valid token.
func (c *Credentials) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	if len(uri) != 1 {
		return nil, fmt.Errorf("grpccreds: asked for one token for %d servers, want 1", len(uri))
	}
	u, err := url.Parse(uri[0])
	if err != nil || u.Scheme != "https" {
		return nil, errors.New("grpccreds: the server's uri is not https://authority/service")
	}
	if c.scheme == "http" {
		u = plain(u)
	}
	value, err := c.authorization(ctx, u)
	switch {
	case err != nil:
		return nil, fmt.Errorf("grpccreds: %w", err)
	case value == "":
		return nil, fmt.Errorf("grpccreds: %s://%s is not among the origins: it gets no token", u.Scheme, u.Host)
	}
	if scheme, _, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "DPoP") {
		return nil, errors.New("grpccreds: the token is of type DPoP and needs a proof in each request, which gRPC has no place for")
	}
	return map[string]string{"authorization": value}, nil
}

// plain is the http URL that grpc means. grpc drops the port 443, which is not
// the default of http.
func plain(u *url.URL) *url.URL {
	p := *u
	p.Scheme = "http"
	if p.Port() == "" {
		p.Host += ":443"
	}
	return &p
}

// authorization asks the transport how it would sign a request to u, so that one
// set of rules says where tokens go. Empty means not at all.
func (c *Credentials) authorization(ctx context.Context, u *url.URL) (string, error) {
	req := (&http.Request{Method: http.MethodPost, URL: u, Header: http.Header{}}).WithContext(ctx)
	resp, err := c.transport.RoundTrip(req) //nolint:bodyclose // an echo has none
	if err != nil {
		return "", err
	}
	return resp.Request.Header.Get("Authorization"), nil
}

// An echo sends nothing. Its answers hold the request that would have been sent.
type echo struct{}

// RoundTrip implements http.RoundTripper.
func (echo) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}
