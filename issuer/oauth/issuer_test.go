package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken"
)

// at is an instant on a clock of the tests' own.
func at() (*clock.Mock, time.Time) {
	c := clock.NewMock()
	c.Set(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	return c, c.Now()
}

func TestRefreshAnswers(t *testing.T) {
	const ok = evertoken.Outcome(-1)
	_, now := at()
	for _, tt := range []struct {
		name    string
		raw     string
		outcome evertoken.Outcome
		want    evertoken.Token // of a success; beside an error only RefreshToken counts
		says    string          // part of the error
	}{
		{"plain", reply("200 OK", typeJSON, grantedBody), ok,
			evertoken.Token{AccessToken: newAccess, TokenType: "Bearer", RefreshToken: newRefresh, Expiry: now.Add(time.Hour)}, ""},
		{"no new refresh token", reply("200 OK", typeJSON, `{"access_token":"a","token_type":"BEARER"}`), ok,
			evertoken.Token{AccessToken: "a", TokenType: "Bearer"}, ""},
		{"the same one again", reply("200 OK", typeJSON, `{"access_token":"a","token_type":"bEaReR","refresh_token":"`+oldRefresh+`"}`), ok,
			evertoken.Token{AccessToken: "a", TokenType: "Bearer", RefreshToken: oldRefresh}, ""},
		{"no type", reply("200 OK", typeJSON, `{"access_token":"a"}`), ok, evertoken.Token{AccessToken: "a"}, ""},
		{"dpop", reply("200 OK", typeJSON, `{"access_token":"a","token_type":"dpop"}`), evertoken.Misconfigured, evertoken.Token{}, "set Issuer.DPoP"},
		{"lifetime is a string", reply("200 OK", typeJSON, `{"access_token":"a","expires_in":"3599"}`), ok,
			evertoken.Token{AccessToken: "a", Expiry: now.Add(3599 * time.Second)}, ""},
		{"lifetime is a float", reply("200 OK", typeJSON, `{"access_token":"a","expires_in":3.6e3}`), ok,
			evertoken.Token{AccessToken: "a", Expiry: now.Add(time.Hour)}, ""},
		{"lifetime is a fraction", reply("200 OK", typeJSON, `{"access_token":"a","expires_in":0.5}`), ok,
			evertoken.Token{AccessToken: "a", Expiry: now.Add(time.Second / 2)}, ""},
		{"lifetime is null", reply("200 OK", typeJSON, `{"access_token":"a","expires_in":null}`), ok, evertoken.Token{AccessToken: "a"}, ""},
		{"lifetime is zero", reply("200 OK", typeJSON, `{"access_token":"a","expires_in":0}`), ok, evertoken.Token{AccessToken: "a"}, ""},
		{"lifetime is negative", reply("200 OK", typeJSON, `{"access_token":"a","expires_in":-1}`), ok, evertoken.Token{AccessToken: "a"}, ""},
		{"lifetime is an object", reply("200 OK", typeJSON, `{"access_token":"a","expires_in":{}}`), ok, evertoken.Token{AccessToken: "a"}, ""},
		{"lifetime overflows", reply("200 OK", typeJSON, `{"access_token":"a","expires_in":1e300}`), ok,
			evertoken.Token{AccessToken: "a", Expiry: now.Add(100 * 365 * 24 * time.Hour)}, ""},
		{"an instant", reply("200 OK", typeJSON, fmt.Sprintf(`{"access_token":"a","expires_at":%d}`, now.Unix()+60)), ok,
			evertoken.Token{AccessToken: "a", Expiry: now.Add(time.Minute)}, ""},
		{"scope is a list", reply("200 OK", typeJSON, `{"access_token":"a","scope":["x","y"]}`), ok, evertoken.Token{AccessToken: "a", Scope: "x y"}, ""},
		{"the refresh token ends", reply("200 OK", typeJSON, `{"access_token":"a","refresh_token":"r","refresh_expires_in":60}`), ok,
			evertoken.Token{AccessToken: "a", RefreshToken: "r", RefreshExpiry: now.Add(time.Minute)}, ""},
		{"an id token", reply("200 OK", typeJSON, `{"access_token":"a","id_token":"i"}`), ok,
			evertoken.Token{AccessToken: "a", Extra: map[string]string{"id_token": "i", "kept": "k"}}, ""},
		{"a form", reply("200 OK", "Content-Type: application/x-www-form-urlencoded\r\n", "access_token=a&expires_in=60&token_type=bearer"), ok,
			evertoken.Token{AccessToken: "a", TokenType: "Bearer", Expiry: now.Add(time.Minute)}, ""},
		{"JSON that calls itself text", reply("200 OK", "Content-Type: text/plain\r\n", grantedBody), ok,
			evertoken.Token{AccessToken: newAccess, TokenType: "Bearer", RefreshToken: newRefresh, Expiry: now.Add(time.Hour)}, ""},
		{"201", reply("201 Created", typeJSON, `{"access_token":"a"}`), ok, evertoken.Token{AccessToken: "a"}, ""},

		{"no access token", reply("200 OK", typeJSON, `{"token_type":"bearer","x":"s3cret"}`), evertoken.Ambiguous, evertoken.Token{}, "application/json"},
		{"only a refresh token", reply("200 OK", typeJSON, `{"refresh_token":"`+newRefresh+`"}`), evertoken.Ambiguous, evertoken.Token{RefreshToken: newRefresh}, "no member access_token"},
		{"access token is empty", reply("200 OK", typeJSON, `{"access_token":""}`), evertoken.Ambiguous, evertoken.Token{}, "no member access_token"},
		{"access token is a number", reply("200 OK", typeJSON, `{"access_token":1}`), evertoken.Ambiguous, evertoken.Token{}, "no member access_token"},
		{"something behind the object", reply("200 OK", typeJSON, grantedBody+`{}`), evertoken.Ambiguous, evertoken.Token{}, "neither a token nor an error code"},
		{"a list", reply("200 OK", typeJSON, `[]`), evertoken.Ambiguous, evertoken.Token{}, "neither"},
		{"null", reply("200 OK", typeJSON, `null`), evertoken.Ambiguous, evertoken.Token{}, "neither"},
		{"nothing", reply("200 OK", typeJSON, ``), evertoken.Ambiguous, evertoken.Token{}, "0 bytes"},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", evertoken.Ambiguous, evertoken.Token{}, "neither"},
		{"an error with 200", reply("200 OK", typeJSON, `{"error":"invalid_grant"}`), evertoken.Rejected, evertoken.Token{}, "invalid_grant"},
		{"a portal", reply("200 OK", "Content-Type: text/html\r\n", "<html>s3cret"), evertoken.Unavailable, evertoken.Token{}, "text/html"},
		{"a portal that says JSON", reply("200 OK", "Content-Type: text/html\r\n", grantedBody), evertoken.Unavailable, evertoken.Token{}, "text/html"},

		{"dead", reply("400 Bad", typeJSON, `{"error":"invalid_grant","error_description":"x"}`), evertoken.Rejected, evertoken.Token{}, "invalid_grant (x)"},
		{"an echo of the token", reply("400 Bad", typeJSON, `{"error":"invalid_grant","error_description":"token `+oldRefresh+` is unknown"}`),
			evertoken.Rejected, evertoken.Token{}, "[secret] is unknown"},
		{"wrong secret", reply("401 No", typeJSON, `{"error":"invalid_client"}`), evertoken.Misconfigured, evertoken.Token{}, "invalid_client"},
		{"busy", reply("400 Bad", typeJSON, `{"error":"temporarily_unavailable"}`), evertoken.Unavailable, evertoken.Token{}, ""},
		{"server error", reply("500 Oops", typeJSON, `{"error":"server_error"}`), evertoken.Unavailable, evertoken.Token{}, ""},
		{"429 whatever the code", reply("429 Slow", "Retry-After: 5\r\n"+typeJSON, `{"error":"invalid_request"}`), evertoken.Unavailable, evertoken.Token{}, ""},
		{"unknown code", reply("400 Bad", typeJSON, `{"error":"odd"}`), evertoken.Ambiguous, evertoken.Token{}, "odd"},
		{"the error is an object", reply("400 Bad", typeJSON, `{"error":{"code":1}}`), evertoken.Ambiguous, evertoken.Token{}, "neither"},
		{"500", reply("500 Oops", "Content-Type: text/plain\r\n", "s3cret"), evertoken.Ambiguous, evertoken.Token{}, "text/plain"},
		{"502 page", reply("502 Bad", "Content-Type: text/html\r\n", "<html>"), evertoken.Unavailable, evertoken.Token{}, ""},
		{"a redirect", reply("302 Found", "Location: http://localhost/other\r\n", ""), evertoken.Unavailable, evertoken.Token{}, ""},
		{"403 of a WAF", reply("403 No", typeJSON, `{"message":"s3cret"}`), evertoken.Unavailable, evertoken.Token{}, ""},
		{"404", reply("404 No", "Content-Type: text/plain\r\n", "no"), evertoken.Ambiguous, evertoken.Token{}, ""},
		{"cut off", reply("200 OK", typeJSON, grantedBody)[:230], evertoken.Ambiguous, evertoken.Token{}, "cut off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			far := newFarEnd(t, tt.raw)
			mock, _ := at()
			i := &Issuer{TokenURL: testToken, Transport: far.transport(), Clock: mock}
			got, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh, Extra: map[string]string{"kept": "k"}})
			far.only()
			if tt.outcome == ok {
				tt.want.IssuedAt = now
				if tt.want.Extra == nil {
					tt.want.Extra = map[string]string{"kept": "k"}
				}
				// A Token prints without its secrets; as another type it prints whole.
				type whole evertoken.Token
				if err != nil || fmt.Sprintf("%+v", whole(got)) != fmt.Sprintf("%+v", whole(tt.want)) {
					t.Fatalf("got %+v, %v; want %+v", whole(got), err, whole(tt.want))
				}
				return
			}
			failed := failure(t, err)
			if failed.Outcome != tt.outcome || got.RefreshToken != tt.want.RefreshToken || got.AccessToken != "" || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v with %+v, want %v that says %q", err, got, tt.outcome, tt.says)
			}
		})
	}
}

// An instant is by the server's clock, and so is the date of the answer: what is
// between them is the lifetime, whatever the client's clock says.
func TestInstantOfAnotherClock(t *testing.T) {
	mock, now := at()
	body := fmt.Sprintf(`{"access_token":"a","expires_at":%d}`, now.Add(time.Minute).Unix())
	mock.Add(time.Hour)
	for want, raw := range map[time.Duration]string{
		time.Minute:       reply("200 OK", typeJSON, body),
		-59 * time.Minute: strings.Replace(reply("200 OK", typeJSON, body), "Date:", "X-Date:", 1), // nothing better is known
	} {
		i := &Issuer{TokenURL: testToken, Transport: newFarEnd(t, raw).transport(), Clock: mock}
		got, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh})
		if err != nil || got.Expiry.Sub(mock.Now()) != want {
			t.Errorf("%v left, %v; want %v", got.Expiry.Sub(mock.Now()), err, want)
		}
	}
}

// A connection that breaks at any byte of the answer is never a verdict, and the
// token is sent once.
func TestAnswerCutAtEachByte(t *testing.T) {
	whole := reply("200 OK", typeJSON, grantedBody)
	for cut := range len(whole) {
		far := newFarEnd(t, whole[:cut])
		i := &Issuer{TokenURL: testToken, Transport: far.transport()}
		got, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh})
		if failed := failure(t, err); failed.Outcome != evertoken.Ambiguous || got.RefreshToken != "" {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		far.only()
	}
}

func TestRefreshRequest(t *testing.T) {
	far := newFarEnd(t, reply("200 OK", typeJSON, grantedBody))
	i := &Issuer{TokenURL: testToken + "?tenant=1", Transport: far.transport(), Scope: []string{"a"}, Params: url.Values{"audience": {"x"}}}
	if _, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh}); err != nil {
		t.Fatal(err)
	}
	got := far.only()
	// Scope and Params belong to a first token: RFC 6749, section 6, keeps what was granted.
	if got.method != "POST" || got.path != "/token?tenant=1" || got.form.Encode() != "grant_type=refresh_token&refresh_token="+oldRefresh {
		t.Errorf("request %s %s %s", got.method, got.path, got.body)
	}
	if got.header.Get("Content-Type") != "application/x-www-form-urlencoded" || got.header.Get("Accept") != "application/json" || got.header.Get("Authorization") != "" {
		t.Errorf("header %v", got.header)
	}
}

func TestNothingToRenewWith(t *testing.T) {
	for name, i := range map[string]*Issuer{
		"no refresh token": {TokenURL: testToken},
		"no access token":  {TokenURL: testToken, Dialect: PocketBase()},
	} {
		_, err := i.Refresh(t.Context(), evertoken.Token{})
		if failed := failure(t, err); failed.Outcome != evertoken.Rejected {
			t.Errorf("%s: %v, want Rejected", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	tls := must(MutualTLS("c"))(t)
	for _, tt := range []struct {
		name string
		i    *Issuer
		says []string
	}{
		{"empty", &Issuer{}, []string{"TokenURL is missing"}},
		{"in the clear", &Issuer{TokenURL: "http://login.example.com/token?k=s3cret"}, []string{"TokenURL at http://login.example.com: only https"}},
		{"user name", &Issuer{TokenURL: "https://u:s3cret@x/token"}, []string{"TokenURL is not scheme://host"}},
		{"no URL", &Issuer{TokenURL: "https://x/%zz"}, []string{"TokenURL is not a URL"}},
		{"all of them", &Issuer{TokenURL: testToken, RevocationURL: "x", DeviceURL: "ftp://x/", AuthURL: "https://x/#f", Scope: []string{"a b", ""}},
			[]string{"RevocationURL", "DeviceURL", "AuthURL", "Scope[0]", "Scope[1]"}},
		{"no certificate", &Issuer{TokenURL: testToken, Client: tls, Transport: &http.Transport{}}, []string{"client certificate"}},
	} {
		_, err := tt.i.Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh})
		failed := failure(t, err)
		for _, s := range tt.says {
			if failed.Outcome != evertoken.Misconfigured || !strings.Contains(err.Error(), s) || !errors.Is(err, tt.i.Validate()) {
				t.Errorf("%s: %v, want Misconfigured with %q", tt.name, err, s)
			}
		}
	}
	if err := (&Issuer{TokenURL: testToken}).Validate(); err != nil {
		t.Error(err)
	}
}

// Who makes a client of it is told of each fault once, by the name of the field.
func TestFaultsInConfig(t *testing.T) {
	i := &Issuer{APIs: []string{"https://api.example.com", "http://x.com"}}
	_, err := evertoken.New(t.Context(), evertoken.Config{Issuer: i})
	const want = `evertoken: bad Config: Issuer: oauth: TokenURL is missing; APIs[1] "http://x.com" would send tokens in the clear: use https, or http on loopback`
	if err == nil || err.Error() != want {
		t.Errorf("New = %v, want %s", err, want)
	}
}

func TestRevoke(t *testing.T) {
	session := evertoken.Token{AccessToken: "s3cret-access", RefreshToken: oldRefresh}
	for _, tt := range []struct {
		name   string
		token  evertoken.Token
		d      Dialect
		raw    string
		body   string
		bearer string
		want   string // part of the error
	}{
		{"by refresh token", session, Dialect{}, reply("200 OK", "", ""), "token=" + oldRefresh + "&token_type_hint=refresh_token", "", ""},
		{"by access token", evertoken.Token{AccessToken: "s3cret-access"}, Dialect{}, reply("200 OK", "", ""), "token=s3cret-access&token_type_hint=access_token", "", ""},
		{"by bearer", session, Supabase(), "HTTP/1.1 204 No Content\r\n\r\n", "", "Bearer s3cret-access", ""},
		{"refused", session, Dialect{}, reply("400 Bad", typeJSON, `{"error":"unsupported_token_type"}`), "token=" + oldRefresh + "&token_type_hint=refresh_token", "", "misconfigured, status 400, unsupported_token_type"},
		{"a portal", session, Dialect{}, reply("200 OK", "Content-Type: text/html\r\n", "<html>"), "token=" + oldRefresh + "&token_type_hint=refresh_token", "", "unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			far := newFarEnd(t, tt.raw)
			i := &Issuer{TokenURL: testToken, RevocationURL: "http://localhost/revoke", Transport: far.transport(), Dialect: tt.d}
			err := i.Revoke(t.Context(), tt.token)
			if tt.want == "" && err != nil || tt.want != "" && !strings.Contains(failure(t, err).Error(), tt.want) {
				t.Errorf("Revoke = %v, want %q", err, tt.want)
			}
			if got := far.only(); got.path != "/revoke" || got.body != tt.body || got.header.Get("Authorization") != tt.bearer {
				t.Errorf("request %+v", got)
			}
		})
	}
	far := newFarEnd(t, "")
	if err := (&Issuer{TokenURL: testToken, Transport: far.transport()}).Revoke(t.Context(), session); err != nil || far.dials != 0 {
		t.Errorf("without RevocationURL: %v after %d dials", err, far.dials)
	}
}

func TestOriginsAndGrace(t *testing.T) {
	i := &Issuer{TokenURL: testToken, APIs: []string{"https://api.example.com"}, Dialect: Supabase()}
	if got := i.Origins(); len(got) != 1 || got[0] != "https://api.example.com" {
		t.Errorf("Origins = %v", got)
	}
	if (&Issuer{TokenURL: testToken}).Origins() != nil {
		t.Error("the token server is no API")
	}
	if i.ReuseGrace() != 10*time.Second {
		t.Errorf("ReuseGrace = %v", i.ReuseGrace())
	}
}
