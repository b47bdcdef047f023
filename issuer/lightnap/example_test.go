package lightnap_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/evertoken/evertoken/internal/identity"
	"github.com/evertoken/evertoken/issuer/lightnap"
)

// exampleServer is the matching server with one account that needs a code.
func exampleServer() (*identity.Server, *httptest.Server) {
	core, err := identity.New(identity.Config{PasswordIterations: 1, Accounts: []identity.Account{
		{Email: "ann@example.com", UserName: "ann", Password: "Passw0rd!", Roles: []string{"User"}, TwoFactor: true},
	}})
	if err != nil {
		log.Fatal(err)
	}
	return core, httptest.NewServer(core)
}

// A sign-in that may need a second factor, and who signed in.
func Example() {
	core, srv := exampleServer()
	defer srv.Close()
	ctx := context.Background()
	issuer := &lightnap.Issuer{BaseURL: srv.URL}
	token, err := issuer.Login(ctx, lightnap.Credentials{Login: "ann@example.com", Password: "Passw0rd!", RememberMe: true})
	if errors.Is(err, lightnap.ErrTwoFactorRequired) {
		code := core.Code("ann@example.com", identity.ForTwoFactor) // the user reads it from an e-mail
		token, err = issuer.VerifyCode(ctx, lightnap.Verification{Login: "ann@example.com", Code: code, RememberMe: true})
	}
	if err != nil {
		log.Fatal(err)
	}
	user, err := lightnap.Identity(token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.Name, user.InRole("User"), user.InRole("Administrator"))
	// Output: ann true false
}
