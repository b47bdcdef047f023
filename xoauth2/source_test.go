package xoauth2_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/xoauth2"
)

// signedIn is a client that holds t.
func signedIn(t *testing.T, token evertoken.Token) *evertoken.Client {
	t.Helper()
	client, err := evertoken.New(t.Context(), evertoken.Config{Issuer: &xoauth2.Issuer{Config: &oauth2.Config{}}, Origins: []string{"https://api.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := client.SignIn(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	return client
}

// x/oauth2 spends a refresh token that it sees as soon as a token has expired.
func TestTokenSourceKeepsTheRefreshToken(t *testing.T) {
	expiry := time.Now().Add(time.Hour).UTC().Round(0)
	client := signedIn(t, evertoken.Token{AccessToken: "a", RefreshToken: "r", TokenType: "Bearer", Expiry: expiry, Extra: map[string]string{"id_token": "id"}})
	got, err := xoauth2.TokenSource(t.Context(), client).Token()
	if err != nil {
		t.Fatal(err)
	}
	if got.RefreshToken != "" || got.Extra("id_token") != nil {
		t.Error("the token shows more than it needs to")
	}
	if got.AccessToken != "a" || got.Type() != "Bearer" || !got.Expiry.Equal(expiry) {
		t.Errorf("Token = %q %q %v", got.AccessToken, got.Type(), got.Expiry)
	}
}

// A cache of x/oauth2 takes a token without expiry for an everlasting one.
func TestTokenSourceOfUnknownExpiry(t *testing.T) {
	client := signedIn(t, evertoken.Token{AccessToken: "a", RefreshToken: "r"})
	got, err := xoauth2.TokenSource(t.Context(), client).Token()
	if err != nil || got.Expiry.IsZero() || time.Until(got.Expiry) > time.Minute {
		t.Errorf("Token = %v, %v: a cache would keep it for more than a minute", got.Expiry, err)
	}
}

func TestTokenSourceErrors(t *testing.T) {
	if _, err := xoauth2.TokenSource(t.Context(), nil).Token(); err == nil {
		t.Error("a nil client has a token")
	}
	client := signedIn(t, evertoken.Token{AccessToken: "a", TokenType: "dpop"})
	if got, err := xoauth2.TokenSource(t.Context(), client).Token(); err == nil {
		t.Errorf("a DPoP token without its proof was given out: %v", got.TokenType)
	}
	if err := client.SignOut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := xoauth2.TokenSource(t.Context(), client).Token(); !errors.Is(err, evertoken.ErrSignedOut) {
		t.Errorf("Token = %v, want ErrSignedOut", err)
	}
}

// A library with a source sees each renewal, and its context bounds its wait.
func TestTokenSourceFollowsRenewals(t *testing.T) {
	srv := evertest.NewServer(t, evertest.Options{Rotate: true})
	config, first := signIn(t, srv)
	client := newClient(t, srv, config, nil)
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	src := xoauth2.TokenSource(ctx, client)
	if err := client.SignIn(t.Context(), xoauth2.Token(first)); err != nil {
		t.Fatal(err)
	}
	library := &http.Client{Transport: &oauth2.Transport{Source: src, Base: srv.Transport()}}
	getProfile(t, library, srv)
	srv.ExpireAccessTokens()
	if err := client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	getProfile(t, library, srv)

	cancel()
	waiting := signedIn(t, evertoken.Token{RefreshToken: "r"})
	if _, err := xoauth2.TokenSource(ctx, waiting).Token(); err == nil {
		t.Error("Token of an ended context gave a token")
	}
}

func TestToken(t *testing.T) {
	if got := xoauth2.Token(nil); got.AccessToken != "" || got.RefreshToken != "" {
		t.Errorf("Token(nil) = %v", got)
	}
	in := (&oauth2.Token{AccessToken: "a", RefreshToken: "r", TokenType: "bearer"}).WithExtra(map[string]any{"scope": "mail", "id_token": "id"})
	got := xoauth2.Token(in)
	if got.AccessToken != "a" || got.RefreshToken != "r" || got.Scope != "mail" || got.Extra["id_token"] != "id" {
		t.Errorf("Token lost a member: %v", got)
	}
}
