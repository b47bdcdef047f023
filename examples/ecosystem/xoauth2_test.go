package ecosystem_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/oauth"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/xoauth2"
)

// What a program with golang.org/x/oauth2 looks like before and after it moves,
// as docs/from-x-oauth2.md shows it. Each pair does the same.

func machineBefore(ctx context.Context, tokenURL, secret string) *http.Client {
	config := &clientcredentials.Config{
		ClientID:     "my-client",
		ClientSecret: secret,
		TokenURL:     tokenURL,
		Scopes:       []string{"orders"},
	}
	return config.Client(ctx)
}

func machineAfter(ctx context.Context, tokenURL, secret, apiURL string) (*evertoken.Client, error) {
	auth, err := oauth.ClientSecretBasic("my-client", secret)
	if err != nil {
		return nil, err
	}
	issuer := &oauth.Issuer{
		TokenURL: tokenURL,
		Client:   auth,
		Scope:    []string{"orders"},
		APIs:     []string{apiURL}, // where the token may go
		Grant:    oauth.ClientCredentials,
	}
	return evertoken.New(ctx, evertoken.Config{Issuer: issuer, Login: issuer.Mint})
}

func personBefore(ctx context.Context, config *oauth2.Config, code, verifier string) (*http.Client, error) {
	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, err
	}
	return config.Client(ctx, token), nil
}

func personAfter(ctx context.Context, config *oauth2.Config, code, verifier, apiURL, dir string) (*evertoken.Client, error) {
	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, err
	}
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer:  &xoauth2.Issuer{Config: config},
		Origins: []string{apiURL},
		Store:   storage.NewFile(dir),
	})
	if err != nil {
		return nil, err
	}
	return client, client.SignIn(ctx, xoauth2.Token(token))
}

func sourceBefore(ctx context.Context, config *oauth2.Config, token *oauth2.Token) oauth2.TokenSource {
	return config.TokenSource(ctx, token)
}

func sourceAfter(ctx context.Context, client *evertoken.Client) oauth2.TokenSource {
	return xoauth2.TokenSource(ctx, client)
}

// A program that speaks for itself.
func Example_fromClientCredentials() {
	srv := newServer(http.NotFoundHandler())
	defer srv.Close()
	ctx := context.Background()

	get(machineBefore(ctx, srv.URL+"/token", "secret"), srv.URL)

	client, err := machineAfter(ctx, srv.URL+"/token", "secret", srv.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	get(client.HTTP(), srv.URL)
	issued, _ := srv.counts()
	fmt.Println(issued, "tokens")
	// Output: 2 tokens
}

// A person who signs in by a web page, and a library that wants a TokenSource.
func Example_fromAuthorizationCode() {
	srv := newServer(http.NotFoundHandler())
	defer srv.Close()
	ctx := context.Background()
	config := &oauth2.Config{ClientID: "app", Endpoint: oauth2.Endpoint{TokenURL: srv.URL + "/token", AuthStyle: oauth2.AuthStyleInParams}}

	before, err := personBefore(ctx, config, "code", "verifier")
	if err != nil {
		log.Fatal(err)
	}
	get(before, srv.URL)

	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	client, err := personAfter(ctx, config, "code", "verifier", srv.URL, dir)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	get(client.HTTP(), srv.URL)

	old, err := sourceBefore(ctx, config, &oauth2.Token{AccessToken: "access-2"}).Token()
	if err != nil {
		log.Fatal(err)
	}
	now, err := sourceAfter(ctx, client).Token()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(old.AccessToken == now.AccessToken, now.RefreshToken == "")
	// Output: true true
}
