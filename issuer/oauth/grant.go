package oauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"

	"github.com/evertoken/evertoken"
)

// A Grant makes the parameters of one token request (RFC 6749, section 4.5):
// grant_type and what belongs to it, without what proves the client. It is
// called once for each token. An error means that nothing can be asked for now;
// unless it is an [*evertoken.RefreshError], it will be tried again soon.
type Grant func(context.Context) (url.Values, error)

// ClientCredentials is the [Grant] of a program that speaks for itself (RFC 6749,
// section 4.4).
func ClientCredentials(context.Context) (url.Values, error) {
	return url.Values{"grant_type": {"client_credentials"}}, nil
}

// JWTBearer is the [Grant] of who holds an assertion about somebody (RFC 7523,
// section 2.1). The function is called for each token: see [Assertion.Signed].
func JWTBearer(assertion func(context.Context) (string, error)) Grant {
	return func(ctx context.Context) (url.Values, error) {
		jwt, err := assertion(ctx)
		if err != nil {
			return nil, fmt.Errorf("assertion: %w", err)
		}
		return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {jwt}}, nil
	}
}

// Token types of RFC 8693, section 3.
const (
	AccessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	IDTokenType     = "urn:ietf:params:oauth:token-type:id_token"
	JWTType         = "urn:ietf:params:oauth:token-type:jwt"
)

// An Exchange turns one token into another (RFC 8693).
type Exchange struct {
	// Subject returns the token to exchange; it is called for each request.
	// Required. The Token of a second Client will do, or a file that somebody
	// keeps up to date.
	Subject func(context.Context) (string, error)

	// SubjectType says what that is. Empty means AccessTokenType.
	SubjectType string

	// Actor returns the token of who acts for the subject. Nil: nobody does.
	Actor func(context.Context) (string, error)

	// ActorType says what that is. Empty means AccessTokenType.
	ActorType string

	// RequestedType is the kind of token to get. Empty: for the server to say.
	RequestedType string
}

// TokenExchange is the [Grant] that makes x. Audience and resource are for
// [Issuer.Params].
func TokenExchange(x Exchange) Grant {
	return func(ctx context.Context) (url.Values, error) {
		if x.Subject == nil {
			return nil, misconfigured("oauth: token exchange: Subject is missing")
		}
		form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}}
		if err := present(ctx, form, "subject_token", x.Subject, x.SubjectType); err != nil {
			return nil, err
		}
		if x.Actor != nil {
			if err := present(ctx, form, "actor_token", x.Actor, x.ActorType); err != nil {
				return nil, err
			}
		}
		if x.RequestedType != "" {
			form.Set("requested_token_type", x.RequestedType)
		}
		return form, nil
	}
}

func present(ctx context.Context, form url.Values, name string, get func(context.Context) (string, error), kind string) error {
	token, err := get(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	form.Set(name, token)
	form.Set(name+"_type", or(kind, AccessTokenType))
	return nil
}

// Mint gets a new token with [Issuer.Grant], with nobody present. It is a Login
// for [evertoken.Config].
func (i *Issuer) Mint(ctx context.Context) (evertoken.Token, error) {
	if i.Grant == nil {
		return evertoken.Token{}, misconfigured("oauth: mint: Grant is missing")
	}
	return i.Obtain(ctx, i.Grant)
}

// Obtain gets a first token by any grant. What the grant leaves open is filled
// in from Scope and Params.
func (i *Issuer) Obtain(ctx context.Context, g Grant) (evertoken.Token, error) {
	params, err := g(ctx)
	if err != nil {
		var known *evertoken.RefreshError
		if errors.As(err, &known) {
			return evertoken.Token{}, err
		}
		return evertoken.Token{}, &evertoken.RefreshError{Outcome: evertoken.NotSent, Err: fmt.Errorf("oauth: grant: %w", err)}
	}
	return i.tokenRequest(ctx, request{form: i.complete(params)})
}

// complete adds what is asked for with each first token.
func (i *Issuer) complete(params url.Values) url.Values {
	form := maps.Clone(i.Params)
	if form == nil {
		form = url.Values{}
	}
	if len(i.Scope) > 0 {
		form.Set("scope", strings.Join(i.Scope, " "))
	}
	maps.Copy(form, params)
	return form
}
