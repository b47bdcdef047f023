package identity

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestTokenBytes pins header and claims: order, arrays, absent ones.
func TestTokenBytes(t *testing.T) {
	b := newBench(t, nil)
	const times = `"iat":1893553445,"nbf":1893553445}`
	const head = `{"aud":"https://audience.test","iss":"https://issuer.test","exp":1893560645,` +
		`"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier":`
	for _, c := range []struct {
		who  subject
		want string
	}{
		{b.find(Unknown, "demo").subject(), head + `"u-1",` +
			`"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress":"demo@evertoken.dev",` +
			`"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name":"demo",` +
			`"http://schemas.microsoft.com/ws/2008/06/identity/claims/role":["Administrator"],` +
			`"team":["blue","red"],` + times},
		{b.find(Unknown, "two").subject(), head + `"u-2",` +
			`"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress":"two@evertoken.dev",` +
			`"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name":"two",` + times},
	} {
		token, err := b.sign(c.who)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token, ".")
		for i, want := range []string{`{"alg":"HS256","typ":"JWT"}`, c.want} {
			if got, _ := base64.RawURLEncoding.DecodeString(parts[i]); string(got) != want {
				t.Errorf("part %d\n got %s\nwant %s", i, got, want)
			}
		}
		if again, _ := b.sign(c.who); again != token {
			t.Error("two tokens of one second differ")
		}
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	b := newBench(t, nil)
	good := func() jwt.MapClaims {
		return jwt.MapClaims{"iss": "https://issuer.test", "aud": "https://audience.test",
			"exp": b.Now().Add(time.Hour).Unix()}
	}
	without := func(name string) jwt.MapClaims { c := good(); delete(c, name); return c }
	with := func(name string, v any) jwt.MapClaims { c := good(); c[name] = v; return c }
	for _, c := range []struct {
		name   string
		method jwt.SigningMethod
		key    any
		claims jwt.MapClaims
		status int
	}{
		{"good", jwt.SigningMethodHS256, []byte(testKey), good(), 200},
		{"other key", jwt.SigningMethodHS256, []byte("x" + testKey), good(), 401},
		{"other hash", jwt.SigningMethodHS512, []byte(testKey), good(), 401},
		{"none", jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(), 401},
		{"no exp", jwt.SigningMethodHS256, []byte(testKey), without("exp"), 401},
		{"no iss", jwt.SigningMethodHS256, []byte(testKey), without("iss"), 401},
		{"no aud", jwt.SigningMethodHS256, []byte(testKey), without("aud"), 401},
		{"other iss", jwt.SigningMethodHS256, []byte(testKey), with("iss", "https://audience.test"), 401},
		{"other aud", jwt.SigningMethodHS256, []byte(testKey), with("aud", "https://issuer.test"), 401},
		{"not yet", jwt.SigningMethodHS256, []byte(testKey), with("nbf", b.Now().Unix()+60), 401},
	} {
		token, err := jwt.NewWithClaims(c.method, c.claims).SignedString(c.key)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.profileStatus(token); got != c.status {
			t.Errorf("%s: status %d, want %d", c.name, got, c.status)
		}
	}
	if got := b.Counts().ExpiredSent; got != 0 {
		t.Errorf("expired sent: %d, want 0", got)
	}
}

func TestExpiredTokenIsRefusedAndCounted(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.AccessLifetime = 20 * time.Second })
	access, _ := b.login(true)
	b.pass(19 * time.Second) // exp is 19.4 s away: tokens count in whole seconds
	if got := b.profileStatus(access); got != 200 {
		t.Fatalf("before exp: status %d", got)
	}
	b.pass(399_299_200) // to the very second
	if got := b.profileStatus(access); got != 401 {
		t.Errorf("at exp: status %d, want 401", got)
	}
	if got := b.Counts().ExpiredSent; got != 1 {
		t.Errorf("expired sent: %d, want 1", got)
	}
}

// A lifetime with a fraction is kept to the millisecond.
func TestTokenOfLessThanASecond(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.AccessLifetime = 300 * time.Millisecond })
	access, _ := b.login(true)
	b.pass(299 * time.Millisecond)
	if got := b.profileStatus(access); got != 200 {
		t.Errorf("before exp: status %d", got)
	}
	b.pass(time.Millisecond)
	if got := b.profileStatus(access); got != 401 {
		t.Errorf("at exp: status %d, want 401", got)
	}
}

func TestExpireAccessTokens(t *testing.T) {
	b := newBench(t, nil)
	old, refresh := b.login(true)
	b.ExpireAccessTokens()
	if got := b.profileStatus(old); got != 401 {
		t.Errorf("old token: status %d, want 401", got)
	}
	renewed, _ := b.renew(refresh) // within the same second
	if got := b.profileStatus(renewed); got != 200 {
		t.Errorf("new token: status %d, want 200", got)
	}
	b.ExpireAccessTokens()
	if got := b.profileStatus(renewed); got != 401 {
		t.Errorf("second time: status %d, want 401", got)
	}
	if got := b.Counts().ExpiredSent; got != 0 {
		t.Errorf("expired sent: %d, want 0", got)
	}
}

func TestRequireTellsTheCaller(t *testing.T) {
	b := newBench(t, nil)
	access, _ := b.login(true)
	var callers []string
	protected := b.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		callers = append(callers, Caller(r.Context()))
	}))
	for _, header := range []string{"Bearer " + access, "Bearer x", ""} {
		r := httptest.NewRequest("GET", "/mine", nil)
		r.Header.Set("Authorization", header)
		protected.ServeHTTP(httptest.NewRecorder(), r)
	}
	if !slices.Equal(callers, []string{"u-1"}) {
		t.Errorf("let through: %q", callers)
	}
	if got := Caller(t.Context()); got != "" {
		t.Errorf("caller of a bare context: %q", got)
	}
}
