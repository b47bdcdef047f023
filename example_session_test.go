package evertoken_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/evertoken/evertoken"
)

// keyServer is an issuer of one's own: anything with this method is one.
type keyServer struct{ renewals int }

// Refresh implements evertoken.Issuer.
func (k *keyServer) Refresh(_ context.Context, t evertoken.Token) (evertoken.Token, error) {
	if t.RefreshToken == "" {
		return evertoken.Token{}, &evertoken.RefreshError{Outcome: evertoken.Rejected, Err: errors.New("there is no refresh token")}
	}
	k.renewals++
	return evertoken.Token{
		AccessToken:  fmt.Sprint("access-", k.renewals),
		RefreshToken: fmt.Sprint("refresh-", k.renewals),
		Expiry:       time.Now().Add(time.Hour),
	}, nil
}

// An issuer of one's own, and a session that begins with a token from elsewhere.
func ExampleIssuer() {
	ctx := context.Background()
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer:  &keyServer{},
		Origins: []string{"https://api.example.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := client.SignIn(ctx, evertoken.Token{RefreshToken: "from elsewhere"}); err != nil {
		log.Fatal(err)
	}
	token, err := client.Token(ctx) // there is none yet, so this one time it waits
	fmt.Println(token.AccessToken, err)
	// Output: access-1 <nil>
}

// A program that asks its user to sign in, once. The session is kept in the
// store, which is memory here: with another one it outlives the program.
func ExampleClient_SignIn() {
	ctx := context.Background()
	client, err := evertoken.New(ctx, evertoken.Config{Issuer: &keyServer{}, Origins: []string{"https://api.example.com"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Token(ctx); errors.Is(err, evertoken.ErrSignedOut) {
		fmt.Println("please sign in")
		token := evertoken.Token{AccessToken: "access-0", RefreshToken: "refresh-0"} // of the user's sign-in
		if err := client.SignIn(ctx, token); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(client.Status().State)
	if err := client.SignOut(ctx); err != nil {
		log.Fatal(err) // signed out here, but the issuer may not know
	}
	fmt.Println(client.Status().State)
	// Output:
	// please sign in
	// signed in
	// signed out
}

// What the client is doing, for a health check.
func ExampleClient_Status() {
	ctx := context.Background()
	client, err := evertoken.New(ctx, evertoken.Config{Issuer: &keyServer{}, Origins: []string{"https://api.example.com"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	healthy := func(w http.ResponseWriter, _ *http.Request) {
		s := client.Status()
		if s.State == evertoken.SignedOut {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = fmt.Fprintf(w, "%s since %s, failures %d, last error %v\n", s.State, s.Since, s.Failures, s.Err)
	}
	_ = healthy
	fmt.Println(client.Status().State)
	// Output: signed out
}

// Events, for what is to be done when a session ends.
func ExampleConfig_onEvent() {
	ctx := context.Background()
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer:  &keyServer{},
		Origins: []string{"https://api.example.com"},
		OnEvent: func(e evertoken.Event) {
			switch e.Kind {
			case evertoken.SessionEnded:
				fmt.Println("somebody has to sign in again")
			case evertoken.Renewed:
				fmt.Println("renewed:", e.Reason)
			default: // for the log
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := client.SignIn(ctx, evertoken.Token{AccessToken: "a", RefreshToken: "r"}); err != nil {
		log.Fatal(err)
	}
	if err := client.Refresh(ctx); err != nil {
		log.Fatal(err)
	}
	if err := client.SignOut(ctx); err != nil {
		log.Fatal(err)
	}
	_ = client.Close() // waits until all events were seen
	// Output:
	// renewed: asked
	// somebody has to sign in again
}

// What a failure means, for a program that wants to know.
func ExampleRefreshError() {
	ctx := context.Background()
	client, err := evertoken.New(ctx, evertoken.Config{
		Issuer:  &keyServer{},
		Origins: []string{"https://api.example.com"},
		Logger:  slog.New(slog.DiscardHandler), // the program tells by itself
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := client.SignIn(ctx, evertoken.Token{AccessToken: "the-only-token"}); err != nil {
		log.Fatal(err)
	}
	err = client.Refresh(ctx)
	var failed *evertoken.RefreshError
	if errors.As(err, &failed) {
		switch failed.Outcome {
		case evertoken.Rejected:
			fmt.Println("the session is over")
		case evertoken.Misconfigured:
			fmt.Println("the program is set up wrongly:", failed.Code)
		default:
			fmt.Println("it will be tried again")
		}
	}
	// Output: the session is over
}

// A fixedSource has one token.
type fixedSource string

// Token implements evertoken.TokenSource.
func (s fixedSource) Token(context.Context) (evertoken.Token, error) {
	return evertoken.Token{AccessToken: string(s)}, nil
}

// A Transport by itself, with tokens from anywhere. It keeps them to the origins.
func ExampleTransport() {
	shown := roundTripper(func(r *http.Request) (*http.Response, error) {
		fmt.Println(r.URL.Host, r.Header["Authorization"])
		return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody, Request: r}, nil
	})
	client := &http.Client{Transport: &evertoken.Transport{
		Source:  fixedSource("the-token"),
		Origins: []string{"https://api.example.com"},
		Base:    shown,
	}}
	for _, url := range []string{"https://api.example.com/orders", "https://other.example.com/"} {
		resp, err := client.Get(url)
		if err != nil {
			log.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	// Output:
	// api.example.com [Bearer the-token]
	// other.example.com []
}

// A roundTripper is an http.RoundTripper in one function.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
