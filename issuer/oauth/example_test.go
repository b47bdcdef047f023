package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/identity"
	"github.com/evertoken/evertoken/issuer/oauth"
	"github.com/evertoken/evertoken/storage"
)

// A program that speaks for itself: client credentials.
func Example() {
	server, err := identity.New(identity.Config{Clients: []identity.Client{{ID: "robot", Secret: "correct horse"}}})
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewServer(server) // the authorization server, and the API
	defer srv.Close()

	auth, err := oauth.ClientSecretBasic("robot", "correct horse")
	if err != nil {
		log.Fatal(err)
	}
	issuer := &oauth.Issuer{
		TokenURL: srv.URL + "/oauth/token",
		Client:   auth,
		Grant:    oauth.ClientCredentials,
		APIs:     []string{srv.URL},
	}
	client, err := evertoken.New(context.Background(), evertoken.Config{Issuer: issuer, Login: issuer.Mint})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	token, err := client.Token(context.Background())
	fmt.Println(token.TokenType, token.AccessToken != "", token.RefreshToken == "", err)
	// Output: Bearer true true <nil>
}

// A program that used golang.org/x/oauth2:
//
//	cfg := &oauth2.Config{
//		ClientID: "my-client", ClientSecret: secret,
//		Endpoint: oauth2.Endpoint{TokenURL: "https://login.example.com/token"},
//	}
//	client := cfg.Client(ctx, &oauth2.Token{RefreshToken: saved})
//
// There, whoever makes a request waits for the renewal, and a rotated refresh
// token that the program does not save is lost.
func Example_movingFromOAuth2() {
	ctx := context.Background()
	auth, err := oauth.ClientSecretBasic("my-client", os.Getenv("CLIENT_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer: &oauth.Issuer{
			TokenURL: "https://login.example.com/token",
			Client:   auth,
			APIs:     []string{"https://api.example.com"}, // x/oauth2 sends tokens anywhere
		},
		Store: storage.NewFile("/var/lib/my-client"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	// Once, with what x/oauth2 had; from then on the store knows better.
	if _, err := client.Token(ctx); errors.Is(err, evertoken.ErrSignedOut) {
		if err := client.SignIn(ctx, evertoken.Token{RefreshToken: os.Getenv("REFRESH_TOKEN")}); err != nil {
			log.Fatal(err)
		}
	}
	resp, err := client.HTTP().Get("https://api.example.com/things")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
}

// A person signs in from a machine without a browser.
func ExampleIssuer_Device() {
	ctx := context.Background()
	server, err := oauth.Discover(ctx, "https://login.example.com", nil)
	if err != nil {
		log.Fatal(err)
	}
	me, err := oauth.Public("my-cli")
	if err != nil {
		log.Fatal(err)
	}
	issuer := server.NewIssuer(me)
	issuer.Scope = []string{"openid", "offline_access"}
	issuer.APIs = []string{"https://api.example.com"}
	client, err := evertoken.New(ctx, evertoken.Config{Issuer: issuer, Store: storage.NewFile("/var/lib/my-cli")})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Token(ctx); errors.Is(err, evertoken.ErrSignedOut) {
		token, err := issuer.Device(ctx, func(_ context.Context, p oauth.Prompt) error {
			fmt.Printf("Open %s and type %s\n", p.URL, p.UserCode)
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := client.SignIn(ctx, token); err != nil {
			log.Fatal(err)
		}
	}
}

// A person signs in on this machine.
func ExampleIssuer_Authorize() {
	me, err := oauth.Public("my-cli")
	if err != nil {
		log.Fatal(err)
	}
	issuer := &oauth.Issuer{
		AuthURL:  "https://login.example.com/authorize",
		TokenURL: "https://login.example.com/token",
		Client:   me,
		Scope:    []string{"offline_access"},
	}
	token, err := issuer.Authorize(context.Background(), oauth.Browser{
		Open: func(_ context.Context, url string) error {
			fmt.Println("Open", url)
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = token // for Client.SignIn
}

// A server that answers in an envelope, in milliseconds, and calls a dead refresh
// token "E17". What its other codes mean is RFC 6749's business.
func ExampleDialect() {
	dialect := oauth.Dialect{
		Name:         "acme",
		AccessToken:  "result.token",
		RefreshToken: "result.refresh",
		ExpiresIn:    "result.ttl_ms",
		Unit:         time.Millisecond,
		ErrorCode:    []string{"failure.code"},
		ErrorText:    []string{"failure.text"},
		Verdicts: []oauth.Verdict{
			{Status: http.StatusConflict, Code: "E17", Outcome: evertoken.Rejected},
			{Code: "E4", Text: "maintenance", Outcome: evertoken.Unavailable},
		},
	}

	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprint(w, `{"failure":{"code":"E17","text":"that token is gone"}}`)
	}))
	defer srv.Close()
	issuer := &oauth.Issuer{TokenURL: srv.URL, Dialect: dialect}
	_, err := issuer.Refresh(context.Background(), evertoken.Token{RefreshToken: "made up"})
	fmt.Println(err)
	// Output: evertoken: issuer: rejected, status 409, E17 (that token is gone)
}
