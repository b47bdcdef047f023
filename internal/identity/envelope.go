package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
	"unicode/utf8"
)

// An envelope is LightNap's ApiResponse, with its fields in the order of the
// wire. Result is absent only if it is nil: an empty string is shown.
type envelope struct {
	Result        any      `json:"result,omitempty"`
	Type          string   `json:"type"`
	ErrorMessages []string `json:"errorMessages,omitempty"`
}

// A refusal is an error meant for the user: 200 and an envelope of type Error.
type refusal []string

// Error is for a programmer's eyes: a client sees the messages in an envelope.
func (r refusal) Error() string { return fmt.Sprintf("evertoken: refused: %q", []string(r)) }

// A problem is an error of the request's form (RFC 9457), with the fields of
// ASP.NET's ValidationProblemDetails.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Errors faults `json:"errors,omitempty"`
}

// Error leaves the faults out, which may quote what a user typed.
func (p *problem) Error() string { return fmt.Sprintf("evertoken: status %d: %s", p.Status, p.Title) }

// An action is one call of the identity API: what it returns goes into the
// envelope.
type action func(w http.ResponseWriter, r *http.Request) (any, error)

// ServeHTTP runs the action and writes the one answer that follows from it.
// Content types differ as they do at LightNap, whose error envelopes are
// written by a middleware of its own.
func (a action) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	result, err := a(w, r)
	var refused refusal
	var bad *problem
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, "application/json; charset=utf-8", envelope{Result: result, Type: "Success"})
	case errors.As(err, &refused):
		writeJSON(w, http.StatusOK, "application/json", envelope{Type: "Error", ErrorMessages: refused})
	case errors.As(err, &bad):
		writeJSON(w, bad.Status, "application/problem+json; charset=utf-8", bad)
	default:
		writeJSON(w, http.StatusOK, "application/json",
			envelope{Type: "UnexpectedError", ErrorMessages: []string{"Internal Server Error"}})
	}
}

// writeJSON writes v as ASP.NET would: no escapes for HTML, no newline at the end.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		w.WriteHeader(http.StatusInternalServerError) // none of our types can get here
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(bytes.TrimSuffix(body.Bytes(), []byte("\n"))) // the client may be gone
}

// faults are what is wrong with a request, by field name.
type faults map[string][]string

// text checks a required string: the words are those of .NET's data annotations.
func (f faults) text(field, value string, longest int) {
	switch {
	case value == "":
		f.add(field, "The %s field is required.", field)
	case utf8.RuneCountInString(value) > longest:
		f.add(field, "The field %s must be a string with a maximum length of %d.", field, longest)
	}
}

// add appends: a field may break several rules, and .NET tells them all.
func (f faults) add(field, format string, args ...any) {
	f[field] = append(f[field], fmt.Sprintf(format, args...))
}

// problem returns nil if there are no faults.
func (f faults) problem() error {
	if len(f) == 0 {
		return nil
	}
	return &problem{
		Type:   "https://tools.ietf.org/html/rfc9110#section-15.5.1",
		Title:  "One or more validation errors occurred.",
		Status: http.StatusBadRequest,
		Errors: f,
	}
}

// A request is the body of an action.
type request interface{ check(faults) }

// decode reads a JSON body into req and checks its fields.
func decode(r *http.Request, req request) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &problem{
			Type:   "https://tools.ietf.org/html/rfc9110#section-15.5.16",
			Title:  "Unsupported Media Type",
			Status: http.StatusUnsupportedMediaType,
		}
	}
	body, err := io.ReadAll(r.Body)
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		return &problem{
			Type:   "https://tools.ietf.org/html/rfc9110#section-15.5.14",
			Title:  "Content Too Large",
			Status: http.StatusRequestEntityTooLarge,
		}
	}
	found := faults{}
	if err != nil || json.Unmarshal(body, req) != nil {
		found.add("$", "The request body is not the JSON object that was expected.")
		return found.problem()
	}
	req.check(found)
	return found.problem()
}

// cookieName is the one cookie of the API, and its value the whole refresh token:
// the client has no other secret to keep.
const cookieName = "refreshToken"

// setCookie hands out a refresh token. The attributes are written as ASP.NET
// writes them, in its order and lower case, which net/http's Cookie does not.
// Without rememberMe the cookie has no expiry: it ends with the browser.
func setCookie(w http.ResponseWriter, g grant) {
	expires := ""
	if g.remember {
		expires = "expires=" + g.ends.UTC().Format(http.TimeFormat) + "; "
	}
	w.Header().Add("Set-Cookie",
		cookieName+"="+g.refresh+"; "+expires+"path=/; secure; samesite=strict; httponly")
}

// removeCookie empties the cookie as ASP.NET's Delete does, with none of the
// attributes that it was set with. A client must take an emptied cookie for none.
func removeCookie(w http.ResponseWriter) {
	w.Header().Add("Set-Cookie",
		cookieName+"=; expires="+time.Unix(0, 0).UTC().Format(http.TimeFormat)+"; path=/")
}

// cookie returns the request's refresh token, "" if it has none.
func cookie(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return c.Value
}
