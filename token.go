package evertoken

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Token is one set of credentials: what a request needs and what renews it.
//
// It is a value; Extra is never modified once a Token has been handed over.
// Every fmt verb, String, slog and encoding/json leave its secrets out. fmt
// cannot do so for a Token in an unexported field of another struct: give such
// a struct a String method of its own, or export the field.
type Token struct {
	AccessToken string `json:"-"` // secret; opaque to the client

	// TokenType is the scheme of the Authorization header; empty means Bearer.
	TokenType string

	RefreshToken string `json:"-"` // secret; empty if the issuer gave none
	Scope        string // as granted; empty if the issuer did not say

	// IssuedAt is when the token was asked for, by the client's clock. Zero
	// means when it was handed to the client: set it, or Expiry, for a token that
	// was kept elsewhere meanwhile, for a JWT's own lifetime counts from it.
	IssuedAt time.Time

	// Expiry is when the access token ends. Zero means unknown: it is read from
	// the access token if that is a JWT. A token whose expiry remains unknown
	// is used until a server refuses it and renewed an hour after IssuedAt.
	Expiry time.Time

	// RefreshExpiry is when the refresh token ends. Zero means unknown. It is
	// shown, never acted on: only the issuer decides that a session is over.
	RefreshExpiry time.Time

	// Extra is what the issuer keeps with the session, such as an id_token.
	// Secret.
	Extra map[string]string `json:"-"`
}

// Format writes the token without its secrets, for every verb.
func (t Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, t.String()) }

// String returns the token without its secrets.
func (t Token) String() string {
	return fmt.Sprintf("Token{%s access:%s refresh:%s expiry:%s}",
		t.TokenType, presence(t.AccessToken), presence(t.RefreshToken), instant(t.Expiry))
}

// LogValue returns the token without its secrets.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("type", t.TokenType),
		slog.String("access", presence(t.AccessToken)),
		slog.String("refresh", presence(t.RefreshToken)),
		slog.Time("expiry", t.Expiry))
}

func presence(secret string) string {
	if secret == "" {
		return "none"
	}
	return "set"
}

func instant(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format(time.RFC3339)
}

// maxLifetime bounds what a server may claim, so that no arithmetic on an
// expiry can overflow, and each can be stored (JSON knows no year 10000);
// longer-lived tokens are renewed earlier than need be.
const maxLifetime = 10 * 365 * 24 * time.Hour

// normalize fills in what the issuer left out and checks what it said. Expiry
// counts from when the token was asked for: whatever the answer took on its way
// is time that the token has already lost.
func (t Token) normalize(sentAt time.Time) (Token, error) {
	t.TokenType = strings.TrimSpace(t.TokenType)
	err := cmp.Or(
		unfit("access token", t.AccessToken, func(c byte) bool { return c <= ' ' || c >= 0x7f }),
		unfit("token type", t.TokenType, func(c byte) bool { return c < ' ' || c == 0x7f }),
	)
	if err != nil {
		return Token{}, err
	}
	if t.TokenType == "" {
		t.TokenType = "Bearer"
	}
	if t.IssuedAt.IsZero() {
		t.IssuedAt = sentAt
	}
	if t.Expiry.IsZero() {
		t.Expiry = jwtExpiry(t.AccessToken, t.IssuedAt)
	}
	limit := t.IssuedAt.Add(maxLifetime)
	t.Expiry, t.RefreshExpiry = earliest(t.Expiry, limit), earliest(t.RefreshExpiry, limit)
	t.IssuedAt, t.Expiry, t.RefreshExpiry = t.IssuedAt.UTC().Round(0), t.Expiry.UTC().Round(0), t.RefreshExpiry.UTC().Round(0)
	return t, nil
}

// unfit names the first byte for which a part of a header is bad; nil if there is none.
func unfit(what, part string, bad func(byte) bool) error {
	for i := range len(part) {
		if bad(part[i]) {
			return fmt.Errorf("%s cannot stand in a header: byte %d is %#x", what, i, part[i])
		}
	}
	return nil
}

// authorization is the value of the header that carries the token.
func (t Token) authorization() string {
	scheme := t.TokenType
	if scheme == "" || strings.EqualFold(scheme, "Bearer") {
		scheme = "Bearer" // RFC 6749, section 7.1: token types are case insensitive; not every server knows
	}
	return scheme + " " + t.AccessToken
}

// inherit keeps what a renewal did not mention (RFC 6749, sections 5.1 and 6).
func (t Token) inherit(old Token) Token {
	if t.RefreshToken == "" {
		t.RefreshToken, t.RefreshExpiry = old.RefreshToken, old.RefreshExpiry
	}
	if t.Scope == "" {
		t.Scope = old.Scope
	}
	if t.Extra == nil {
		t.Extra = old.Extra
	}
	return t
}

// jwtExpiry reads when a token ends, if it is a JWT that says so: exp - iat as
// a duration from issued, for clocks differ, else exp as it stands. It returns
// zero for opaque tokens, which are as good as any.
func jwtExpiry(access string, issued time.Time) time.Time {
	const longest = 16 << 10 // a token goes into a header; servers take no more
	if len(access) > longest {
		return time.Time{}
	}
	// The signature is the API's business. ParseUnverified fills the claims
	// even beside some errors, so claims count only without one.
	var claims struct {
		Exp float64 `json:"exp"`
		Iat float64 `json:"iat"`
		jwt.RegisteredClaims
	}
	if _, _, err := jwt.NewParser().ParseUnverified(access, &claims); err != nil {
		return time.Time{}
	}
	exp, iat := claims.Exp, claims.Iat
	const latest = 1 << 35 // seconds, the year 3058; milliseconds lie beyond
	if !(exp > 0 && exp < latest) {
		return time.Time{}
	}
	if iat > 0 && iat < exp {
		return issued.Add(time.Duration(math.Min(exp-iat, maxLifetime.Seconds()) * float64(time.Second)))
	}
	return time.Unix(int64(exp), 0)
}
