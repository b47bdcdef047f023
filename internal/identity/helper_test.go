package identity

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testKey      = "0123456789abcdef0123456789abcdef"
	testPassword = "Passw0rd!demo"
)

// A bench is a server whose clock stands still unless it is told to move.
type bench struct {
	*Server
	t   *testing.T
	mu  sync.Mutex
	now time.Time
}

func (b *bench) Now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Date(2030, 1, 2, 3, 4, 5, 600_700_800, time.UTC)}
	cfg := Config{
		Key: testKey, Issuer: "https://issuer.test", Audience: "https://audience.test",
		PasswordIterations: 1, Now: b.Now,
		Accounts: []Account{{
			ID: "u-1", Email: "demo@evertoken.dev", UserName: "demo", Password: testPassword,
			Roles: []string{"Administrator"}, Claims: map[string][]string{"team": {"blue", "red"}},
		}, {
			ID: "u-2", Email: "two@evertoken.dev", UserName: "two", Password: testPassword, TwoFactor: true,
		}, {
			ID: "u-3", Email: "new@evertoken.dev", UserName: "new", Password: testPassword, Unverified: true,
		}},
		Clients: []Client{{ID: "worker", Secret: "s3cret &"}},
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Server = s
	return b
}

// do sends one request; headers are name, value, name, value.
func (b *bench) do(method, path, body string, headers ...string) *http.Response {
	b.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w.Result()
}

func (b *bench) login(remember bool) (access, refresh string) {
	b.t.Helper()
	body := `{"login":"demo","password":"` + testPassword + `","deviceDetails":"test"}`
	if remember {
		body = body[:len(body)-1] + `,"rememberMe":true}`
	}
	res := b.do("POST", "/api/Identity/login", body)
	found := regexp.MustCompile(`"accessToken":"([^"]+)"`).FindStringSubmatch(text(b.t, res))
	if found == nil || len(res.Cookies()) != 1 {
		b.t.Fatal("login failed")
	}
	return found[1], res.Cookies()[0].Value
}

// renew returns the access token and the cookie of one renewal, "" for neither.
func (b *bench) renew(refresh string) (access, cookie string) {
	b.t.Helper()
	res := b.do("GET", "/api/Identity/access-token", "", "Cookie", "refreshToken="+refresh)
	for _, c := range res.Cookies() {
		cookie = c.Value
	}
	if found := regexp.MustCompile(`"result":"([^"]+)"`).FindStringSubmatch(text(b.t, res)); found != nil {
		access = found[1]
	}
	return access, cookie
}

// mustRenew is renew for a cookie that has to be alive.
func (b *bench) mustRenew(refresh string) (cookie string) {
	b.t.Helper()
	access, cookie := b.renew(refresh)
	if access == "" || cookie == "" {
		b.t.Fatal("refresh token was refused")
	}
	return cookie
}

// mustRefuse checks that a cookie is dead.
func (b *bench) mustRefuse(refresh string) {
	b.t.Helper()
	if access, cookie := b.renew(refresh); access != "" || cookie != "" {
		b.t.Fatal("refresh token was accepted")
	}
}

func (b *bench) profileStatus(access string) int {
	b.t.Helper()
	return b.do("GET", "/api/users/me/profile", "", "Authorization", "Bearer "+access).StatusCode
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	var b strings.Builder
	if err := res.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(b.String(), "\r\n\r\n")
	return body
}

// golden replaces what is random, GUIDs and access tokens, by <guid> and <jwt>.
func golden(s string) string {
	s = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`).
		ReplaceAllString(s, "<guid>")
	return regexp.MustCompile(`eyJ[\w-]+\.eyJ[\w-]+\.[\w-]{43}`).ReplaceAllString(s, "<jwt>")
}
