package identity

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	jsonOK      = "application/json; charset=utf-8"
	jsonError   = "application/json"
	jsonProblem = "application/problem+json; charset=utf-8"
	badRequest  = `{"type":"https://tools.ietf.org/html/rfc9110#section-15.5.1",` +
		`"title":"One or more validation errors occurred.","status":400,"errors":`
	// RememberMe at 03:04:05 on 2 January 2030, and thirty days.
	rememberCookie = "refreshToken=<guid>; expires=Fri, 01 Feb 2030 03:04:05 GMT; " +
		"path=/; secure; samesite=strict; httponly"
	sessionCookie = "refreshToken=<guid>; path=/; secure; samesite=strict; httponly"
)

// TestLoginWire pins what a client sees of the calls that start from nothing.
func TestLoginWire(t *testing.T) {
	const login, register = "/api/Identity/login", "/api/Identity/register"
	credentials := func(login, password string) string {
		return `{"login":"` + login + `","password":"` + password + `","deviceDetails":"d"`
	}
	newUser := func(email, name, password, confirm string) string {
		return `{"email":"` + email + `","password":"` + password + `","confirmPassword":"` + confirm +
			`","deviceDetails":"d","userName":"` + name + `","rememberMe":false}`
	}
	granted := `{"result":{"type":"AccessToken","accessToken":"<jwt>"},"type":"Success"}`
	wrong := `{"type":"Error","errorMessages":["Invalid login/password combination."]}`
	for _, c := range []struct {
		name, path, body string
		status           int
		kind, want       string
		cookie           string
	}{
		{"remember", login, credentials("demo@evertoken.dev", testPassword) + `,"rememberMe":true}`,
			200, jsonOK, granted, rememberCookie},
		{"session only", login, credentials("demo", testPassword) + "}", 200, jsonOK, granted, sessionCookie},
		{"any case", "/API/identity/LOGIN", credentials("DEMO@evertoken.DEV", testPassword) + "}",
			200, jsonOK, granted, sessionCookie},
		{"type null", login, credentials("demo", testPassword) + `,"type":null}`, 200, jsonOK, granted, sessionCookie},
		{"by user name", login, credentials("demo", testPassword) + `,"type":"username"}`,
			200, jsonOK, granted, sessionCookie},
		{"user name is no e-mail", login, credentials("demo", testPassword) + `,"type":"Email"}`,
			200, jsonError, wrong, ""},
		{"e-mail is no user name", login, credentials("demo@evertoken.dev", testPassword) + `,"type":"UserName"}`,
			200, jsonError, wrong, ""},
		{"wrong password", login, credentials("demo", "nope") + "}", 200, jsonError, wrong, ""},
		{"unknown", login, credentials("nobody", testPassword) + "}", 200, jsonError, wrong, ""},
		{"two-factor", login, credentials("two", testPassword) + "}",
			200, jsonOK, `{"result":{"type":"TwoFactorRequired"},"type":"Success"}`, ""},
		{"unverified", login, credentials("new", testPassword) + "}",
			200, jsonOK, `{"result":{"type":"EmailVerificationRequired"},"type":"Success"}`, ""},
		{"no device details", login, `{"login":"demo","password":"x","deviceDetails":""}`,
			400, jsonProblem, badRequest + `{"DeviceDetails":["The DeviceDetails field is required."]}}`, ""},
		{"email is not login", login, `{"email":"demo@evertoken.dev","password":"x","deviceDetails":"d"}`,
			400, jsonProblem, badRequest + `{"Login":["The Login field is required."]}}`, ""},
		{"too long", login, credentials(strings.Repeat("é", 257), "x") + "}",
			400, jsonProblem, badRequest +
				`{"Login":["The field Login must be a string with a maximum length of 256."]}}`, ""},
		{"malformed", login, `{"login":`, 400, jsonProblem, badRequest +
			`{"$":["The request body is not the JSON object that was expected."]}}`, ""},
		{"unknown type", login, credentials("demo", testPassword) + `,"type":"Fax"}`, 400, jsonProblem, badRequest +
			`{"$":["The request body is not the JSON object that was expected."]}}`, ""},
		{"too large", login, `"` + strings.Repeat("x", maxBody) + `"`, 413, jsonProblem,
			`{"type":"https://tools.ietf.org/html/rfc9110#section-15.5.14","title":"Content Too Large","status":413}`, ""},
		{"register", register, newUser("a@b.c", "ab", testPassword, testPassword), 200, jsonOK, granted, sessionCookie},
		{"weak", register, newUser("a@b.c", "ab", "abc", "abc"), 200, jsonError, `{"type":"Error","errorMessages":[` +
			`"Passwords must be at least 6 characters.",` +
			`"Passwords must have at least one non alphanumeric character.",` +
			`"Passwords must have at least one digit ('0'-'9').",` +
			`"Passwords must have at least one uppercase ('A'-'Z')."]}`, ""},
		{"user name taken", register, newUser("a@b.c", "Demo", testPassword, testPassword), 200, jsonError,
			`{"type":"Error","errorMessages":["Username 'Demo' is already taken."]}`, ""},
		{"e-mail taken", register, newUser("Demo@evertoken.dev", "ab", testPassword, testPassword), 200, jsonError,
			`{"type":"Error","errorMessages":["Email 'Demo@evertoken.dev' is already taken."]}`, ""},
		{"no address", register, newUser("a@", "ab", testPassword, "other"), 400, jsonProblem, badRequest +
			`{"ConfirmPassword":["The password and confirmation password do not match."],` +
			`"Email":["The Email field is not a valid e-mail address."]}}`, ""},
		{"magic link for nobody", "/api/Identity/request-magic-link", `{"email":"nobody@b.c"}`, 200, jsonError,
			`{"type":"Error","errorMessages":["An account with this email was not found."]}`, ""},
		{"magic link", "/api/Identity/request-magic-link", `{"email":"demo@evertoken.dev"}`, 200, jsonOK,
			`{"result":true,"type":"Success"}`, ""},
		{"magic link without a code", login, credentials("demo@evertoken.dev", testPassword) + `,"type":"MagicLink"}`,
			200, jsonError, `{"type":"Error","errorMessages":["Invalid email/token combination."]}`, ""},
		{"wrong code", "/api/Identity/verify-code", `{"login":"two","code":"1","deviceDetails":"d"}`, 200, jsonError,
			`{"type":"Error","errorMessages":["Unable to verify code. Please try again or log in again to resend a new code."]}`,
			""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			check(t, b.do("POST", c.path, c.body), c.status, c.kind, c.want, c.cookie)
		})
	}
}

// check compares a whole answer.
func check(t *testing.T, res *http.Response, status int, kind, body, cookie string) {
	t.Helper()
	if res.StatusCode != status {
		t.Errorf("status %d, want %d", res.StatusCode, status)
	}
	if got := res.Header.Get("Content-Type"); got != kind {
		t.Errorf("content type %q, want %q", got, kind)
	}
	if got := golden(res.Header.Get("Set-Cookie")); got != cookie {
		t.Errorf("cookie\n got %s\nwant %s", got, cookie)
	}
	if got := golden(text(t, res)); got != body {
		t.Errorf("body\n got %s\nwant %s", got, body)
	}
}

func TestOtherMediaTypeIsRefused(t *testing.T) {
	b := newBench(t, nil)
	res := b.do("POST", "/api/Identity/login", "login=demo", "Content-Type", "application/x-www-form-urlencoded")
	check(t, res, 415, jsonProblem, `{"type":"https://tools.ietf.org/html/rfc9110#section-15.5.16",`+
		`"title":"Unsupported Media Type","status":415}`, "")
}

// TestAccessTokenWire pins how the generations answer a live cookie, a dead one
// and none.
func TestAccessTokenWire(t *testing.T) {
	renewed := `{"result":"<jwt>","type":"Success"}`
	for _, c := range []struct {
		name       string
		generation Generation
		rotates    bool
		dead, kind string
	}{
		{"current", Current, false, `{"result":"","type":"Success"}`, jsonOK},
		{"older", Older, true, `{"type":"Error","errorMessages":["This account needs to sign in."]}`, jsonError},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(cfg *Config) { cfg.Generation = c.generation })
			_, refresh := b.login(true)
			const path = "/api/Identity/access-token"
			res := b.do("GET", path, "", "Cookie", "refreshToken="+refresh)
			if rotated := res.Cookies()[0].Value != refresh; rotated != c.rotates {
				t.Errorf("rotated: %t", rotated)
			}
			check(t, res, 200, jsonOK, renewed, rememberCookie)
			check(t, b.do("GET", path, ""), 200, c.kind, c.dead, "")
			check(t, b.do("GET", path, "", "Cookie", "refreshToken="), 200, c.kind, c.dead, "")
			check(t, b.do("GET", path, "", "Cookie", "refreshToken=nonsense"), 200, c.kind, c.dead, "")
			b.RevokeAll()
			check(t, b.do("GET", path, "", "Cookie", res.Header.Get("Set-Cookie")), 200, c.kind, c.dead, "")
		})
	}
}

func TestUnexpectedErrorSpendsNothing(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.Rotate, cfg.DetectReuse = true, true })
	_, refresh := b.login(false)
	b.FailRefreshes(2)
	for range 2 {
		check(t, b.do("GET", "/api/Identity/access-token", "", "Cookie", "refreshToken="+refresh), 200, jsonError,
			`{"type":"UnexpectedError","errorMessages":["Internal Server Error"]}`, "")
	}
	b.mustRenew(refresh)
}

func TestLogOut(t *testing.T) {
	b := newBench(t, nil)
	access, refresh := b.login(true)
	const path, refused = "/api/Identity/logout", `{"type":"Error","errorMessages":["You are not logged in"]}`
	check(t, b.do("GET", path, "", "Cookie", "refreshToken="+refresh), 200, jsonOK,
		`{"result":true,"type":"Success"}`, "refreshToken=; expires=Thu, 01 Jan 1970 00:00:00 GMT; path=/")
	check(t, b.do("GET", path, "", "Cookie", "refreshToken="+refresh), 200, jsonError, refused, "")
	check(t, b.do("GET", path, ""), 200, jsonError, refused, "")
	b.mustRefuse(refresh)
	if got := b.profileStatus(access); got != 200 {
		t.Errorf("access token after logout: status %d, want 200 until it expires", got)
	}
}

func TestDevices(t *testing.T) {
	b := newBench(t, nil)
	_, short := b.login(false)
	access, long := b.login(true)
	bearer := "Bearer " + access
	res := b.do("GET", "/api/Identity/devices", "", "Authorization", bearer)
	one := `{"id":"<guid>","lastSeen":"2030-01-02T03:04:05.6007008Z","ipAddress":"192.0.2.1","details":"test"}`
	check(t, res, 200, jsonOK, `{"result":[`+one+`,`+one+`],"type":"Success"}`, "")

	list := b.devices("u-1")
	check(t, b.do("DELETE", "/api/Identity/devices/"+list[0].ID, "", "Authorization", bearer), 200, jsonOK,
		`{"result":true,"type":"Success"}`, "")
	b.mustRefuse(long) // the one that ends last is listed first
	b.mustRenew(short)
	check(t, b.do("DELETE", "/api/Identity/devices/"+list[0].ID, "", "Authorization", bearer), 200, jsonError,
		`{"type":"Error","errorMessages":["Device not found."]}`, "")
	if got := b.do("GET", "/api/Identity/devices", "").StatusCode; got != 401 {
		t.Errorf("without a token: status %d, want 401", got)
	}
}

func TestDeviceOfSomebodyElseIsNotFound(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.Accounts[1].TwoFactor = false })
	_, mine := b.login(false)
	res := b.do("POST", "/api/Identity/login",
		`{"login":"two","password":"`+testPassword+`","deviceDetails":"d"}`)
	_, theirs, _ := strings.Cut(text(t, res), `"accessToken":"`)
	theirs, _, _ = strings.Cut(theirs, `"`)
	id := b.devices("u-1")[0].ID
	check(t, b.do("DELETE", "/api/Identity/devices/"+id, "", "Authorization", "Bearer "+theirs), 200, jsonError,
		`{"type":"Error","errorMessages":["Device not found."]}`, "")
	b.mustRenew(mine)
}

func TestEmptyDeviceListIsAnArray(t *testing.T) {
	b := newBench(t, nil)
	access, _ := b.login(false)
	b.RevokeUser("demo")
	check(t, b.do("GET", "/api/Identity/devices", "", "Authorization", "Bearer "+access), 200, jsonOK,
		`{"result":[],"type":"Success"}`, "")
}

// TestProfile pins the protected endpoint and its challenges.
func TestProfile(t *testing.T) {
	b := newBench(t, nil)
	access, _ := b.login(false)
	const path = "/api/users/me/profile"
	check(t, b.do("GET", path, "", "Authorization", "bearer "+access), 200, jsonOK,
		`{"result":{"id":"u-1","email":"demo@evertoken.dev","userName":"demo"},"type":"Success"}`, "")
	for header, want := range map[string]string{
		"":                   "Bearer",
		"Basic ZGVtbzpkZW1v": "Bearer",
		"Bearer":             "Bearer",
		"Bearer nonsense":    `Bearer error="invalid_token"`,
	} {
		res := b.do("GET", path, "", "Authorization", header)
		check(t, res, 401, "", "", "")
		if got := res.Header.Get("WWW-Authenticate"); got != want {
			t.Errorf("%q: challenge %q, want %q", header, got, want)
		}
	}
}

func TestTwoFactor(t *testing.T) {
	var mailed string
	b := newBench(t, func(cfg *Config) {
		cfg.Mail = func(email string, p Purpose, code string) { mailed = email + " " + string(p) + " " + code }
	})
	login := func() string {
		b.do("POST", "/api/Identity/login", `{"login":"two","password":"`+testPassword+`","deviceDetails":"d"}`)
		code := b.Code("two", ForTwoFactor)
		if len(code) != 6 || mailed != "two@evertoken.dev two-factor "+code {
			t.Fatalf("code %q, mailed %q", code, mailed)
		}
		return code
	}
	verify := func(code string) *http.Response {
		return b.do("POST", "/api/Identity/verify-code",
			`{"login":"two@evertoken.dev","code":"`+code+`","rememberMe":true,"deviceDetails":"d"}`)
	}
	const refused = `{"type":"Error","errorMessages":["Unable to verify code. ` +
		`Please try again or log in again to resend a new code."]}`
	code := login()
	check(t, verify(code), 200, jsonOK, `{"result":"<jwt>","type":"Success"}`, rememberCookie)
	check(t, verify(code), 200, jsonError, refused, "") // a code is good once

	code = login()
	b.pass(5 * time.Minute)
	check(t, verify(code), 200, jsonError, refused, "") // it has ended
	if got := b.Code("two", ForTwoFactor); got != "" {
		t.Errorf("an ended code is still told: %q", got)
	}
	code = login()
	for range maxFailures {
		verify("guess")
	}
	check(t, verify(code), 200, jsonError, refused, "") // too many guesses
}

func TestMagicLink(t *testing.T) {
	b := newBench(t, nil)
	b.do("POST", "/api/Identity/request-magic-link", `{"email":"demo@evertoken.dev"}`)
	body := `{"type":"MagicLink","login":"demo@evertoken.dev","password":"` +
		b.Code("demo", ForMagicLink) + `","rememberMe":true,"deviceDetails":"d"}`
	check(t, b.do("POST", "/api/Identity/login", body), 200, jsonOK,
		`{"result":{"type":"AccessToken","accessToken":"<jwt>"},"type":"Success"}`, rememberCookie)
	check(t, b.do("POST", "/api/Identity/login", body), 200, jsonError,
		`{"type":"Error","errorMessages":["Invalid email/token combination."]}`, "")
}

func TestRegistrationCanAskForMore(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.TwoFactor, cfg.VerifyEmail = true, true })
	body := `{"email":"a@b.c","password":"` + testPassword + `","confirmPassword":"` + testPassword +
		`","deviceDetails":"d","userName":"ab","rememberMe":false}`
	check(t, b.do("POST", "/api/Identity/register", body), 200, jsonOK,
		`{"result":{"type":"EmailVerificationRequired"},"type":"Success"}`, "")
	verify := `{"email":"a@b.c","code":"` + b.Code("ab", ForVerifyEmail) + `"}`
	check(t, b.do("POST", "/api/Identity/verify-email", verify), 200, jsonOK, `{"result":true,"type":"Success"}`, "")
	check(t, b.do("POST", "/api/Identity/verify-email", verify), 200, jsonError,
		`{"type":"Error","errorMessages":["Invalid token."]}`, "")
	check(t, b.do("POST", "/api/Identity/login", `{"login":"ab","password":"`+testPassword+`","deviceDetails":"d"}`),
		200, jsonOK, `{"result":{"type":"TwoFactorRequired"},"type":"Success"}`, "")
}

func TestLimit(t *testing.T) {
	b := newBench(t, func(cfg *Config) { cfg.LoginLimit = 2 })
	const body = `{"login":"nobody","password":"x","deviceDetails":"d"}`
	for i, want := range []int{200, 200, 429} {
		if got := b.do("POST", "/api/Identity/login", body).StatusCode; got != want {
			t.Errorf("request %d: status %d, want %d", i, got, want)
		}
	}
	res := b.do("POST", "/api/Identity/verify-code", body)
	check(t, res, 429, "text/plain; charset=utf-8", "Too many requests. Please try again later.", "")
	if _, there := res.Header["Retry-After"]; there {
		t.Error("Retry-After is there")
	}
	if got := b.do("GET", "/api/Identity/access-token", "").StatusCode; got != 200 {
		t.Errorf("renewal: status %d, want no limit", got)
	}
	if got := b.form("/oauth/token", "grant_type=password&username=x&password=y").StatusCode; got != 429 {
		t.Errorf("OAuth password grant: status %d, want 429", got)
	}
	b.pass(time.Minute)
	if got := b.do("POST", "/api/Identity/login", body).StatusCode; got != 200 {
		t.Errorf("a minute later: status %d, want 200", got)
	}
}
