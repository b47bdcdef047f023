package oauth

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

// A Dialect is what a server does in its own way. Its zero value is RFC 6749.
// Members of answers are named by their path, whose parts are joined by dots:
// "data.access_token", "errors.0.code".
type Dialect struct {
	Name string // for people

	// How the server is asked.

	JSON       bool // parameters travel as a JSON object instead of a form
	GrantInURL bool // grant_type stands in the query

	// RenewByBearer: a session has one token, which also renews itself, as long
	// as it is valid. It is sent in an Authorization header, with no parameters.
	RenewByBearer bool

	// RevokeByBearer: RevocationURL takes the access token in an Authorization
	// header, with no parameters.
	RevokeByBearer bool

	// Where things stand in an answer. Empty means as in RFC 6749.

	AccessToken  string        // access_token
	RefreshToken string        // refresh_token
	ExpiresIn    string        // expires_in, a lifetime
	ExpiresAt    string        // expires_at, an instant; counts if there is no lifetime
	Unit         time.Duration // of both; zero means a second
	ErrorCode    []string      // error; the first that is a string counts
	ErrorText    []string      // error_description; likewise
	Keep         []string      // further strings that are kept in Token.Extra, as id_token always is

	// Verdicts are what error answers mean; the first that fits counts. Others
	// mean what RFC 6749, section 5.2, says of their code.
	Verdicts []Verdict

	// ReuseGrace is how long a refresh token is accepted after its first use.
	// Zero: not at all, which is the safe thing to say.
	ReuseGrace time.Duration
}

// A Verdict says what an answer means. All that is set in it must be so; what is
// left zero may be anything.
type Verdict struct {
	Status  int    // HTTP status
	Code    string // the error code
	Text    string // part of the error text, in any case
	Empty   bool   // the answer has no body
	Outcome evertoken.Outcome
}

func (v Verdict) fits(a *exchange.Answer, code, text string) bool {
	return (v.Status == 0 || v.Status == a.StatusCode) &&
		(v.Code == "" || v.Code == code) &&
		strings.Contains(strings.ToLower(text), strings.ToLower(v.Text)) &&
		(!v.Empty || len(bytes.TrimSpace(a.Body)) == 0)
}

func (d *Dialect) verdict(a *exchange.Answer, code, text string) (evertoken.Outcome, bool) {
	for _, v := range d.Verdicts {
		if v.fits(a, code, text) {
			return v.Outcome, true
		}
	}
	return 0, false
}

func (d *Dialect) code(doc document) string {
	if d.ErrorCode == nil {
		return doc.text("error")
	}
	return doc.text(d.ErrorCode...)
}

func (d *Dialect) words(doc document) string {
	if d.ErrorText == nil {
		return doc.text("error_description")
	}
	return doc.text(d.ErrorText...)
}

// extra is what the session keeps beside its tokens; nil for nothing.
func (d *Dialect) extra(doc document) map[string]string {
	var kept map[string]string
	for _, name := range append([]string{"id_token", "issued_token_type"}, d.Keep...) {
		if s := doc.text(name); s != "" {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[name] = s
		}
	}
	return kept
}

// expiry is when the access token ends, by the client's clock; zero if the
// server does not say. An instant counts from the server's own date, for clocks
// differ.
func (d *Dialect) expiry(doc document, h http.Header, sent time.Time) time.Time {
	unit := d.Unit
	if unit == 0 {
		unit = time.Second
	}
	if n, ok := doc.number(or(d.ExpiresIn, "expires_in")); ok && n > 0 {
		return sent.Add(span(n, unit))
	}
	n, ok := doc.number(or(d.ExpiresAt, "expires_at"))
	if !ok || n <= 0 {
		return time.Time{}
	}
	at := time.Unix(0, 0).Add(span(n, unit))
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		return sent.Add(at.Sub(date))
	}
	return at
}

// encode puts the parameters where the server looks for them.
func (d *Dialect) encode(r *http.Request, form url.Values) error {
	if d.GrantInURL && form.Has("grant_type") {
		query := r.URL.Query()
		query.Set("grant_type", form.Get("grant_type"))
		r.URL.RawQuery = query.Encode()
		form.Del("grant_type")
	}
	if len(form) == 0 {
		return nil
	}
	body, kind := []byte(form.Encode()), "application/x-www-form-urlencoded"
	if d.JSON {
		var err error
		if body, err = json.Marshal(object(form)); err != nil {
			return err
		}
		kind = "application/json"
	}
	r.Header.Set("Content-Type", kind)
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	return nil
}

// object is a form as JSON: a parameter that is repeated becomes a list.
func object(form url.Values) map[string]any {
	o := make(map[string]any, len(form))
	for name, values := range form {
		if len(values) == 1 {
			o[name] = values[0]
		} else {
			o[name] = values
		}
	}
	return o
}
