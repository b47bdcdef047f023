// Package attempt tells whoever wraps an Issuer or a Login what an exchange is
// for. It is the loop's word to modules of this repository, and no part of the
// contract of an Issuer.
package attempt

import "context"

// An Attempt is one exchange with an issuer.
type Attempt struct {
	Reason string // as Event.Reason
	N      int    // how often this refresh token was sent, this time included; 0: there is none
}

type key struct{}

// With returns a context that carries a.
func With(ctx context.Context, a Attempt) context.Context { return context.WithValue(ctx, key{}, a) }

// From returns what ctx carries; zero if nothing.
func From(ctx context.Context) Attempt {
	a, _ := ctx.Value(key{}).(Attempt)
	return a
}
