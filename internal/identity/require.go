package identity

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// callerKey is where Require leaves the claims of a request's token.
type callerKey struct{}

// Require lets only requests with a valid access token through to next. Others
// get 401 without a body: with the challenge Bearer error="invalid_token" if
// they brought a token, and plain Bearer if not (RFC 6750, section 3.1).
func (s *Server) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			challenge(w, "Bearer")
			return
		}
		c, err := s.verify(token)
		if err != nil {
			s.countRefusal(err)
			challenge(w, `Bearer error="invalid_token"`)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c.identityClaims)))
	})
}

// challenge answers 401 with an empty body, as ASP.NET's handler does: all that a
// client may go by is the header.
func challenge(w http.ResponseWriter, value string) {
	w.Header().Set("WWW-Authenticate", value)
	w.WriteHeader(http.StatusUnauthorized)
}

// countRefusal counts a token that was sent although it had expired. Only a
// token with a good signature gets that far.
func (s *Server) countRefusal(err error) {
	if errors.Is(err, jwt.ErrTokenExpired) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counts.ExpiredSent++
	}
}

// Caller returns the account's or client's id from the access token of a
// request that [Server.Require] let through, and "" for any other context.
func Caller(ctx context.Context) string { return caller(ctx).ID }

// caller returns the zero value for a context that Require has not seen.
func caller(ctx context.Context) identityClaims {
	c, _ := ctx.Value(callerKey{}).(identityClaims)
	return c
}
