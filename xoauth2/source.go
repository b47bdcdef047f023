// Package xoauth2 joins evertoken and golang.org/x/oauth2, in both directions.
//
// [TokenSource] serves libraries that take an oauth2.TokenSource from a client
// that renews in the background. [Issuer] renews the tokens of an oauth2.Config,
// and [Minter] those of any oauth2.TokenSource, so that a program that uses
// x/oauth2 today keeps its configuration.
//
//	client, err := evertoken.New(ctx, evertoken.Config{
//		Issuer:  &xoauth2.Issuer{Config: config},
//		Origins: []string{"https://api.example.com"},
//	})
//	if err != nil { ... }
//	err = client.SignIn(ctx, xoauth2.Token(token)) // from config.Exchange, once
//	library := somelibrary.New(xoauth2.TokenSource(ctx, client))
package xoauth2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/evertoken/evertoken"
)

// askAgain is the expiry, from now, of a token whose own is unknown. x/oauth2
// takes a zero Expiry for forever, and would never ask for the renewed one.
const askAgain = time.Minute

// TokenSource returns a source of client's tokens for libraries that take one.
// Each call of its Token waits until ctx ends, and only if client has no valid
// token; its errors are those of [evertoken.Client.Token]. It is safe for
// concurrent use and need not be wrapped in oauth2.ReuseTokenSource.
//
// Its tokens carry AccessToken, TokenType and Expiry, and never the refresh
// token: whatever received one could spend it, as x/oauth2 does with an expired
// token, and a server that rotates takes the client's next use of it for theft
// and ends the session. A token whose expiry is unknown is given one a minute
// ahead, for x/oauth2 would keep it forever otherwise.
//
// A token of type DPoP is an error: it is worthless without a proof in each
// request, and only the client's own transport adds one.
func TokenSource(ctx context.Context, client *evertoken.Client) oauth2.TokenSource {
	return source{ctx, client}
}

// A source keeps its context, as those of x/oauth2 do: Token takes none.
type source struct {
	ctx    context.Context
	client *evertoken.Client
}

// Token implements oauth2.TokenSource.
func (s source) Token() (*oauth2.Token, error) {
	if s.client == nil {
		return nil, errors.New("xoauth2: TokenSource: client is nil")
	}
	t, err := s.client.Token(s.ctx)
	if err != nil {
		return nil, fmt.Errorf("xoauth2: %w", err)
	}
	if strings.EqualFold(t.TokenType, "DPoP") {
		return nil, errors.New("xoauth2: the token is of type DPoP and needs a proof in each request: use Client.HTTP or Client.Transport")
	}
	if t.Expiry.IsZero() {
		t.Expiry = time.Now().Add(askAgain)
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry}, nil
}

// Token returns t for [evertoken.Client.SignIn], with what x/oauth2 knows of
// its scope and id_token. The client owns the refresh token from then on: do not
// use t, or a source made of it, any more. A nil t is the zero Token.
func Token(t *oauth2.Token) evertoken.Token {
	if t == nil {
		return evertoken.Token{}
	}
	e := evertoken.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, RefreshToken: t.RefreshToken, Expiry: t.Expiry}
	e.Scope, _ = t.Extra("scope").(string)
	if id, ok := t.Extra("id_token").(string); ok && id != "" {
		e.Extra = map[string]string{"id_token": id}
	}
	return e
}
