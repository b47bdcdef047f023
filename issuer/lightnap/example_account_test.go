package lightnap_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/identity"
	"github.com/evertoken/evertoken/issuer/lightnap"
)

// newAccount registers at a server of its own.
func newAccount() (*lightnap.Issuer, evertoken.Token, *identity.Server, func()) {
	core, err := identity.New(identity.Config{PasswordIterations: 1})
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewServer(core)
	issuer := &lightnap.Issuer{BaseURL: srv.URL, DeviceDetails: "example"}
	token, err := issuer.Register(context.Background(), lightnap.Registration{Email: "bob@example.com", UserName: "bob", Password: "Passw0rd!"})
	if err != nil {
		log.Fatal(err)
	}
	return issuer, token, core, srv.Close
}

// A session that renews itself, and a request with its token.
func ExampleIssuer_Login() {
	issuer, _, _, end := newAccount()
	defer end()
	ctx := context.Background()
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer: issuer,
		Login: func(ctx context.Context) (evertoken.Token, error) {
			return issuer.Login(ctx, lightnap.Credentials{Login: "bob", Password: "Passw0rd!", RememberMe: true})
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	resp, err := client.HTTP().Get(issuer.BaseURL + "/api/users/me/profile")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// An account is made, and is signed in at once.
func ExampleIssuer_Register() {
	_, token, _, end := newAccount()
	defer end()
	user, err := lightnap.Identity(token)
	fmt.Println(user.Name, user.Email, err)
	// Output: bob bob@example.com <nil>
}

// The sessions of an account, and the end of one of them.
func ExampleIssuer_Devices() {
	issuer, token, _, end := newAccount()
	defer end()
	ctx := context.Background()
	devices, err := issuer.Devices(ctx, token)
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range devices {
		fmt.Println(d.Details, issuer.RevokeDevice(ctx, token, d.ID))
	}
	_, err = issuer.Refresh(ctx, token)
	fmt.Println(err)
	// Output:
	// example <nil>
	// evertoken: issuer: rejected, status 200: lightnap: the session has ended at the server
}

// A sign-in with a code that comes by e-mail, without a password.
func ExampleIssuer_RequestMagicLink() {
	issuer, _, core, end := newAccount()
	defer end()
	ctx := context.Background()
	if err := issuer.RequestMagicLink(ctx, "bob@example.com"); err != nil {
		log.Fatal(err)
	}
	code := core.Code("bob@example.com", identity.ForMagicLink) // the user reads it from an e-mail
	token, err := issuer.Login(ctx, lightnap.Credentials{Login: "bob@example.com", Password: code, MagicLink: true})
	fmt.Println(token.AccessToken != "", err)
	// Output: true <nil>
}
