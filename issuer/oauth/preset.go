package oauth

import (
	"net/http"
	"time"

	"github.com/evertoken/evertoken"
)

// Presets returns all presets: for finding out which one fits a server.
func Presets() []Dialect {
	return []Dialect{Hydra(), OIDCProvider(), Zitadel(), Supabase(), PocketBase(), Dex(), Gitea(), Glewlwyd(), Directus(), GitHub()}
}

// Hydra is Ory Hydra: RFC 6749 to the letter. It has no grace by default; set
// ReuseGrace if its operator has configured one for rotated refresh tokens.
func Hydra() Dialect { return Dialect{Name: "hydra"} }

// OIDCProvider is the oidc-provider of Node: RFC 6749 to the letter, and no grace.
// One that was told to show errors as pages says nothing to a program: its
// answers are HTML, and count as unavailable.
func OIDCProvider() Dialect { return Dialect{Name: "oidc-provider"} }

// Zitadel is a server made with zitadel/oidc: a client that it does not know is
// a server_error there.
func Zitadel() Dialect {
	return Dialect{Name: "zitadel-oidc", Verdicts: []Verdict{
		{Status: http.StatusInternalServerError, Code: "server_error", Text: "client not found", Outcome: evertoken.Misconfigured},
	}}
}

// Supabase is Supabase Auth (GoTrue), whose TokenURL ends in /auth/v1/token and
// RevocationURL in /auth/v1/logout. Its words have changed over the years; it
// speaks JSON. Client is an [APIKey] where a gateway wants "apikey".
func Supabase() Dialect {
	return Dialect{
		Name: "supabase-auth",
		JSON: true, GrantInURL: true, RevokeByBearer: true,
		ErrorCode: []string{"error", "error_code", "code"},
		ErrorText: []string{"error_description", "msg", "message"},
		Verdicts: []Verdict{
			{Code: "refresh_token_not_found", Outcome: evertoken.Rejected},
			{Code: "refresh_token_already_used", Outcome: evertoken.Rejected},
			{Code: "session_expired", Outcome: evertoken.Rejected},
			{Code: "session_not_found", Outcome: evertoken.Rejected},
			{Code: "user_not_found", Outcome: evertoken.Rejected},
			{Code: "invalid_credentials", Outcome: evertoken.Rejected},
			// Of a token whose very form is wrong; the code alone may be about any parameter.
			{Status: http.StatusBadRequest, Code: "validation_failed", Text: "refresh token is not valid", Outcome: evertoken.Rejected},
			{Code: "validation_failed", Outcome: evertoken.Misconfigured},
			{Code: "user_banned", Outcome: evertoken.Misconfigured}, // for a time; the session outlives it
			{Code: "bad_json", Outcome: evertoken.Misconfigured},
		},
		// The default reuse interval. The parent of the active token is accepted
		// for longer, whatever the interval is.
		ReuseGrace: 10 * time.Second,
	}
}

// PocketBase is no OAuth server, but near enough: a session has one token, a JWT,
// that renews itself at .../auth-refresh while it is valid, any number of times.
// A client that slept longer than the token lives is signed out; give it a Login.
func PocketBase() Dialect {
	return Dialect{
		Name:          "pocketbase",
		JSON:          true,
		RenewByBearer: true,
		AccessToken:   "token",
		ErrorCode:     []string{}, // it has none
		ErrorText:     []string{"message"},
		Verdicts: []Verdict{
			{Status: http.StatusUnauthorized, Text: "valid record authorization token", Outcome: evertoken.Rejected},
			{Status: http.StatusBadRequest, Text: "failed to authenticate", Outcome: evertoken.Rejected},
		},
	}
}

// Dex says invalid_request of a dead refresh token.
func Dex() Dialect {
	return Dialect{Name: "dex", Verdicts: []Verdict{
		{Status: http.StatusBadRequest, Code: "invalid_request", Text: "refresh token is invalid", Outcome: evertoken.Rejected},
		{Status: http.StatusBadRequest, Code: "invalid_request", Text: "refresh token expired", Outcome: evertoken.Rejected},
	}}
}

// Gitea says unauthorized_client of a dead refresh token; so does Forgejo.
func Gitea() Dialect {
	return Dialect{Name: "gitea", Verdicts: []Verdict{
		{Status: http.StatusBadRequest, Code: "unauthorized_client", Text: "unable to parse refresh token", Outcome: evertoken.Rejected},
		{Status: http.StatusBadRequest, Code: "unauthorized_client", Text: "token was already used", Outcome: evertoken.Rejected},
	}}
}

// Glewlwyd says nothing of a dead refresh token: 400 and no body.
func Glewlwyd() Dialect {
	return Dialect{Name: "glewlwyd", Verdicts: []Verdict{
		{Status: http.StatusBadRequest, Empty: true, Outcome: evertoken.Rejected},
	}}
}

// Directus answers in an envelope, in milliseconds, and 401 for a dead refresh
// token; its TokenURL ends in /auth/refresh.
func Directus() Dialect {
	return Dialect{
		Name:         "directus",
		JSON:         true,
		AccessToken:  "data.access_token",
		RefreshToken: "data.refresh_token",
		ExpiresIn:    "data.expires",
		Unit:         time.Millisecond,
		ErrorCode:    []string{"errors.0.extensions.code"},
		ErrorText:    []string{"errors.0.message"},
		Verdicts: []Verdict{
			{Status: http.StatusUnauthorized, Code: "INVALID_CREDENTIALS", Outcome: evertoken.Rejected},
			{Status: http.StatusUnauthorized, Code: "TOKEN_EXPIRED", Outcome: evertoken.Rejected},
			{Status: http.StatusBadRequest, Code: "INVALID_PAYLOAD", Outcome: evertoken.Misconfigured},
		},
	}
}

// GitHub is github.com for apps whose user tokens expire. It says everything
// with status 200.
func GitHub() Dialect {
	return Dialect{Name: "github", Verdicts: []Verdict{
		{Code: "bad_refresh_token", Outcome: evertoken.Rejected},
		{Code: "bad_verification_code", Outcome: evertoken.Rejected},
		{Code: "incorrect_client_credentials", Outcome: evertoken.Misconfigured},
	}}
}
