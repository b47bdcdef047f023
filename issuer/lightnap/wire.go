package lightnap

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

const cookieName = "refreshToken"

// An envelope is around every answer of the API, whose status is 200 also for
// errors.
type envelope struct {
	Result        json.RawMessage `json:"result"`
	Type          string          `json:"type"`
	ErrorMessages []string        `json:"errorMessages"`
}

// open takes the result out of an answer, or says what it means that there is
// none.
func open(a *exchange.Answer) (json.RawMessage, error) {
	if a.StatusCode == http.StatusBadRequest && strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") {
		return nil, &evertoken.RefreshError{Outcome: evertoken.Misconfigured, StatusCode: a.StatusCode, Err: errors.New("lightnap: the server finds the request malformed")}
	}
	if a.StatusCode != http.StatusOK || exchange.HTML(a) {
		e := exchange.Unexplained(a)
		e.Err = fmt.Errorf("lightnap: unexpected answer of type %q", exchange.Clean(a.Header.Get("Content-Type")))
		return nil, e
	}
	var env envelope
	if json.Unmarshal(a.Body, &env) != nil {
		// The cause is not wrapped: it may quote the body.
		return nil, &evertoken.RefreshError{StatusCode: a.StatusCode, Err: fmt.Errorf("lightnap: answer of %d bytes, type %q, is no JSON envelope",
			len(a.Body), exchange.Clean(a.Header.Get("Content-Type")))}
	}
	switch env.Type {
	case "Success":
		return env.Result, nil
	case "Error":
		return nil, &evertoken.RefreshError{Outcome: evertoken.Rejected, StatusCode: a.StatusCode, Code: env.Type, Description: exchange.Clean(strings.Join(env.ErrorMessages, " "))}
	case "UnexpectedError":
		return nil, &evertoken.RefreshError{Outcome: evertoken.Unavailable, StatusCode: a.StatusCode, Code: env.Type}
	}
	return nil, &evertoken.RefreshError{StatusCode: a.StatusCode, Err: fmt.Errorf("lightnap: member type of the answer is %q", exchange.Clean(env.Type))}
}

// accessToken reads a result that is the token itself.
func accessToken(result json.RawMessage) (string, error) {
	var s *string
	if json.Unmarshal(result, &s) != nil || s == nil {
		return "", errors.New("lightnap: member result of the answer is no string")
	}
	return *s, nil
}

// newestCookie returns the refresh cookie that an answer sets. The last one
// counts; one that is emptied or has expired is none.
func newestCookie(h http.Header) (value string, expiry time.Time) {
	for _, line := range h.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Name != cookieName {
			continue
		}
		value, expiry = c.Value, c.Expires
		if c.MaxAge < 0 || !c.Expires.IsZero() && !c.Expires.After(dateOf(h)) {
			value, expiry = "", time.Time{}
		}
		if c.MaxAge > 0 {
			expiry = dateOf(h).Add(time.Duration(c.MaxAge) * time.Second)
		}
	}
	return value, expiry
}

// dateOf is when the server says that it answered: its instants count from
// there, for clocks differ.
func dateOf(h http.Header) time.Time {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return t
	}
	return time.Now()
}
