package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	"github.com/aws/smithy-go/auth/bearer"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/bradleyfalzon/ghinstallation/v2"
	"golang.org/x/oauth2"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// A peer is a client to measure.
type peer struct {
	name    string
	module  string // where it comes from; empty: this repository
	frames  string // how the names of its functions begin
	connect connector
}

// A connector returns what signs requests for f's API with tokens of f's issuer, and
// sends them with base, and what ends it.
type connector func(ctx context.Context, f *farEnd, base http.RoundTripper) (http.RoundTripper, func(), error)

// own is the peer that has to keep what it promises.
func own() peer {
	return peer{"evertoken", "", "github.com/evertoken/evertoken.", connectEvertoken}
}

func peers() []peer {
	return []peer{
		own(),
		{"x/oauth2", "golang.org/x/oauth2", "golang.org/x/oauth2.", connectOAuth2},
		{"cloud auth", "cloud.google.com/go/auth", "cloud.google.com/go/auth", connectCloud},
		{"smithy", "github.com/aws/smithy-go", "github.com/aws/smithy-go/", connectSmithy(false)},
		{"smithy, blocking", "github.com/aws/smithy-go", "github.com/aws/smithy-go/", connectSmithy(true)},
		{"ghinstallation", "github.com/bradleyfalzon/ghinstallation/v2", "github.com/bradleyfalzon/ghinstallation/", connectGitHub},
	}
}

// early is when clients that renew in the background begin: when three quarters
// of a token's life are left, so that one failure is not the end.
func early(life time.Duration) time.Duration { return life * 3 / 4 }

// late is when clients that make requests wait begin: the later, the less often.
func late(life time.Duration) time.Duration { return life / 20 }

// issuer is f's, as evertoken sees it.
func issuer(f *farEnd) (*oauth.Issuer, error) {
	id, err := oauth.Public("bench")
	return &oauth.Issuer{TokenURL: f.url("/token"), Client: id, Transport: f.transport}, err
}

func connectEvertoken(ctx context.Context, f *farEnd, base http.RoundTripper) (http.RoundTripper, func(), error) {
	issuer, err := issuer(f)
	if err != nil {
		return nil, nil, err
	}
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer:         issuer,
		Origins:        []string{apiOrigin},
		CheckInterval:  f.life / 20,
		WindowFraction: 0.75, // of a token's life, as early
		ExpiryWindow:   early(f.life),
		Base:           base,
		Logger:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, err
	}
	stop := func() { _ = client.Close() } // nothing is kept that could be lost
	return client.Transport(), stop, client.SignIn(ctx, evertoken.Token{RefreshToken: "refresh"})
}

// connectOAuth2 sets how early a token counts as expired: the 10 s that are the
// default are more than a short-lived one has.
func connectOAuth2(ctx context.Context, f *farEnd, base http.RoundTripper) (http.RoundTripper, func(), error) {
	config := oauth2.Config{ClientID: "bench", Endpoint: oauth2.Endpoint{TokenURL: f.url("/token"), AuthStyle: oauth2.AuthStyleInParams}}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: f.transport})
	source := config.TokenSource(ctx, &oauth2.Token{RefreshToken: "refresh"})
	return &oauth2.Transport{Source: oauth2.ReuseTokenSourceWithExpiry(nil, source, late(f.life)), Base: base}, func() {}, nil
}

func connectCloud(_ context.Context, f *farEnd, base http.RoundTripper) (http.RoundTripper, func(), error) {
	tokens, err := auth.New3LOTokenProvider(&auth.Options3LO{
		ClientID: "bench", ClientSecret: "secret", RefreshToken: "refresh",
		AuthURL: f.url("/authorize"), TokenURL: f.url("/token"), AuthStyle: auth.StyleInParams,
		Client:           &http.Client{Transport: f.transport},
		EarlyTokenExpiry: early(f.life),
	})
	if err != nil {
		return nil, nil, err
	}
	client := &http.Client{Transport: base}
	err = httptransport.AddAuthorizationMiddleware(client, auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: tokens}))
	return client.Transport, func() {}, err
}

func connectGitHub(_ context.Context, f *farEnd, base http.RoundTripper) (http.RoundTripper, func(), error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	t, err := ghinstallation.New(fork{f.transport, base}, 1, 1, pem.EncodeToMemory(block))
	if err != nil {
		return nil, nil, err
	}
	t.BaseURL = f.url("")
	return t, func() {}, nil
}

// A fork sends exchanges and requests of their own ways; ghinstallation has one
// RoundTripper for both.
type fork struct{ issuer, api http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (f fork) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost {
		return f.issuer.RoundTrip(req)
	}
	return f.api.RoundTrip(req)
}

func connectSmithy(blocking bool) connector {
	return func(_ context.Context, f *farEnd, base http.RoundTripper) (http.RoundTripper, func(), error) {
		cache := bearer.NewTokenCache(tokenProvider{f}, func(o *bearer.TokenCacheOptions) {
			o.DisableAsyncRefresh = blocking
			o.RefreshBeforeExpires = early(f.life)
			if blocking {
				o.RefreshBeforeExpires = late(f.life)
			}
		})
		return &smithyTransport{cache, bearer.NewSignHTTPSMessage(), base}, func() {}, nil
	}
}

// A smithyTransport does to a request what smithy's middleware does: it is no
// RoundTripper of its own.
type smithyTransport struct {
	tokens bearer.TokenProvider
	signer bearer.Signer
	base   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *smithyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.tokens.RetrieveBearerToken(req.Context())
	if err != nil {
		return nil, err
	}
	signed, err := t.signer.SignWithBearerToken(req.Context(), token, &smithyhttp.Request{Request: req})
	if err != nil {
		return nil, err
	}
	return t.base.RoundTrip(signed.(*smithyhttp.Request).Request)
}

// A tokenProvider asks the token endpoint, each time: smithy has caches only.
type tokenProvider struct{ f *farEnd }

// RetrieveBearerToken implements bearer.TokenProvider.
func (p tokenProvider) RetrieveBearerToken(ctx context.Context) (bearer.Token, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"refresh"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.f.url("/token"), strings.NewReader(form))
	if err != nil {
		return bearer.Token{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.f.transport.RoundTrip(req)
	if err != nil {
		return bearer.Token{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return bearer.Token{}, fmt.Errorf("the issuer answered %s", resp.Status)
	}
	var answer struct {
		Access  string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	return bearer.Token{Value: answer.Access, CanExpire: true, Expires: time.Now().Add(time.Duration(answer.Expires) * time.Second)}, err
}
