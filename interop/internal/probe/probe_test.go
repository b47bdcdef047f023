package probe

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fake is a token endpoint with a session that rotates, and an API at /api.
type fake struct {
	json    bool              // wants JSON
	members map[string]string // names of members, where they are not those of RFC 6749
	unit    int               // of expires_in, in a second; 0 means 1
	life    int               // seconds of an access token; 0 means 60
	words   map[string]string // whole error answers by what is wrong: "token", "client", "secret"; status and body
	grace   time.Duration
	family  bool // reuse ends the session
	steady  bool // does not rotate
	deaf    bool // does not know the session

	mu     sync.Mutex
	got    string // refresh token
	n      int
	spent  time.Time // when the last token was spent
	ended  bool
	access map[string]time.Time // by token: its end
}

const (
	first  = "s3cret-refresh-0"
	secret = "s3cret-of-the-client"
)

func (f *fake) refresh() string { return fmt.Sprintf("s3cret-refresh-%d", f.n) }

// start serves the fake until the test ends.
func (f *fake) start(t *testing.T) string {
	t.Helper()
	f.access = map[string]time.Time{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", f.token)
	mux.HandleFunc("GET /api", f.api)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

// refuse gives the answer for what is wrong. ECHO in it becomes the token.
func (f *fake) refuse(w http.ResponseWriter, what, standard string) {
	answer := strings.ReplaceAll(f.words[what], "ECHO", f.got)
	if answer == "" {
		answer = standard
	}
	status := 0
	_, _ = fmt.Sscanf(answer, "%d", &status)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(strings.TrimSpace(answer[3:])))
}

func (f *fake) token(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, word, _ := r.BasicAuth()
	form := r.PostFormValue
	if f.json {
		var doc map[string]string
		if json.NewDecoder(r.Body).Decode(&doc) != nil {
			f.refuse(w, "", `400 {"error":"invalid_request"}`)
			return
		}
		form = func(name string) string { return doc[name] }
	}
	old := fmt.Sprintf("s3cret-refresh-%d", f.n-1)
	f.got = form("refresh_token")
	switch got := f.got; {
	case id != "" && id != "me":
		f.refuse(w, "client", `401 {"error":"invalid_client"}`)
	case id != "" && word != secret:
		f.refuse(w, "secret", `401 {"error":"invalid_client"}`)
	case got == f.refresh() && !f.ended && !f.deaf:
		if !f.steady {
			f.n++
		}
		f.spent = time.Now()
		f.grant(w)
	case got == old && !f.steady && time.Since(f.spent) < f.grace:
		f.grant(w)
	default:
		f.ended = f.ended || f.family && got == old
		f.refuse(w, "token", `400 {"error":"invalid_grant","error_description":"no"}`)
	}
}

func (f *fake) grant(w http.ResponseWriter) {
	life, unit := max(f.life, 0), max(f.unit, 1)
	if life == 0 {
		life = 60
	}
	now := time.Now()
	body := fmt.Sprintf(`{"iat":%d,"exp":%d,"jti":%d}`, now.Unix(), now.Unix()+int64(life), len(f.access))
	access := "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(body)) + ".s3cret"
	f.access[access] = now.Add(time.Duration(life) * time.Second)
	name := func(standard string) string {
		if n := f.members[standard]; n != "" {
			return n
		}
		return standard
	}
	doc := map[string]any{name("access_token"): access, name("refresh_token"): f.refresh(), name("expires_in"): life * unit}
	if f.members != nil {
		doc = map[string]any{"data": doc}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(doc)
}

func (f *fake) api(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !time.Now().Before(f.access[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]) {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// probed runs the probe and sees to it that nothing secret comes out.
func probed(t *testing.T, f *fake, c Config) (*Report, error) {
	t.Helper()
	url := f.start(t)
	c.TokenURL, c.Token = url+"/token?key=s3cret-in-the-query", first
	if c.ResourceURL != "" {
		c.ResourceURL = url + c.ResourceURL
	}
	report, err := Run(t.Context(), c)
	if out := text(t, report) + fmt.Sprint(err); strings.Contains(out, "s3cret") {
		t.Errorf("a secret comes out:\n%s", out)
	}
	return report, err
}

func text(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// wantLines checks parts of lines, by label.
func wantLines(t *testing.T, r *Report, want map[string]string) {
	t.Helper()
	for label, part := range want {
		if got := r.Line(label); !strings.Contains(got, part) {
			t.Errorf("%s: %q, want %q", label, got, part)
		}
	}
	if t.Failed() {
		t.Log(text(t, r))
	}
}

func TestServerToTheLetter(t *testing.T) {
	t.Parallel()
	var warned, kept []string
	c := Config{
		ClientID: "me", Secret: secret, Reuse: true, ResourceURL: "/api",
		Warn: func(s string) { warned = append(warned, s) },
		Keep: func(s string) error { kept = append(kept, s); return nil },
	}
	r, err := probed(t, &fake{family: true}, c)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{
		"asked":          "a form, as client \"me\" (client_secret_basic)",
		"dead token":     "400 invalid_grant (no)",
		"unknown client": "401 invalid_client",
		"wrong secret":   "401 invalid_client",
		"rotation":       "yes",
		"lifetime":       "1m0s by the answer; they are JWTs whose exp - iat is 1m0s, as the answer says",
		"clock":          "agrees",
		"after renewal":  "still honoured",
		"honoured":       "not watched to the end",
		"reuse":          "refused at once",
		"family":         "reuse ends the session",
		"preset":         "the zero Dialect (so do hydra, oidc-provider,",
	})
	if want := []string{"s3cret-refresh-1", "s3cret-refresh-2", "s3cret-refresh-3"}; !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	if last := warned[len(warned)-1]; !strings.Contains(last, "spent twice") {
		t.Errorf("the last warning was %q", last)
	}
}

// Without leave nothing is done that may end a session.
func TestNoReuseUnasked(t *testing.T) {
	f := &fake{family: true}
	r, err := probed(t, f, Config{})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{"reuse": "not tried", "unknown client": "not asked", "honoured": "not looked at"})
	if f.ended || f.n != 2 {
		t.Errorf("the session has ended (%v) or was renewed %d times, want 2", f.ended, f.n)
	}
}

func TestZitadelIsRecognized(t *testing.T) {
	f := &fake{words: map[string]string{"client": `500 {"error":"server_error","error_description":"client not found"}`}}
	r, err := probed(t, f, Config{ClientID: "me", Secret: secret, Reuse: true})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{"preset": "zitadel-oidc", "family": "does not end the session"})
	if got := r.Line("preset"); got != "zitadel-oidc" {
		t.Errorf("preset: %q", got)
	}
}

// A grace is found from below: what is said of it is never longer than it is.
func TestGrace(t *testing.T) {
	t.Parallel()
	r, err := probed(t, &fake{grace: 500 * time.Millisecond}, Config{Reuse: true, Wait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{"reuse": "accepted 0s after it was spent, refused after 1", "reuse answer": "the same new one", "family": "does not end"})

	r, err = probed(t, &fake{grace: time.Hour}, Config{Reuse: true, Wait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{"reuse": "still accepted after 1s"})
}

func TestNoRotation(t *testing.T) {
	r, err := probed(t, &fake{steady: true}, Config{Reuse: true})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{"rotation": "no", "reuse": "not spent here", "preset": "the zero Dialect"})
}

func TestHonouredToItsEnd(t *testing.T) {
	t.Parallel()
	r, err := probed(t, &fake{life: 1}, Config{ResourceURL: "/api", Wait: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{"honoured": "refused with 401 after 1"})
	word, _, _ := strings.Cut(strings.TrimPrefix(r.Line("honoured"), "for "), ",")
	if seen, err := time.ParseDuration(word); err != nil || seen < 500*time.Millisecond || seen > 1100*time.Millisecond {
		t.Errorf("honoured for %q, %v; want about a second", word, err)
	}
}

// Directus wants JSON and has its members elsewhere, in milliseconds.
func TestDirectusIsFound(t *testing.T) {
	f := &fake{
		json: true, unit: 1000, life: 900, members: map[string]string{"expires_in": "expires"},
		words: map[string]string{"token": `401 {"errors":[{"message":"Invalid user credentials.","extensions":{"code":"INVALID_CREDENTIALS"}}]}`},
	}
	r, err := probed(t, f, Config{})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{"asked": "with JSON", "preset": "directus", "lifetime": "15m0s by the answer"})
}

// A preset whose grace is longer than the server's makes a client spend tokens
// twice: it does not fit, however well it reads.
func TestGraceTooLong(t *testing.T) {
	for reuse, want := range map[bool]string{false: "supabase-auth", true: "none fits; a Dialect that does is below"} {
		f := &fake{json: true, words: map[string]string{"token": `400 {"error_code":"refresh_token_not_found","msg":"Invalid Refresh Token"}`}}
		r, err := probed(t, f, Config{Reuse: reuse})
		if err != nil {
			t.Fatal(err)
		}
		wantLines(t, r, map[string]string{"asked": "grant_type in the URL", "preset": want})
		if strings.Contains(text(t, r), "ReuseGrace:") {
			t.Errorf("%s", text(t, r))
		}
	}
}

// A server without clients says of an unknown one what it says of a dead token.
func TestNoClients(t *testing.T) {
	f := &fake{words: map[string]string{"client": `400 {"error":"invalid_grant","error_description":"no"}`}}
	r, err := probed(t, f, Config{ClientID: "me", Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{"unknown client": "the same as of a dead token", "preset": "the zero Dialect"})
}

// A server that no preset knows gets a dialect of its own, which is Go and fits.
func TestDialectForAStranger(t *testing.T) {
	t.Parallel()
	f := &fake{
		unit: 1000, life: 900,
		members: map[string]string{"access_token": "accessToken", "refresh_token": "refreshToken", "expires_in": "expiresIn"},
		words: map[string]string{
			"token":  `403 {"status":{"code":"DENIED","message":"that session is over"}}`,
			"client": `403 {"status":{"code":"DENIED","message":"who are you"}}`,
			"secret": `403 {"status":{"code":"WRONG_KEY","message":"who are you"}}`,
		},
	}
	r, err := probed(t, f, Config{ClientID: "me", Secret: secret, Reuse: true})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{
		"dead token": `403 "DENIED" (that session is over), which RFC 6749 does not have`,
		"preset":     "none fits; a Dialect that does is below", "rotation": "yes", "misfit": "the zero Dialect",
	})
	_, code, _ := strings.Cut(text(t, r), "\n\n")
	if _, err := parser.ParseExpr(strings.TrimPrefix(code, "var dialect = ")); err != nil {
		t.Errorf("%v in\n%s", err, code)
	}
	for _, want := range []string{
		`"data.accessToken"`, `"data.refreshToken"`, `"data.expiresIn"`, `time.Millisecond`, `[]string{"status.code"}`, `[]string{"status.message"}`,
		`{Status: 403, Code: "DENIED", Text: "that session is over", Outcome: evertoken.Rejected}`,
		`{Status: 403, Code: "DENIED", Text: "who are you", Outcome: evertoken.Misconfigured}`,
		`{Status: 403, Code: "WRONG_KEY", Outcome: evertoken.Misconfigured}`,
	} {
		if !strings.Contains(code, want) {
			t.Errorf("no %s in\n%s", want, code)
		}
	}
}

// Where two things cannot be told apart, no verdict is made up.
func TestUnsolvable(t *testing.T) {
	f := &fake{words: map[string]string{"token": `403 nothing`, "client": `403 {}`}}
	r, err := probed(t, f, Config{ClientID: "me", Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r, map[string]string{"preset": "comes closest", "not solved": "the answer to a made-up token would be taken as unavailable"})
}

func TestTokenOfNoUse(t *testing.T) {
	r, err := probed(t, &fake{deaf: true}, Config{})
	if err == nil || !strings.Contains(err.Error(), "was not renewed") {
		t.Errorf("%v", err)
	}
	wantLines(t, r, map[string]string{"renewal": "400 invalid_grant", "preset": "the zero Dialect"})
}

// Servers that repeat a token in their words do not get it printed.
func TestEcho(t *testing.T) {
	for _, words := range []string{`400 {"error":"gone","error_description":"no token ECHO"}`, `400 {"code":"gone","detail":"no token ECHO"}`, `400 {"detail":"no token ECHO"}`} {
		f := &fake{words: map[string]string{"token": words}, family: true}
		r, err := probed(t, f, Config{Reuse: true})
		if err != nil {
			t.Fatal(err)
		}
		wantLines(t, r, map[string]string{"reuse": "no token [secret]"})
		got := text(t, r)
		if !strings.Contains(got, `Code: "gone", Outcome: evertoken.Rejected`) && !strings.Contains(got, `Text: "no token", Outcome: evertoken.Rejected`) {
			t.Errorf("%s", got)
		}
		if n := strings.Count(got, "evertoken.Rejected"); n != 1 || strings.Contains(got, "not solved") {
			t.Errorf("%d verdicts, want 1 that says it all:\n%s", n, got)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	if _, err := probed(t, &fake{}, Config{Keep: func(string) error { return full }}); !errors.Is(err, full) {
		t.Errorf("a token that cannot be kept: %v", err)
	}
	for name, c := range map[string]Config{
		"no token":            {TokenURL: "http://localhost:1/"},
		"nobody there":        {TokenURL: "http://127.0.0.1:1/", Token: first},
		"no https":            {TokenURL: "http://example.com/", Token: first},
		"no such preset":      {TokenURL: "http://127.0.0.1:1/", Token: first, Preset: "nobody"},
		"no such proof":       {TokenURL: "http://127.0.0.1:1/", Token: first, Auth: "magic"},
		"a proof of nothing":  {TokenURL: "http://127.0.0.1:1/", Token: first, Auth: Post},
		"a secret of nobody":  {TokenURL: "http://127.0.0.1:1/", Token: first, Secret: secret},
		"an API without TLS":  {Token: first, ResourceURL: "elsewhere"},
		"an API that is none": {Token: first, ResourceURL: ":"},
	} {
		if c.TokenURL == "" {
			c.TokenURL = (&fake{}).start(t) + "/token"
			if c.ResourceURL == "elsewhere" {
				c.ResourceURL = "http://example.com/api"
			}
		}
		report, err := Run(t.Context(), c)
		if err == nil || strings.Contains(fmt.Sprint(err, text(t, report)), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDelays(t *testing.T) {
	if got := delays(12 * time.Second); !slices.Equal(got, []time.Duration{0, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second}) {
		t.Errorf("%v", got)
	}
}

func TestAgreement(t *testing.T) {
	for more, want := range map[time.Duration]string{0: "as the", time.Second: "1s more", -time.Second: "1s less"} {
		if got := agreement(more); !strings.Contains(got, want) {
			t.Errorf("%v: %q", more, got)
		}
	}
	began := time.Now()
	if got := clockSkew(began.Add(-time.Minute), began); !strings.Contains(got, "by -1m0s") {
		t.Errorf("%q", got)
	}
}
