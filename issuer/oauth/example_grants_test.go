package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// exampleServer tells about itself, and of each token request which grant it was
// and whether the client proved itself by an assertion.
func exampleServer() *httptest.Server {
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": srv.URL, "token_endpoint": srv.URL + "/token", "scopes_supported": []string{"orders"}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.FormValue("grant_type"), r.FormValue("client_assertion") != "", r.Header.Get("DPoP") != "")
		kind := "Bearer"
		if r.Header.Get("DPoP") != "" {
			kind = "DPoP"
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": kind, "expires_in": 300})
	})
	return srv
}

func exampleKey() *oauth.Key {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // x509.ParsePKCS8PrivateKey reads yours
	if err != nil {
		log.Fatal(err)
	}
	key, err := oauth.NewKey("ES256", private, "key-1")
	if err != nil {
		log.Fatal(err)
	}
	return key
}

// A server that says where its endpoints are.
func ExampleDiscover() {
	srv := exampleServer()
	defer srv.Close()
	server, err := oauth.Discover(context.Background(), srv.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	me, err := oauth.Public("my-app")
	if err != nil {
		log.Fatal(err)
	}
	issuer := server.NewIssuer(me)
	issuer.APIs = []string{"https://api.example.com"}
	fmt.Println(issuer.TokenURL == srv.URL+"/token", server.Scopes, issuer.Validate())
	// Output: true [orders] <nil>
}

// A grant of one's own: that of a password (RFC 6749, section 4.3).
func ExampleGrant() {
	srv := exampleServer()
	defer srv.Close()
	password := func(context.Context) (url.Values, error) {
		return url.Values{"grant_type": {"password"}, "username": {"me"}, "password": {os.Getenv("PASSWORD")}}, nil
	}
	issuer := &oauth.Issuer{TokenURL: srv.URL + "/token", APIs: []string{"https://api.example.com"}}
	token, err := issuer.Obtain(context.Background(), password) // for client.SignIn
	fmt.Println(token.TokenType, err)
	// Output:
	// password false false
	// Bearer <nil>
}

// A client that proves itself with a key instead of a secret.
func ExamplePrivateKeyJWT() {
	srv := exampleServer()
	defer srv.Close()
	auth, err := oauth.PrivateKeyJWT("my-client", exampleKey(), srv.URL)
	if err != nil {
		log.Fatal(err)
	}
	issuer := &oauth.Issuer{TokenURL: srv.URL + "/token", Client: auth, Grant: oauth.ClientCredentials, APIs: []string{"https://api.example.com"}}
	token, err := issuer.Mint(context.Background())
	fmt.Println(token.TokenType, err)
	// Output:
	// client_credentials true false
	// Bearer <nil>
}

// A program that acts for somebody by its own word.
func ExampleJWTBearer() {
	srv := exampleServer()
	defer srv.Close()
	assertion := oauth.Assertion{Issuer: "my-client", Subject: "ann@example.com", Audience: srv.URL}
	issuer := &oauth.Issuer{
		TokenURL: srv.URL + "/token",
		Grant:    oauth.JWTBearer(assertion.Signed(exampleKey())),
		APIs:     []string{"https://api.example.com"},
	}
	token, err := issuer.Mint(context.Background())
	fmt.Println(token.AccessToken, err)
	// Output:
	// urn:ietf:params:oauth:grant-type:jwt-bearer false false
	// a <nil>
}

// The token of one service in exchange for that of another.
func ExampleTokenExchange() {
	srv := exampleServer()
	defer srv.Close()
	issuer := &oauth.Issuer{
		TokenURL: srv.URL + "/token",
		Grant: oauth.TokenExchange(oauth.Exchange{Subject: func(context.Context) (string, error) {
			return "the platform's token", nil // of a file, or of another Client
		}}),
		APIs: []string{"https://api.example.com"},
	}
	token, err := issuer.Mint(context.Background())
	fmt.Println(token.AccessToken, err)
	// Output:
	// urn:ietf:params:oauth:grant-type:token-exchange false false
	// a <nil>
}

// Tokens that are of no use to who steals them: bound to a key by DPoP.
func ExampleIssuer_dpop() {
	srv := exampleServer()
	defer srv.Close()
	issuer := &oauth.Issuer{
		TokenURL: srv.URL + "/token",
		Grant:    oauth.ClientCredentials,
		APIs:     []string{"https://api.example.com"},
		DPoP:     true,
	}
	client, err := evertoken.New(context.Background(), evertoken.Config{Issuer: issuer, Login: issuer.Mint})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	token, err := client.Token(context.Background())
	fmt.Println(token.TokenType, err)
	// Output:
	// client_credentials false true
	// DPoP <nil>
}
