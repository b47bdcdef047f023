package evertoken

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// An Issuer renews tokens: it is the client's side of an authorization server.
// Packages issuer/lightnap and issuer/oauth have one each; any type with this
// method will do.
//
// An Issuer is safe for concurrent use and keeps no session of its own. Its
// optional methods are:
//
//	Validate() error                           // what is wrong with its fields, for New to tell
//	Revoke(ctx context.Context, t Token) error // end the session at the server; used by SignOut
//	Origins() []string                         // where tokens may go if Config.Origins is nil
//	ReuseGrace() time.Duration                 // how long a spent refresh token is still accepted
//
//	// Wrap returns what sends requests in place of base whose token is not of type
//	// Bearer and needs more than a header, such as a proof of possession (RFC 6749,
//	// section 7.1). s is the Client.
//	Wrap(base http.RoundTripper, s TokenSource) http.RoundTripper
type Issuer interface {
	// Refresh exchanges t for a new token. t.RefreshToken may be empty (client
	// credentials): an issuer that needs one answers [Rejected].
	//
	// An empty RefreshToken in the result keeps the old one. Beside an error, a
	// non-empty RefreshToken is the newest that is known (a truncated answer may
	// still have delivered it): it is saved, with Extra unless that is nil, and
	// the next attempt uses it.
	//
	// A failure is a [*RefreshError]. Any other error is taken as [Ambiguous],
	// and so is a result without error and without AccessToken.
	//
	// Refresh must return soon after ctx ends, and must not use the client, which
	// waits for it. An issuer that uses net/http with this ctx is stopped before
	// it writes when the right to send has been lost, and never in the middle of
	// an exchange by Close.
	Refresh(ctx context.Context, t Token) (Token, error)
}

// A revoker is an Issuer that can end a session at the server.
type revoker interface {
	Revoke(ctx context.Context, t Token) error
}

// A wrapper is an Issuer whose tokens may need more than a header.
type wrapper interface {
	Wrap(base http.RoundTripper, s TokenSource) http.RoundTripper
}

// An Outcome is what a failed attempt to renew means. Refresh tokens that
// rotate are spent by their first use, and using one again makes a server
// revoke the whole session (RFC 9700, section 4.14.2); the outcome decides
// whether the same token may be sent again, and when.
type Outcome int

const (
	// Ambiguous means that the refresh token may have been spent: the request
	// was written and no complete answer came back, or one that explains
	// nothing. It is the zero value.
	Ambiguous Outcome = iota

	// NotSent is proof that nothing reached the issuer.
	NotSent

	// Unavailable means that somebody answered, but not with a verdict on the
	// token: the issuer is busy or in maintenance, or a proxy spoke for it.
	Unavailable

	// Rejected is the issuer's own word that the refresh token is dead.
	Rejected

	// Misconfigured is the issuer's word that the client or its request is at
	// fault (invalid_client, invalid_scope). The refresh token is kept.
	Misconfigured
)

// String returns the outcome in lower case.
func (o Outcome) String() string {
	names := [...]string{"ambiguous", "not sent", "unavailable", "rejected", "misconfigured"}
	if o < 0 || int(o) >= len(names) {
		return fmt.Sprintf("outcome %d", int(o))
	}
	return names[o]
}

// A RefreshError holds the facts of a failed attempt to renew. It never holds a
// body, a token or a cookie.
type RefreshError struct {
	Outcome     Outcome
	StatusCode  int           // HTTP status of the answer; 0 if there was none
	Code        string        // the issuer's error code, such as "invalid_grant"; may be empty
	Description string        // the issuer's explanation; may be empty
	RetryAfter  time.Duration // the issuer's request to wait; 0 if it made none
	Err         error         // the cause; may be nil
}

// Error tells the outcome and every fact that is known, in one sentence.
func (e *RefreshError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "evertoken: issuer: %v", e.Outcome)
	if e.StatusCode != 0 {
		fmt.Fprintf(&b, ", status %d", e.StatusCode)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, ", %s", e.Code)
	}
	if e.Description != "" {
		fmt.Fprintf(&b, " (%s)", e.Description)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *RefreshError) Unwrap() error { return e.Err }
