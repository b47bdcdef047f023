// Package statuspage shows on one page what a client is doing: whether it is
// signed in, until when, what failed and what to do about it, and how it has been.
//
//	http.Handle("/debug/evertoken", statuspage.Handler(client))
//
// Of a pool it shows how many of its sessions are well and which are not, and each
// of them on a page of its own, with the query ?session=NAME.
//
// The page needs nothing from elsewhere and updates itself. With Accept:
// application/json the same comes as JSON. It holds no token, but the names of
// sessions; whether it may be seen by everybody is for you to decide, as with
// net/http/pprof. A page of a pool looks at all of its sessions, which takes a tenth of
// a second for 100,000.
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
)

//go:embed page.css
var style string

//go:embed page.js
var script string

//go:embed page.html
var body string

// Handler returns a handler that answers GET and HEAD, at whatever path it is
// mounted, and any number of them at once. It panics if s is neither a client nor a
// pool.
func Handler(s Source) http.Handler {
	switch s.(type) {
	case single, multiple:
	default:
		panic("evertoken: statuspage: the source is neither a client nor a pool")
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
	doc := h.document(r)
	var page bytes.Buffer
	if err := write(&page, doc); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	if doc.missing {
		w.WriteHeader(http.StatusNotFound)
	}
	_, _ = w.Write(page.Bytes()) // whoever asked may be gone
}

// document is what is asked for.
func (h *handler) document(r *http.Request) document {
	if s, ok := h.source.(single); ok {
		return sessionDocument("", s.Status(), s.Events(), h.now())
	}
	return documentOf(h.source.(multiple), r.URL.Query()["session"], h.now())
}

// page writes style and script untouched around the body: their hashes are what
// the policy allows.
func (h *handler) page(w *bytes.Buffer, doc document) error {
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
`, template.HTMLEscapeString(doc.title), style)
	if err := h.body.ExecuteTemplate(w, doc.template, doc.view); err != nil {
		return err
	}
	fmt.Fprintf(w, "<script>%s</script>\n</body>\n</html>\n", script)
	return nil
}

func (h *handler) json(w *bytes.Buffer, doc document) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(doc.report())
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
