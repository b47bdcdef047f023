package evertoken_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/storage"
)

// A program that signs in once and stays signed in, over restarts too.
func Example() {
	ctx := context.Background()
	issuer := &lightnap.Issuer{BaseURL: "https://api.example.com"}
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer: issuer,
		Store:  storage.NewFile(filepath.Join(os.TempDir(), "example-session")),
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
