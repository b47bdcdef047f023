package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/dpop"
	"github.com/evertoken/evertoken/internal/exchange"
)

// A document is the object that an answer consists of.
type document map[string]any

// parse reads the body of an answer: JSON whatever its type says, or a form if
// its type says so. A body with something behind the object is no document.
func parse(a *exchange.Answer) (document, bool) {
	in := json.NewDecoder(bytes.NewReader(a.Body))
	in.UseNumber()
	var doc document
	if in.Decode(&doc) == nil && doc != nil {
		_, err := in.Token()
		return doc, errors.Is(err, io.EOF)
	}
	kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	form, err := url.ParseQuery(string(a.Body))
	if kind != "application/x-www-form-urlencoded" || err != nil {
		return nil, false
	}
	doc = document{}
	for name, values := range form {
		doc[name] = values[0]
	}
	return doc, true
}

// at returns what stands at a path such as "errors.0.extensions.code"; nil for
// nothing.
func (d document) at(path string) any {
	if v, ok := d[path]; ok {
		return v
	}
	var v any = map[string]any(d)
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			n, err := strconv.Atoi(name)
			if err != nil || n < 0 || n >= len(in) {
				return nil
			}
			v = in[n]
		default:
			return nil
		}
	}
	return v
}

// text returns the first of the paths that holds a string with something in it.
func (d document) text(paths ...string) string {
	for _, p := range paths {
		if s, ok := d.at(p).(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// number reads a number, or a string that is one: some servers quote them.
func (d document) number(paths ...string) (float64, bool) {
	for _, p := range paths {
		var digits string
		switch v := d.at(p).(type) {
		case json.Number:
			digits = v.String()
		case string:
			digits = v
		}
		if n, err := strconv.ParseFloat(digits, 64); err == nil && !math.IsNaN(n) {
			return n, true
		}
	}
	return 0, false
}

func succeeded(a *exchange.Answer) bool { return a.StatusCode/100 == 2 }

// token makes a token of an answer, or says what it means that there is none.
func (i *Issuer) token(a *exchange.Answer, q request, sent time.Time) (evertoken.Token, error) {
	doc, ok := parse(a)
	d := &i.Dialect
	t := evertoken.Token{
		AccessToken:  doc.text(or(d.AccessToken, "access_token")),
		RefreshToken: doc.text(or(d.RefreshToken, "refresh_token")),
		TokenType:    scheme(doc.text("token_type")),
		Scope:        doc.scope(),
		IssuedAt:     sent,
		Expiry:       d.expiry(doc, a.Header, sent),
		Extra:        d.extra(doc),
	}
	if n, ok := doc.number("refresh_token_expires_in", "refresh_expires_in"); ok && n > 0 {
		t.RefreshExpiry = sent.Add(span(n, time.Second))
	}
	switch {
	case !ok || !succeeded(a) || exchange.HTML(a) || t.AccessToken == "" && d.code(doc) != "":
		return evertoken.Token{}, i.refusal(a, doc, q)
	case t.AccessToken == "":
		// The refresh token counts all the same: it has replaced the one that was sent.
		return evertoken.Token{RefreshToken: t.RefreshToken}, &evertoken.RefreshError{StatusCode: a.StatusCode,
			Err: fmt.Errorf("oauth: answer of type %q has no member %s", typeOf(a), or(d.AccessToken, "access_token"))}
	}
	return t, nil
}

// refusal says what an answer means that has no token. The issuer's own words
// count before its status, except where the status says that it is busy.
func (i *Issuer) refusal(a *exchange.Answer, doc document, q request) error {
	e := exchange.Unexplained(a)
	code, text := i.Dialect.code(doc), i.Dialect.words(doc)
	e.Code, e.Description = q.clean(code), q.clean(text)
	known := exchange.OAuthOutcome(code)
	if code == dpop.UseNonce && q.key != nil {
		known = evertoken.Unavailable // it changed twice while we asked; the newest is known for the next time
	}
	if v, ok := i.Dialect.verdict(a, code, text); ok {
		e.Outcome = v
	} else if known != evertoken.Ambiguous && !busy(a) {
		e.Outcome = known
	}
	if code == "" {
		e.Err = fmt.Errorf("oauth: answer of type %q, %d bytes, has neither a token nor an error code", typeOf(a), len(a.Body))
	}
	return e
}

// busy says that the answer is about the moment, whatever else it says.
func busy(a *exchange.Answer) bool {
	return slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusServiceUnavailable}, a.StatusCode)
}

func typeOf(a *exchange.Answer) string { return exchange.Clean(a.Header.Get("Content-Type")) }

// scheme is how a token type is written in a header. Types are case insensitive
// (RFC 6749, section 5.1); APIs often are not.
func scheme(kind string) string {
	for _, s := range []string{"Bearer", "DPoP"} {
		if strings.EqualFold(kind, s) {
			return s
		}
	}
	return kind
}

// scope reads what was granted: a string, or a list at some servers.
func (d document) scope() string {
	list, ok := d["scope"].([]any)
	if !ok {
		return d.text("scope")
	}
	var words []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			words = append(words, s)
		}
	}
	return strings.Join(words, " ")
}

// span turns a number of units into a duration that no arithmetic overflows.
func span(n float64, unit time.Duration) time.Duration {
	const longest = 100 * 365 * 24 * time.Hour
	return time.Duration(min(max(n*float64(unit), -float64(longest)), float64(longest)))
}

func or(s, standard string) string {
	if s == "" {
		return standard
	}
	return s
}
