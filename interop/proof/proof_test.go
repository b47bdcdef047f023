package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/interop/internal/tap"
)

// TestMain makes the test binary the program that tests of processes start.
func TestMain(m *testing.M) {
	if words := os.Getenv("PROOF_TEST_SAYS"); words != "" {
		fmt.Print(words)
		if os.Getenv("PROOF_TEST_STAYS") != "" {
			select {}
		}
		os.Exit(3)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, env ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), env...)
	p, err := launch(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a program says is there when it has ended, its last line too.
func TestProcessIsHeard(t *testing.T) {
	p := child(t, "PROOF_TEST_SAYS=renewed\nrenewed\na line of more\nadopted")
	<-p.ended
	if p.said("renewed") != 2 || p.said("adopted") != 1 {
		t.Errorf("heard %v", p.words)
	}
	if err := p.gone(); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "a line of more") {
		t.Errorf("%v", err)
	}
}

func TestProcessIsStopped(t *testing.T) {
	p := child(t, "PROOF_TEST_SAYS=here\n", "PROOF_TEST_STAYS=1")
	if err := p.gone(); err != nil {
		t.Error(err)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if err := p.gone(); err == nil {
		t.Error("it goes on")
	}
}

// A site with the pages of both servers: redirects, cookies, forms.
func TestBrowser(t *testing.T) {
	var arrived []string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /start", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "visit", Value: "1", Path: "/"})
		http.Redirect(w, r, "/login?x=1", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `<form autocomplete="off" action="/in?a=1&amp;b=2" method="post">
			<input type="hidden" name="prompt" value="lo&quot;gin"/><input required name="login" >
			<input type="password" name="password"></form>`)
	})
	mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) {
		_, err := r.Cookie("visit")
		arrived = append(arrived, fmt.Sprint(r.PostFormValue("login"), "/", r.PostFormValue("password"), "/", r.PostFormValue("prompt"), "/", r.URL.Query().Get("b"), "/", err))
		if r.PostFormValue("login") != "" {
			_, _ = fmt.Fprint(w, `<form method="POST"><input type="hidden" name="id" value="7"></form>`)
		}
	})
	mux.HandleFunc("/again", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `<form></form>`) })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	b, err := newBrowser(map[string]string{"login": "me", "password": "pw", "prompt": "not this"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.visit(t.Context(), srv.URL+"/start"); err != nil {
		t.Error(err)
	}
	if want := []string{`me/pw/lo"gin/2/<nil>`, `///2/<nil>`}; !slices.Equal(arrived, want) {
		t.Errorf("the forms brought %q, want %q", arrived, want)
	}
	for page, want := range map[string]string{"/again": "still at a form", "/missing": "404"} {
		if err := b.visit(t.Context(), srv.URL+page); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", page, err)
		}
	}
}

func TestForm(t *testing.T) {
	f, ok := findForm(`<p><form action="/in?a=1&amp;b=2"><input name="login"><input name="kept" value="&quot;v">`)
	if ok {
		t.Errorf("a form without an end: %v", f)
	}
	f, ok = findForm(`<form action="/in?a=1&amp;b=2"><input name="login"><input name="kept" value="&quot;v"></form>`)
	if !ok || f.action != "/in?a=1&b=2" || f.fields.Get("kept") != `"v` || !f.fields.Has("login") {
		t.Errorf("%v, %v", f, ok)
	}
}

// An API refuses what the authorization server does not know, and says that it
// cannot tell when that is down.
func TestAPI(t *testing.T) {
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		_, _ = fmt.Fprintf(w, `{"active":%v}`, id == "web" && secret == "pw" && r.PostFormValue("token") == "good")
	}))
	address, stop, err := serveAPI(&api{introspect: as.URL, clientID: "web", secret: "pw"})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(header string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusUnauthorized && !strings.Contains(resp.Header.Get("WWW-Authenticate"), "invalid_token") {
			t.Error("401 without a reason")
		}
		return resp.StatusCode
	}
	if a, b, c := ask("Bearer good"), ask("Bearer bad"), ask("good"); a != 200 || b != 401 || c != 401 {
		t.Errorf("%d, %d, %d", a, b, c)
	}
	as.Close()
	if got := ask("Bearer good"); got != http.StatusServiceUnavailable {
		t.Errorf("without its server: %d", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	printTable(&b, []row{
		{name: "short", server: "a", figures: []string{"1 renewal", "0 failed"}},
		{name: "the longer name", server: "server b", figures: []string{strings.Repeat("many words ", 20)}, err: errors.New("it\nbroke")},
	})
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if len(lines) < 4 {
		t.Fatalf("%q", lines)
	}
	if want := "short            a         ok      1 renewal; 0 failed"; lines[1] != want {
		t.Errorf("got  %q\nwant %q", lines[1], want)
	}
	if !strings.HasPrefix(lines[2], "the longer name  server b  FAILED  many words") || !strings.HasSuffix(strings.Join(strings.Fields(b.String()), " "), "fault: it | broke") {
		t.Errorf("%s", b.String())
	}
	for _, l := range lines {
		if len(l) > tableWidth {
			t.Errorf("%d wide: %s", len(l), l)
		}
	}
}

// A failed request, and a load without any, is a fault.
func TestLoad(t *testing.T) {
	answers := make(chan int, 1000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case status := <-answers:
			w.WriteHeader(status)
		default:
		}
	}))
	defer srv.Close()
	n := &session{base: newCounter(), url: srv.URL}
	var err error
	if n.Client, err = evertoken.New(t.Context(), evertoken.Config{Issuer: noIssuer{}, Origins: []string{srv.URL}, Base: n.base}); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.SignIn(t.Context(), evertoken.Token{AccessToken: "a"}); err != nil {
		t.Fatal(err)
	}
	l := n.load(t.Context())
	if err := l.turnover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.end(); err != nil {
		t.Error(err)
	}
	for i, n := range l.done {
		if n < 2 {
			t.Errorf("loader %d has made %d requests, want 2", i, n)
		}
	}
	answers <- http.StatusForbidden
	if err := n.get(t.Context()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("%v", err)
	}
	l.note(errors.New("boom"), 0)
	if err := l.end(); err == nil || !strings.Contains(err.Error(), "the first: boom") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.load(ctx).end(); err == nil {
		t.Error("a load of nothing passes")
	}
}

type noIssuer struct{}

func (noIssuer) Refresh(context.Context, evertoken.Token) (evertoken.Token, error) {
	return evertoken.Token{}, errors.New("no")
}

func TestEvents(t *testing.T) {
	l := newEvents()
	go l.note(evertoken.Event{Kind: evertoken.Renewed, Reason: "due"})
	if e, err := l.until(t.Context(), evertoken.Renewed, 1); err != nil || e.Reason != "due" {
		t.Errorf("%v, %v", e, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.until(ctx, evertoken.Renewed, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A refresh token that went out twice fails a case, and so does the server's word.
func TestSpentOnce(t *testing.T) {
	trial := func(words map[string]int) *trial {
		return &trial{server: &server{process: &process{words: words}}}
	}
	one, two := tap.Renewal{Digest: [32]byte{1}, Status: 200}, tap.Renewal{Digest: [32]byte{2}, Status: 200}
	if err := trial(nil).spentOnce(0, []tap.Renewal{one, two}); err != nil {
		t.Error(err)
	}
	if err := trial(nil).spentOnce(0, []tap.Renewal{one, two, one}); err == nil {
		t.Error("sent twice, and nobody minds")
	}
	if err := trial(map[string]int{"spent-twice": 1}).spentOnce(0, []tap.Renewal{one}); err == nil {
		t.Error("the server says so, and nobody minds")
	}
	refused := tap.Renewal{Digest: [32]byte{3}, Status: 400}
	if err := trial(nil).spentOnce(0, []tap.Renewal{refused}); err == nil {
		t.Error("a refused renewal passes")
	}
}

// Both servers are in every case that the issue names, and no port is given twice.
func TestCases(t *testing.T) {
	names := func(k kind) []string {
		var all []string
		for _, c := range k.cases() {
			all = append(all, c.name)
		}
		return all
	}
	all := programs{}.kinds()
	both := names(all[1])
	if len(both) != 9 {
		t.Errorf("zitadel takes part in %v", both)
	}
	if own := names(all[0]); !slices.Equal(own[:len(both)], both) || len(own) != len(both)+2 {
		t.Errorf("oidc-provider takes part in %v", own)
	}
	p := newPorts()
	seen := map[int]bool{}
	for range 20 {
		n, err := p.free()
		if err != nil || seen[n] {
			t.Fatalf("port %d: %v", n, err)
		}
		seen[n] = true
	}
}

// A server that cannot be started is a failed row, not a missing one.
func TestMissingServer(t *testing.T) {
	p := programs{zitadel: "/nowhere/at/all", matching: "/nowhere/at/all"}
	rows := runAll(t.Context(), p, regexp.MustCompile("matching"))
	if len(rows) != 1 || rows[0].err == nil || rows[0].result() != "FAILED" {
		t.Errorf("%+v", rows)
	}
	if run(t.Context(), p, "no such case") || run(t.Context(), p, "(") {
		t.Error("nothing was run, and that passes")
	}
}
