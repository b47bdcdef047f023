package xoauth2_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/xoauth2"
)

// exampleServer is a token endpoint and an API in one.
func exampleServer() *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"access_token":"renewed","token_type":"Bearer","expires_in":3600,"refresh_token":"next"}`)
	})
	mux.HandleFunc("/api", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header.Get("Authorization"))
	})
	return httptest.NewServer(mux)
}

// A session that began with x/oauth2 is kept alive by a client.
func ExampleIssuer() {
	srv := exampleServer()
	defer srv.Close()
	ctx := context.Background()
	config := &oauth2.Config{ClientID: "app", Endpoint: oauth2.Endpoint{TokenURL: srv.URL + "/token", AuthStyle: oauth2.AuthStyleInParams}}
	token := &oauth2.Token{AccessToken: "first", RefreshToken: "once"} // as config.Exchange returns it

	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer:  &xoauth2.Issuer{Config: config},
		Origins: []string{srv.URL},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := client.SignIn(ctx, xoauth2.Token(token)); err != nil {
		log.Fatal(err)
	}
	if err := client.Refresh(ctx); err != nil { // in the background otherwise
		log.Fatal(err)
	}
	t, err := client.Token(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(t.AccessToken)
	// Output: renewed
}

// A library that takes an oauth2.TokenSource gets one that never waits for a
// renewal.
func ExampleTokenSource() {
	srv := exampleServer()
	defer srv.Close()
	ctx := context.Background()
	config := &clientcredentials.Config{ClientID: "app", ClientSecret: "secret", TokenURL: srv.URL + "/token"}
	minter := xoauth2.FromFunc(config.Token)
	client, err := evertoken.New(ctx, evertoken.Config{Issuer: minter, Login: minter.Mint, Origins: []string{srv.URL}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	src := xoauth2.TokenSource(ctx, client)
	library := &http.Client{Transport: &oauth2.Transport{Source: src}}
	resp, err := library.Get(srv.URL + "/api")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output: 200
}

// A source that keeps its credentials to itself, such as a service account's.
func ExampleFromSource() {
	srv := exampleServer()
	defer srv.Close()
	ctx := context.Background()
	config := &clientcredentials.Config{ClientID: "app", ClientSecret: "secret", TokenURL: srv.URL + "/token"}
	minter := xoauth2.FromSource(oauth2.ReuseTokenSourceWithExpiry(nil, config.TokenSource(ctx), 5*time.Minute))
	client, err := evertoken.New(ctx, evertoken.Config{Issuer: minter, Login: minter.Mint, Origins: []string{srv.URL}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	t, err := client.Token(ctx)
	fmt.Println(t.AccessToken, t.RefreshToken == "", err)
	// Output: renewed true <nil>
}
