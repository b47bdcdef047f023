// Package statuspage shows on one page what a client is doing: whether it is
// signed in, until when, what failed and what to do about it, and how it has been.
//
//	http.Handle("/debug/evertoken", statuspage.Handler(client))
//
// Of a pool it shows how all sessions are, those that most need a look, and a page
// for each:
//
//	http.Handle("/debug/evertoken", statuspage.Handler(pool))
//
// The page needs nothing from elsewhere and updates itself. With Accept:
// application/json the same comes as JSON. It holds no token, but that of a
// pool the names of its sessions; whether it may be seen by everybody is for you to
// decide, as with net/http/pprof.
//
// # JSON
//
// Of a client: the time; the headline, meaning and advice of the page; and what
// [evertoken.Status] has, as state, since, expiry, nextCheck, lastRefresh, reason, error,
// failures, persistPending, storeError, lease and waiting. The events, oldest first, are
// those of [evertoken.Event]: session, time, kind, reason, outcome, error, expiry, next,
// tookSeconds and waiting.
//
// Of a pool: time, headline, meaning and advice; how many sessions are inMemory, and of
// these atRest, signedIn, troubled (with a token all the same), tokenless, signedOut and
// renewing; waiting, the callers that wait; storeFails, for how many sessions the store
// fails; nextCheck, the earliest; the sessions that most need a look, and how many more
// there are; and the events. A session there has state, headline, since, expiry,
// nextCheck, error, storeError, failures and waiting.
//
// Instants are in RFC 3339. What is unknown, or is not there, is left out.
package statuspage

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"iter"
	"net/http"
	"time"

	"github.com/evertoken/evertoken"
)

// A Source is what a page tells of: a [*evertoken.Client], which also has Status, or
// a [*evertoken.Pool], which also has Sessions.
type Source interface {
	Events() []evertoken.Event // oldest first
}

type client interface {
	Source
	Status() evertoken.Status
}

type pool interface {
	Source
	Sessions() iter.Seq2[string, evertoken.Status]
}

// A subject is what one page is about.
type subject interface {
	code() int
	view(now time.Time) view
	report(now time.Time) any // the same as JSON
}

//go:embed page.css
var style string

//go:embed page.js
var script string

//go:embed page.html
var body string

// Handler returns a handler that answers GET and HEAD, at whatever path it is
// mounted, and any number of them at once.
func Handler(s Source) http.Handler {
	h := &handler{body: template.Must(template.New("page").Parse(body)), now: time.Now}
	switch s := s.(type) {
	case client:
		h.about = func(string) subject { return session{"", s.Status(), s.Events()} }
	case pool:
		h.about = func(name string) subject { return of(s, name) }
	case nil:
		panic("evertoken: statuspage: the source is nil")
	default:
		panic(fmt.Sprintf("evertoken: statuspage: the source, a %T, is neither a client nor a pool", s))
	}
	return h
}

type handler struct {
	about func(session string) subject
	body  *template.Template
	now   func() time.Time
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	kind, write := "text/html; charset=utf-8", h.page
	if prefersJSON(r.Header.Values("Accept")) {
		kind, write = "application/json", h.json
	}
	var page bytes.Buffer
	about := h.about(r.URL.Query().Get("session"))
	if err := write(&page, about); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(about.code())
	_, _ = w.Write(page.Bytes()) // whoever asked may be gone
}

// page writes style and script untouched around the body: their hashes are what
// the policy allows.
func (h *handler) page(w *bytes.Buffer, about subject) error {
	view := about.view(h.now())
	fmt.Fprintf(w, `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>%s · evertoken</title>
<noscript><meta http-equiv="refresh" content="10"></noscript>
<style>%s</style>
</head>
`, template.HTMLEscapeString(view.title()), style)
	if err := h.body.Execute(w, view); err != nil {
		return err
	}
	fmt.Fprintf(w, "<script>%s</script>\n</body>\n</html>\n", script)
	return nil
}

func (h *handler) json(w *bytes.Buffer, about subject) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(about.report(h.now()))
}

// secure lets the page load nothing, be framed by nobody, and be kept nowhere.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; "+
		"style-src '"+digest(style)+"'; script-src '"+digest(script)+"'; "+
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Vary", "Accept")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for what does not know frame-ancestors
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
