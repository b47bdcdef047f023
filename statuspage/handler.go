// Package statuspage shows on one page what a client is doing: whether it is
// signed in, until when, what failed and what to do about it, and how it has been.
//
//	http.Handle("/debug/evertoken", statuspage.Handler(client))
//
// The page needs nothing from elsewhere and updates itself. With Accept:
// application/json the same comes as JSON. It holds no token; whether it may be
// seen by everybody is for you to decide, as with net/http/pprof.
package statuspage

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/evertoken/evertoken"
)

// A Source is what a page tells of. [*evertoken.Client] is one.
type Source interface {
	Status() evertoken.Status
	Events() []evertoken.Event // oldest first
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
	if s == nil {
		panic("evertoken: statuspage: the source is nil")
	}
	return &handler{source: s, body: template.Must(template.New("page").Parse(body)), now: time.Now}
}

type handler struct {
	source Source
	body   *template.Template
	now    func() time.Time
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
	if err := write(&page, h.now()); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(page.Bytes()) // whoever asked may be gone
}

// page writes style and script untouched around the body: their hashes are what
// the policy allows.
func (h *handler) page(w *bytes.Buffer, now time.Time) error {
	view := newView(h.source.Status(), h.source.Events(), now)
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
`, template.HTMLEscapeString(view.Headline), style)
	if err := h.body.Execute(w, view); err != nil {
		return err
	}
	fmt.Fprintf(w, "<script>%s</script>\n</body>\n</html>\n", script)
	return nil
}

func (h *handler) json(w *bytes.Buffer, now time.Time) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(newReport(h.source.Status(), h.source.Events(), now))
}

// secure lets the page load nothing, be framed by nobody, and be kept nowhere.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; "+
		"style-src '"+digest(style)+"'; script-src '"+digest(script)+"'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
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
