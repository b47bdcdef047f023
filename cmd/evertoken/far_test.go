//go:build unix

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/evertoken/evertoken/internal/identity"
)

const (
	user      = "demo@example.com"
	strict    = "strict@example.com" // wants a code
	password  = "Passw0rd!s3cret"
	clientID  = "app"
	confident = "vault" // a client with a secret
	secret    = "s3cret of the client"
)

// A farEnd is an issuer of both kinds and an API: the matching server, with the
// grants that need a page added. It keeps what it hands out, to look for where it
// does not belong.
type farEnd struct {
	t    *testing.T
	core *identity.Server
	srv  *httptest.Server
	url  string

	mu       sync.Mutex
	secrets  []string
	codes    map[string]url.Values // by code: what the browser was sent with
	asked    url.Values            // what it was sent with last
	approved bool                  // the device code is
	hold     map[string]chan struct{}
	held     chan struct{}
	calls    []*http.Request // of the API
}

// newFarEnd starts one. The lifetime is that of its access tokens, 2 h by default.
func newFarEnd(t *testing.T, lifetime ...time.Duration) *farEnd {
	t.Helper()
	life := append(lifetime, 2*time.Hour)[0]
	core, err := identity.New(identity.Config{
		Rotate: true, DetectReuse: true, PasswordIterations: 1,
		AccessLifetime: life + time.Millisecond, // so that no two tokens are the same
		Accounts:       []identity.Account{{Email: user, Password: password}, {Email: strict, Password: password, TwoFactor: true}},
		Clients:        []identity.Client{{ID: confident, Secret: secret}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &farEnd{
		t: t, core: core, secrets: []string{password, secret}, codes: map[string]url.Values{},
		hold: map[string]chan struct{}{}, held: make(chan struct{}, 1),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/oauth-authorization-server", f.metadata)
	mux.HandleFunc("/authorize", f.authorize)
	mux.HandleFunc("/device", f.device)
	mux.HandleFunc("/oauth/token", f.token)
	mux.Handle("/oauth/", core)
	mux.Handle("/api/Identity/", core)
	mux.Handle("/", f.counting(core.Require(http.HandlerFunc(api))))
	f.srv = httptest.NewUnstartedServer(f.noting(mux))
	f.url = "http://" + f.srv.Listener.Addr().String()
	f.srv.Start()
	t.Cleanup(f.srv.Close)
	return f
}

// noting notes each secret of an answer, and holds the answer back if a test wants
// it to be late: the server has done its part by then.
func (f *farEnd) noting(next http.Handler) http.Handler {
	opaque := regexp.MustCompile(`"(?:refresh_token|device_code)":"([^"]+)"`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		body := answer.Body.String()
		f.mu.Lock()
		for _, c := range answer.Result().Cookies() {
			if c.Value != "" {
				f.secrets = append(f.secrets, c.Value)
			}
		}
		f.secrets = append(f.secrets, regexp.MustCompile(`eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*`).FindAllString(body, -1)...)
		for _, m := range opaque.FindAllStringSubmatch(body, -1) {
			f.secrets = append(f.secrets, m[1])
		}
		release := f.hold[r.URL.Path]
		delete(f.hold, r.URL.Path)
		f.mu.Unlock()
		if release != nil {
			f.held <- struct{}{}
			<-release
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // whoever asked may be gone
	})
}

// holdNext holds the next answer for path until release is closed; f.held tells
// that it is there.
func (f *farEnd) holdNext(path string) (release chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	release = make(chan struct{})
	f.hold[path] = release
	return release
}

func (f *farEnd) metadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer": f.url, "authorization_endpoint": f.url + "/authorize", "token_endpoint": f.url + "/oauth/token",
		"revocation_endpoint": f.url + "/oauth/revoke", "device_authorization_endpoint": f.url + "/device",
	})
}

// authorize is the page, with a person at it who agrees at once.
func (f *farEnd) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f.mu.Lock()
	defer f.mu.Unlock()
	code := "code-" + q.Get("state")
	f.codes[code], f.asked = q, q
	f.secrets = append(f.secrets, code)
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
}

func (f *farEnd) device(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"device_code": "s3cret-device-code", "user_code": "WDJB-MJHT", "verification_uri": f.url + "/activate\x1b[2J",
		"interval": 0.01, "expires_in": 600,
	})
}

// approve is the person who types the device code.
func (f *farEnd) approve() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.approved = true
}

// token adds the two grants; a session is that of the one account.
func (f *farEnd) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		f.t.Error(err)
	}
	fault := ""
	switch r.PostForm.Get("grant_type") {
	case "urn:ietf:params:oauth:grant-type:device_code":
		fault = f.deviceGrant(r.PostForm)
	case "authorization_code":
		fault = f.codeGrant(r.PostForm)
	default:
		f.core.ServeHTTP(w, r)
		return
	}
	if fault != "" {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": fault})
		return
	}
	r.PostForm = url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}, "client_id": r.PostForm["client_id"]}
	answer := httptest.NewRecorder()
	f.core.ServeHTTP(answer, r)
	var doc map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &doc); err != nil {
		f.t.Error(err)
	}
	doc["id_token"] = idToken(f.t, time.Hour)
	if r.Header.Get("DPoP") != "" {
		doc["token_type"] = "DPoP"
	}
	writeJSON(w, answer.Code, doc)
}

func (f *farEnd) deviceGrant(form url.Values) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case form.Get("device_code") != "s3cret-device-code":
		return "invalid_grant"
	case !f.approved:
		return "authorization_pending"
	}
	return ""
}

// codeGrant checks what PKCE is for: that whoever sent the browser has come.
func (f *farEnd) codeGrant(form url.Values) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.codes[form.Get("code")]
	delete(f.codes, form.Get("code"))
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	if asked == nil || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) ||
		asked.Get("code_challenge_method") != "S256" || asked.Get("redirect_uri") != form.Get("redirect_uri") ||
		asked.Get("client_id") != or(form.Get("client_id"), confident) {
		return "invalid_grant"
	}
	return ""
}

func idToken(t *testing.T, life time.Duration) string {
	now := time.Now()
	claims := jwt.RegisteredClaims{Subject: "id", IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life))}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("k"))
	if err != nil {
		t.Error(err)
	}
	return text
}

// counting notes what is asked of the API.
func (f *farEnd) counting(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.calls = append(f.calls, r)
		f.mu.Unlock()
		api.ServeHTTP(w, r)
	})
}

// api is what tokens are for.
func api(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/away":
		http.Redirect(w, r, "https://elsewhere.example/x", http.StatusFound)
	case "/moved":
		http.Redirect(w, r, "http://"+r.Host+"//things?a=b", http.StatusFound)
	default:
		_, _ = w.Write([]byte("hello from " + r.URL.RequestURI()))
	}
}

// newCalls are what the API was asked since the last time.
func (f *farEnd) newCalls() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// lastCall is the last of them; there must be one.
func (f *farEnd) lastCall() *http.Request {
	f.t.Helper()
	calls := f.newCalls()
	if len(calls) == 0 {
		f.t.Fatal("the API was not called")
	}
	return calls[len(calls)-1]
}

// query is what the browser was last sent with.
func (f *farEnd) query() url.Values {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// wantNoSecret looks for everything that was handed out, and for passwords.
func (f *farEnd) wantNoSecret(where, text string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.secrets {
		if strings.Contains(text, s) {
			f.t.Errorf("%s holds a secret:\n%s", where, text)
		}
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
