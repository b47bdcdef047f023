package ecosystem_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// A server issues tokens at /token, and has an API that takes the newest of them
// alone. Each refresh token is good once; using one again is counted.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	issued int
	reused int
	ended  bool // the newest access token is refused too
}

func newServer(api http.Handler) *server {
	s := &server{}
	mux := http.NewServeMux()
	mux.HandleFunc("/token", s.token)
	mux.Handle("/", s.guard(api))
	s.Server = httptest.NewServer(mux)
	return s
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if spent := r.FormValue("refresh_token"); spent != "" && spent != fmt.Sprint("refresh-", s.issued) {
		s.reused++
	}
	s.issued++
	s.ended = false
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token":  fmt.Sprint("access-", s.issued),
		"refresh_token": fmt.Sprint("refresh-", s.issued),
		"token_type":    "Bearer",
		"expires_in":    3600,
	})
}

// admits says whether the API takes an Authorization header.
func (s *server) admits(authorization string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return authorization == fmt.Sprint("Bearer access-", s.issued) && !s.ended
}

func (s *server) guard(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.admits(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// endAccess has the API refuse the newest access token, as servers do that lost
// their sessions: nothing in the token has expired.
func (s *server) endAccess() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

func (s *server) counts() (issued, reused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued, s.reused
}

// config is that of a program which signs in by itself.
func (s *server) config() evertoken.Config {
	auth, err := oauth.ClientSecretBasic("example", "secret")
	if err != nil {
		log.Fatal(err)
	}
	issuer := &oauth.Issuer{
		TokenURL: s.URL + "/token",
		Client:   auth,
		APIs:     []string{s.URL},
		Grant:    oauth.ClientCredentials,
	}
	return evertoken.Config{Issuer: issuer, Login: issuer.Mint}
}

func newClient(cfg evertoken.Config) *evertoken.Client {
	client, err := evertoken.New(context.Background(), cfg)
	if err != nil {
		log.Fatal(err)
	}
	return client
}
