package evertoken_test

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// exampleServer issues tokens at /token, and is api elsewhere.
func exampleServer(api http.HandlerFunc) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "the-token", "token_type": "Bearer", "expires_in": 3600})
	})
	mux.Handle("/", api)
	return httptest.NewServer(mux)
}

// exampleClient signs in at an exampleServer by itself.
func exampleClient(url string) *evertoken.Client {
	auth, err := oauth.ClientSecretBasic("example", "secret")
	if err != nil {
		log.Fatal(err)
	}
	issuer := &oauth.Issuer{TokenURL: url + "/token", Client: auth, APIs: []string{url}, Grant: oauth.ClientCredentials}
	client, err := evertoken.New(context.Background(), evertoken.Config{Issuer: issuer, Login: issuer.Mint})
	if err != nil {
		log.Fatal(err)
	}
	return client
}
