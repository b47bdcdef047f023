package evertoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/issuer/oauth"
	"github.com/evertoken/evertoken/storage"
)

// A program that signs in once and stays signed in, over restarts too.
func Example() {
	ctx := context.Background()
	issuer := &lightnap.Issuer{BaseURL: "https://api.example.com"}
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer: issuer,
		Store:  storage.NewFile("session"),
		Login: func(ctx context.Context) (evertoken.Token, error) {
			return issuer.Login(ctx, lightnap.Credentials{Login: "me@example.com", Password: os.Getenv("PASSWORD"), RememberMe: true})
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	resp, err := client.HTTP().Get("https://api.example.com/api/users/me/profile")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}

// A server that acts for its users: each has a session of their own.
func ExamplePool() {
	id, err := oauth.ClientSecretBasic("orders", os.Getenv("CLIENT_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	issuer := &oauth.Issuer{TokenURL: "https://id.example.com/token", Client: id}
	pool, err := evertoken.NewPool(evertoken.PoolConfig{
		Config: evertoken.Config{
			Issuer:  issuer,
			Origins: []string{"https://api.example.com"},
			Store:   storage.NewFile("sessions"),
			OnEvent: func(e evertoken.Event) {
				if e.Kind == evertoken.SessionEnded {
					log.Printf("%s has to sign in again", e.Session)
				}
			},
		},
		IdleAfter: 8 * time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	http.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth() // from your own session
		client, err := pool.Client(r.Context(), user)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		resp, err := client.HTTP().Get("https://api.example.com/orders")
		if errors.Is(err, evertoken.ErrSignedOut) {
			http.Redirect(w, r, "/sign-in", http.StatusSeeOther) // whose end is client.SignIn
			return
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(w, resp.Body)
	})
}

// A token that another library needs.
func ExampleClient_Token() {
	var client *evertoken.Client // from evertoken.New
	use := func(ctx context.Context) error {
		token, err := client.Token(ctx)
		if err != nil {
			return err
		}
		fmt.Println("Authorization:", token.TokenType, token.AccessToken)
		return nil
	}
	_ = use
}
