package exchange

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/evertoken/evertoken"
)

// longestWait caps what Retry-After may ask for.
const longestWait = time.Hour

// Unexplained says what an answer means that holds no verdict of the issuer:
// somebody in between spoke, or the issuer had no time, or nobody knows.
func Unexplained(a *Answer) *evertoken.RefreshError {
	e := &evertoken.RefreshError{StatusCode: a.StatusCode}
	switch s := a.StatusCode; {
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable:
		e.Outcome = evertoken.Unavailable
		e.RetryAfter = retryAfter(a.Header, time.Now())
	case s >= 300 && s < 400, s == http.StatusUnauthorized, s == http.StatusForbidden, HTML(a):
		e.Outcome = evertoken.Unavailable
	}
	return e
}

// HTML says that a page for people came back, which no issuer sends here.
func HTML(a *Answer) bool {
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return err == nil && (kind == "text/html" || kind == "application/xhtml+xml")
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3). A date counts
// from the server's own, for clocks differ.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, longestWait)
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), longestWait)
}

// OAuthOutcome says what an error code of RFC 6749, section 5.2, means, or one of
// the extensions that a token request may meet (RFC 7009, 8693, 8707, 9449).
func OAuthOutcome(code string) evertoken.Outcome {
	switch code {
	case "invalid_grant":
		return evertoken.Rejected
	case "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_request",
		"invalid_target", "unsupported_token_type", "invalid_dpop_proof", "use_dpop_nonce":
		return evertoken.Misconfigured
	case "temporarily_unavailable", "server_error":
		return evertoken.Unavailable
	}
	return evertoken.Ambiguous
}

// Clean makes a server's words fit for an error: printable, on one line, short.
func Clean(s string) string {
	const longest = 200
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "..."
	}
	return s
}
