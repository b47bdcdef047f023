package identity

import (
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"
)

const oauthJSON = "application/json;charset=UTF-8"

func (b *bench) form(path, body string, headers ...string) *http.Response {
	b.t.Helper()
	return b.do("POST", path, body,
		append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

// passwordGrant returns the refresh token of a granted password.
func (b *bench) passwordGrant(more string) string {
	b.t.Helper()
	body := text(b.t, b.form("/oauth/token", "grant_type=password&username=demo&password="+
		url.QueryEscape(testPassword)+more))
	found := regexp.MustCompile(`"refresh_token":"([^"]+)"`).FindStringSubmatch(body)
	if found == nil {
		b.t.Fatalf("no refresh token: %s", golden(body))
	}
	return found[1]
}

// TestTokenEndpointWire pins the answers of RFC 6749, sections 5.1 and 5.2.
func TestTokenEndpointWire(t *testing.T) {
	password := url.QueryEscape(testPassword)
	const basic = "Basic d29ya2VyOnMzY3JldCslMjY=" // worker, "s3cret &" form-encoded
	for _, c := range []struct {
		name, form, authorization string
		status                    int
		want                      string
	}{
		{"password", "grant_type=password&username=demo&password=" + password, "", 200,
			`{"access_token":"<jwt>","token_type":"Bearer","expires_in":7200,"refresh_token":"<guid>"}`},
		{"client by header", "grant_type=client_credentials", basic, 200,
			`{"access_token":"<jwt>","token_type":"Bearer","expires_in":7200}`},
		{"client by form", "grant_type=client_credentials&client_id=worker&client_secret=s3cret+%26", "", 200,
			`{"access_token":"<jwt>","token_type":"Bearer","expires_in":7200}`},
		{"wrong password", "grant_type=password&username=demo&password=x", "", 400,
			`{"error":"invalid_grant","error_description":"wrong username or password"}`},
		{"unknown user", "grant_type=password&username=nobody&password=x", "", 400,
			`{"error":"invalid_grant","error_description":"wrong username or password"}`},
		{"two-factor", "grant_type=password&username=two&password=" + password, "", 400,
			`{"error":"invalid_grant","error_description":"account needs a further step to sign in"}`},
		{"no password", "grant_type=password&username=demo", "", 400,
			`{"error":"invalid_request","error_description":"username or password is missing"}`},
		{"unknown refresh token", "grant_type=refresh_token&refresh_token=x", "", 400,
			`{"error":"invalid_grant","error_description":"refresh token is not valid"}`},
		{"no refresh token", "grant_type=refresh_token", "", 400,
			`{"error":"invalid_request","error_description":"refresh_token is missing"}`},
		{"public client", "grant_type=client_credentials&client_id=app", "", 400,
			`{"error":"unauthorized_client","error_description":"a public client has no credentials"}`},
		{"wrong secret", "grant_type=client_credentials&client_id=worker&client_secret=x", "", 401,
			`{"error":"invalid_client"}`},
		{"no secret", "grant_type=client_credentials&client_id=worker", "", 401, `{"error":"invalid_client"}`},
		{"unknown client", "grant_type=client_credentials&client_id=x&client_secret=x", "", 401,
			`{"error":"invalid_client"}`},
		{"unknown client by header", "grant_type=client_credentials", "Basic eDp4", 401, `{"error":"invalid_client"}`},
		{"bad encoding", "grant_type=client_credentials", "Basic JTo=", 400,
			`{"error":"invalid_request","error_description":"client credentials are not form-encoded"}`},
		{"no grant type", "a=b", "", 400, `{"error":"invalid_request","error_description":"grant_type is missing"}`},
		{"other grant type", "grant_type=device", "", 400, `{"error":"unsupported_grant_type"}`},
		{"scope", "grant_type=client_credentials&scope=all", basic, 400,
			`{"error":"invalid_scope","error_description":"this server has no scopes"}`},
		{"repeated", "grant_type=refresh_token&refresh_token=x&refresh_token=y", "", 400,
			`{"error":"invalid_request","error_description":"a parameter is repeated"}`},
		{"unreadable", "grant_type=%zz", "", 400,
			`{"error":"invalid_request","error_description":"the form cannot be read"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := newBench(t, nil).form("/oauth/token", c.form, "Authorization", c.authorization)
			check(t, res, c.status, oauthJSON, c.want, "")
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Pragma") != "no-cache" {
				t.Errorf("may be cached: %v", res.Header)
			}
			challenged := res.Header.Get("WWW-Authenticate") == "Basic"
			if want := c.status == 401 && c.authorization != ""; challenged != want {
				t.Errorf("challenged: %t, want %t", challenged, want)
			}
		})
	}
}

func TestParametersInTheQueryDoNotCount(t *testing.T) {
	res := newBench(t, nil).form("/oauth/token?grant_type=refresh_token&refresh_token=x", "a=b")
	check(t, res, 400, oauthJSON, `{"error":"invalid_request","error_description":"grant_type is missing"}`, "")
}

// TestBothDoorsShareOneSession: rotation at the token endpoint is the core's.
func TestBothDoorsShareOneSession(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.Rotate, cfg.DetectReuse = true, true })
	first := b.passwordGrant("")
	renew := func(token string) *http.Response {
		return b.form("/oauth/token", "grant_type=refresh_token&refresh_token="+token)
	}
	check(t, renew(first), 200, oauthJSON,
		`{"access_token":"<jwt>","token_type":"Bearer","expires_in":7200,"refresh_token":"<guid>"}`, "")
	check(t, renew(first), 400, oauthJSON,
		`{"error":"invalid_grant","error_description":"refresh token is not valid"}`, "")
	if got := (Counts{Refreshes: 2, SpentTwice: 1}); b.Counts() != got || b.Sessions() != 0 {
		t.Errorf("counts %+v, %d sessions", b.Counts(), b.Sessions())
	}
	b.mustRenew(b.passwordGrant(""))
}

func TestRefreshTokenIsBoundToItsClient(t *testing.T) {
	b := newBench(t, nil)
	token := b.passwordGrant("&client_id=app")
	const refused = `{"error":"invalid_grant","error_description":"refresh token is not valid"}`
	check(t, b.form("/oauth/token", "grant_type=refresh_token&refresh_token="+token), 400, oauthJSON, refused, "")
	b.form("/oauth/revoke", "token="+token+"&client_id=other")
	res := b.form("/oauth/token", "grant_type=refresh_token&client_id=app&refresh_token="+token)
	if res.StatusCode != 200 {
		t.Errorf("its own client: status %d", res.StatusCode)
	}
}

func TestClientTokenOpensTheAPI(t *testing.T) {
	b := newBench(t, nil)
	body := text(t, b.form("/oauth/token", "grant_type=client_credentials&client_id=worker&client_secret=s3cret+%26"))
	access := regexp.MustCompile(`"access_token":"([^"]+)"`).FindStringSubmatch(body)[1]
	check(t, b.do("GET", "/api/users/me/profile", "", "Authorization", "Bearer "+access), 200, jsonOK,
		`{"result":{"id":"worker","email":"","userName":"worker"},"type":"Success"}`, "")
}

func TestOAuthRevoke(t *testing.T) {
	b := newBench(t, nil)
	token := b.passwordGrant("")
	check(t, b.form("/oauth/revoke", "token=unknown&token_type_hint=refresh_token"), 200, "", "", "")
	if b.Sessions() != 1 {
		t.Fatal("an unknown token ended a session")
	}
	check(t, b.form("/oauth/revoke", "token="+token), 200, "", "", "")
	b.mustRefuse(token)
	check(t, b.form("/oauth/revoke", ""), 400, oauthJSON,
		`{"error":"invalid_request","error_description":"token is missing"}`, "")
	check(t, b.form("/oauth/revoke", "token=x&client_id=worker"), 401, oauthJSON, `{"error":"invalid_client"}`, "")
}

func TestLockedAccountAtTheTokenEndpoint(t *testing.T) {
	b := newBench(t, nil)
	for range maxFailures {
		b.try("wrong")
	}
	const form = "grant_type=password&username=demo&password=x"
	check(t, b.form("/oauth/token", form), 400, oauthJSON,
		`{"error":"invalid_grant","error_description":"account is locked"}`, "")
	b.pass(lockOut + time.Second)
	b.passwordGrant("")
}
