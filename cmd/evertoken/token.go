package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/evertoken/evertoken"
)

const tokenHelp = `Prints an access token that is valid, and renews it before if it is about to
end. Processes that ask at the same time share one renewal.

  evertoken token -o header | curl -H @- https://api.example.com/things

keeps the token out of the list of processes, where the arguments of a command
are for all to see. For kubectl, in a kubeconfig:

  users:
  - name: me
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        command: evertoken
        args: [token, -o, exec-credential, --id-token]
        interactiveMode: Never
`

func tokenCommand(flags *flag.FlagSet) action {
	s := sessionFlags(flags)
	format := flags.String("o", "token", "`FORMAT` of the output: token, header (the line that a\nrequest needs) or exec-credential (for Kubernetes)")
	id := flags.Bool("id-token", false, "the id token in place of the access token")
	now := flags.Bool("refresh", false, "renew it first: a server has refused the last one")
	return func(ctx context.Context, args []string) error {
		if err := nothing(args); err != nil {
			return err
		}
		write, err := writer(*format)
		if err != nil {
			return err
		}
		c, err := s.credential(ctx, *id, *now)
		if err != nil {
			return err
		}
		return write(os.Stdout, c)
	}
}

// windowFraction and window are how much of its life a token must still have:
// whoever asks wants to use it for a while, and nobody renews it meanwhile.
const (
	windowFraction = 0.25
	window         = 5 * time.Minute
)

// A credential is what a command hands on: an access token or an id token.
type credential struct {
	scheme string
	secret string
	issued time.Time // zero: unknown
	expiry time.Time // zero: unknown
}

// newCredential takes it out of a session's token.
func newCredential(t evertoken.Token, id bool) (credential, error) {
	switch {
	case id:
		return idCredential(t)
	case strings.EqualFold(t.TokenType, "DPoP"):
		return credential{}, errors.New("the access token is bound to a key (DPoP), which stays here: use evertoken proxy")
	}
	return credential{or(t.TokenType, "Bearer"), t.AccessToken, t.IssuedAt, t.Expiry}, nil
}

// idCredential reads from the id token when it ends, which is not when the access
// token does. Whoever gets it verifies it.
func idCredential(t evertoken.Token) (credential, error) {
	var claims jwt.RegisteredClaims
	secret := t.Extra["id_token"]
	if secret == "" {
		return credential{}, errors.New("the issuer gave no id token: it does so for the scope openid, if at all")
	}
	if _, _, err := jwt.NewParser().ParseUnverified(secret, &claims); err != nil || claims.ExpiresAt == nil {
		return credential{}, errors.New("the issuer's id token does not say when it ends") // the cause may quote it
	}
	c := credential{scheme: "Bearer", secret: secret, expiry: claims.ExpiresAt.Time}
	if claims.IssuedAt != nil {
		c.issued = claims.IssuedAt.Time
	}
	return c, nil
}

// ending says that it is time for the next one. One that does not say when it
// ends has an hour, as in the library.
func (c credential) ending(now time.Time) bool {
	if c.expiry.IsZero() {
		return now.Sub(c.issued) > time.Hour
	}
	need := window
	if !c.issued.IsZero() {
		need = min(need, time.Duration(windowFraction*float64(c.expiry.Sub(c.issued))))
	}
	return c.expiry.Sub(now) < need
}

func (c credential) ended(now time.Time) bool { return !c.expiry.IsZero() && !now.Before(c.expiry) }

// credential returns one of the session that is valid, for a while if possible.
func (s *session) credential(ctx context.Context, id, refresh bool) (c credential, err error) {
	p, _, err := s.profile(ctx)
	if err != nil {
		return c, err
	}
	err = s.use(ctx, p, func(client *evertoken.Client) error {
		t, err := client.Token(ctx)
		if err != nil {
			return err
		}
		if c, err = newCredential(t, id); err != nil || !refresh && !(c.ending(time.Now()) && t.RefreshToken != "") {
			return err
		}
		failed := client.Refresh(ctx)
		if t, err = client.Token(ctx); err == nil {
			c, err = newCredential(t, id)
		}
		return c.settle(errors.Join(failed, err), refresh)
	})
	return c, err
}

// settle decides whether a credential will do although it could not be renewed.
func (c credential) settle(failed error, must bool) error {
	now := time.Now()
	switch {
	case failed == nil && c.ended(now):
		return errors.New("the issuer renewed the session without a new id token")
	case failed != nil && !must && !c.ended(now):
		fmt.Fprintf(os.Stderr, "evertoken: the token is good for another %s, and could not be renewed: %v\n", span(c.expiry.Sub(now)), failed)
		return nil
	}
	return failed
}

// writer returns what prints in a format.
func writer(format string) (func(io.Writer, credential) error, error) {
	switch format {
	case "token":
		return func(w io.Writer, c credential) error { return printLine(w, c.secret) }, nil
	case "header":
		return func(w io.Writer, c credential) error {
			return printLine(w, "Authorization: "+c.scheme+" "+c.secret)
		}, nil
	case "exec-credential":
		return writeExecCredential, nil
	}
	return nil, misused("-o %s is neither token, header nor exec-credential", format)
}

func printLine(w io.Writer, text string) error {
	_, err := fmt.Fprintln(w, text)
	return err
}

// writeExecCredential answers a client of Kubernetes, which asks again at the
// expirationTimestamp, or when the server refuses the token.
func writeExecCredential(w io.Writer, c credential) error {
	type status struct {
		Expiry time.Time `json:"expirationTimestamp,omitzero"`
		Token  string    `json:"token"`
	}
	return json.NewEncoder(w).Encode(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Status     status `json:"status"`
	}{"client.authentication.k8s.io/v1", "ExecCredential", status{c.expiry.UTC().Truncate(time.Second), c.secret}})
}
