package oauth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

// issuers speak all dialects.
func issuers() []*Issuer {
	list := []*Issuer{{TokenURL: testToken}}
	for _, d := range Presets() {
		list = append(list, &Issuer{TokenURL: testToken, Dialect: d})
	}
	return list
}

func aboutRefresh() request {
	return request{form: url.Values{"refresh_token": {oldRefresh}}, session: evertoken.Token{RefreshToken: oldRefresh}}
}

// Whatever comes back is either a token, or a failure whose facts are fit to be
// printed and hold no secret; and no server but the issuer ends a session.
func FuzzTokenAnswer(f *testing.F) {
	f.Add(200, "application/json", []byte(grantedBody))
	f.Add(200, "application/json", []byte(`{"access_token":"a","expires_in":"1e400","expires_at":-1}`))
	f.Add(200, "application/json", []byte(`{"data":{"access_token":"a","expires":900000,"refresh_token":"b"}}`))
	f.Add(400, "application/json", []byte(`{"error":"invalid_grant","error_description":"`+oldRefresh+`\n\u001b[0m"}`))
	f.Add(401, "application/json", []byte(`{"errors":[{"message":"m","extensions":{"code":"INVALID_CREDENTIALS"}}]}`))
	f.Add(400, "", []byte(``))
	f.Add(200, "application/x-www-form-urlencoded", []byte(`access_token=a&expires_in=5`))
	f.Add(302, "text/html", []byte(`<html>`))
	all := issuers()
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		a := &exchange.Answer{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: body}
		sent := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, i := range all {
			got, err := i.token(a, aboutRefresh(), sent)
			if err == nil {
				checkGranted(t, a, got, sent)
				continue
			}
			var failed *evertoken.RefreshError
			if !errors.As(err, &failed) || got.AccessToken != "" {
				t.Fatalf("%s: %v beside %v", i.Dialect.Name, err, got)
			}
			checkWords(t, failed)
			if failed.Outcome == evertoken.Rejected && failed.Code == "" && i.Dialect.Verdicts == nil {
				t.Fatalf("%s: rejected without a word of the issuer", i.Dialect.Name)
			}
		}
	})
}

func checkGranted(t *testing.T, a *exchange.Answer, got evertoken.Token, sent time.Time) {
	t.Helper()
	if !succeeded(a) || exchange.HTML(a) || got.AccessToken == "" || !got.IssuedAt.Equal(sent) {
		t.Fatalf("a token of status %d: %v", a.StatusCode, got)
	}
	if limit := sent.Add(101 * 365 * 24 * time.Hour); got.Expiry.After(limit) || got.RefreshExpiry.After(limit) {
		t.Fatalf("it lives until %v and %v", got.Expiry, got.RefreshExpiry)
	}
}

func checkWords(t *testing.T, e *evertoken.RefreshError) {
	t.Helper()
	for _, words := range []string{e.Code, e.Description, e.Error()} {
		if strings.Contains(words, oldRefresh) || len(words) > 1000 {
			t.Fatalf("not fit to be printed: %q", words)
		}
		for _, r := range words {
			if !unicode.IsPrint(r) {
				t.Fatalf("not fit to be printed: %q", words)
			}
		}
	}
}

// An error body alone never costs more than its words say.
func FuzzErrorBody(f *testing.F) {
	f.Add(400, []byte(`{"error":"invalid_grant"}`))
	f.Add(503, []byte(`{"error":"invalid_request"}`))
	f.Add(400, []byte(`{"code":400,"error_code":"refresh_token_not_found","msg":"Invalid Refresh Token"}`))
	f.Add(401, []byte(`{"data":{},"message":"The request requires valid record authorization token.","status":401}`))
	f.Add(400, []byte("error=invalid_grant"))
	all := issuers()
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := &exchange.Answer{StatusCode: status, Header: http.Header{}, Body: body}
		doc, _ := parse(a)
		for _, i := range all {
			var failed *evertoken.RefreshError
			if !errors.As(i.refusal(a, doc, aboutRefresh()), &failed) || failed.StatusCode != status {
				t.Fatalf("%s: no failure", i.Dialect.Name)
			}
			checkWords(t, failed)
			if busy(a) && i.Dialect.Verdicts == nil && failed.Outcome != evertoken.Unavailable {
				t.Fatalf("%s: status %d is %v", i.Dialect.Name, status, failed.Outcome)
			}
		}
	})
}

// A document that is accepted is of the issuer that was asked, and sends no
// secret in the clear.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://a","token_endpoint":"https://a/token"}`))
	f.Add([]byte(`{"issuer":"https://a","token_endpoint":"http://b/token"}`))
	f.Add([]byte(`{"issuer":"https://a","Issuer":"https://b","token_endpoint":"https://a/token","mtls_endpoint_aliases":{"token_endpoint":1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a := &exchange.Answer{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
		m, err := readMetadata(a, "https://a")
		if err != nil {
			var failed *evertoken.RefreshError
			if !errors.As(err, &failed) || m != nil {
				t.Fatalf("%v beside %+v", err, m)
			}
			return
		}
		if m.IssuerURL != "https://a" {
			t.Fatalf("accepted from %q", m.IssuerURL)
		}
		if err := m.NewIssuer(nil).Validate(); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if err := m.NewIssuer(mutualTLS{}).Validate(); err == nil || strings.Contains(err.Error(), "URL") {
			t.Fatalf("accepted, but %v", err)
		}
	})
}

// Nobody who does not know the state gets an answer in.
func FuzzCallback(f *testing.F) {
	f.Add("/callback", "code=x&state=guess")
	f.Add("/callback", "code=x&state=")
	f.Add("/callback", "state=guess&state=right-state&code=x")
	f.Fuzz(func(t *testing.T, path, query string) {
		v := &visit{issuer: &Issuer{}, path: "/callback", state: "right-state", answer: make(chan answer, 1)}
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.URL = &url.URL{Path: path, RawQuery: query}
		page := httptest.NewRecorder()
		v.ServeHTTP(page, r)
		knows := path == "/callback" && r.URL.Query().Get("state") == "right-state"
		if (len(v.answer) == 1) != knows || (page.Code == http.StatusOK) != knows {
			t.Fatalf("%s?%s: status %d, %d answers", path, query, page.Code, len(v.answer))
		}
	})
}
