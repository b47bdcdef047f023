package ecosystem_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/url"

	"github.com/google/go-github/v84/github"
	"golang.org/x/oauth2"

	"github.com/evertoken/evertoken/xoauth2"
)

// Libraries that were made for x/oauth2, such as go-github, go on with a client
// behind the TokenSource. Those that take an *http.Client may as well get
// client.HTTP(), which sends a refused request again and keeps the token to its
// origins.
func Example_goGitHub() {
	srv := newServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"login":"ann"}`)
	}))
	defer srv.Close()
	client := newClient(srv.config()) // at github.com: an oauth.Issuer with Dialect: oauth.GitHub()
	defer client.Close()

	ctx := context.Background()
	gh := github.NewClient(oauth2.NewClient(ctx, xoauth2.TokenSource(ctx, client)))
	gh.BaseURL, _ = url.Parse(srv.URL + "/") // only here: not the real one
	user, _, err := gh.Users.Get(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.GetLogin())

	gh = github.NewClient(client.HTTP())
	gh.BaseURL, _ = url.Parse(srv.URL + "/")
	srv.endAccess()
	user, _, err = gh.Users.Get(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.GetLogin(), "again")
	// Output:
	// ann
	// ann again
}
