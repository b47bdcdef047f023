package lightnap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

const (
	secretCookie = "c0ffee00-0000-4000-8000-00000000beef"
	nextCookie   = "c0ffee11-0000-4000-8000-00000000beef"
	secretJWT    = "eyJhbGciOiJIUzI1NiJ9.eyJzM2NyZXQiOjF9.c2ln"
)

func answer(status, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\n%s\r\n%s", status, len(body), headers, body)
}

func jsonAnswer(body string) string {
	return answer("200 OK", "Content-Type: application/json; charset=utf-8\r\n", body)
}

// rawServer answers each connection with bytes as they stand and then closes
// it, gently or with a reset. It counts requests.
func rawServer(t *testing.T, raw string, reset bool) (baseURL string, requests *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_ = req.Body.Close()
				requests.Add(1)
				_, _ = c.Write([]byte(raw))
			}
			if reset {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return "http://" + l.Addr().String(), requests
}

func refresh(t *testing.T, baseURL string) (evertoken.Token, *evertoken.RefreshError) {
	t.Helper()
	i := &Issuer{BaseURL: baseURL}
	token, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: secretCookie})
	if err == nil {
		return token, nil
	}
	var failed *evertoken.RefreshError
	if !errors.As(err, &failed) {
		t.Fatalf("Refresh = %v, want a *RefreshError", err)
	}
	for _, secret := range []string{secretCookie, nextCookie, secretJWT, "s3cret"} {
		if strings.Contains(err.Error(), secret) {
			t.Fatalf("the error holds a secret: %v", err)
		}
	}
	return token, failed
}

func TestRefreshAnswers(t *testing.T) {
	const setCookie = "Set-Cookie: refreshToken=" + nextCookie + "; expires=Thu, 31 Jan 2030 00:00:00 GMT; path=/; secure; samesite=strict; httponly\r\n"
	const typeJSON = "Content-Type: application/json\r\n"
	ok := `{"result":"` + secretJWT + `","type":"Success"}`
	for _, tt := range []struct {
		name    string
		raw     string
		ok      bool
		outcome evertoken.Outcome
		cookie  string
		wait    time.Duration
	}{
		{"success", jsonAnswer(ok), true, 0, "", 0},
		{"success with rotation", answer("200 OK", typeJSON+setCookie, ok), true, 0, nextCookie, 0},
		{"the newest cookie wins", answer("200 OK", typeJSON+"Set-Cookie: refreshToken=old\r\n"+setCookie+"Set-Cookie: other=x\r\n", ok), true, 0, nextCookie, 0},
		{"an emptied cookie is none", answer("200 OK", typeJSON+"Set-Cookie: refreshToken=; expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n", ok), true, 0, "", 0},
		{"an expired cookie is none", answer("200 OK", typeJSON+"Set-Cookie: refreshToken=x; max-age=0\r\n", ok), true, 0, "", 0},
		{"dead cookie, current server", jsonAnswer(`{"result":"","type":"Success"}`), false, evertoken.Rejected, "", 0},
		{"dead cookie, older server", jsonAnswer(`{"type":"Error","errorMessages":["This account needs to sign in."]}`), false, evertoken.Rejected, "", 0},
		{"UnexpectedError", jsonAnswer(`{"type":"UnexpectedError","errorMessages":["s3cret"]}`), false, evertoken.Unavailable, "", 0},
		{"unknown type", jsonAnswer(`{"type":"New","result":"s3cret"}`), false, evertoken.Ambiguous, "", 0},
		{"result of another shape", jsonAnswer(`{"type":"Success","result":{"s3cret":1}}`), false, evertoken.Ambiguous, "", 0},
		{"no JSON, with a cookie", answer("200 OK", typeJSON+setCookie, `s3cret`), false, evertoken.Ambiguous, nextCookie, 0},
		{"HTML of a portal", answer("200 OK", "Content-Type: text/html\r\n", "<html>s3cret</html>"), false, evertoken.Unavailable, "", 0},
		{"HTML 502", answer("502 Bad Gateway", "Content-Type: text/html\r\n", "<html>"), false, evertoken.Unavailable, "", 0},
		{"500", answer("500 Oops", "Content-Type: text/plain\r\n", "s3cret"), false, evertoken.Ambiguous, "", 0},
		{"504", answer("504 Timeout", "", ""), false, evertoken.Ambiguous, "", 0},
		{"429 as LightNap says it", answer("429 Too Many", "Content-Type: text/plain\r\n", "slow down"), false, evertoken.Unavailable, "", 0},
		{"503 with seconds", answer("503 Busy", "Retry-After: 7\r\n", ""), false, evertoken.Unavailable, "", 7 * time.Second},
		{"503 with a date", answer("503 Busy", "Retry-After: Tue, 01 Jan 2030 00:00:30 GMT\r\n", ""), false, evertoken.Unavailable, "", 30 * time.Second},
		{"503 for ages", answer("503 Busy", "Retry-After: 999999\r\n", ""), false, evertoken.Unavailable, "", time.Hour},
		{"401 of a proxy", answer("401 No", "", ""), false, evertoken.Unavailable, "", 0},
		{"a redirect is not followed", answer("302 Found", "Location: /elsewhere\r\n", ""), false, evertoken.Unavailable, "", 0},
		{"400 problem", answer("400 Bad", "Content-Type: application/problem+json\r\n", `{"title":"s3cret"}`), false, evertoken.Misconfigured, "", 0},
		{"endless", answer("200 OK", typeJSON, strings.Repeat(" ", 2<<20)), false, evertoken.Ambiguous, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, requests := rawServer(t, tt.raw, false)
			token, failed := refresh(t, base)
			if (failed == nil) != tt.ok || token.RefreshToken != tt.cookie || requests.Load() != 1 {
				t.Fatalf("got %v with cookie %q after %d requests", failed, token.RefreshToken, requests.Load())
			}
			if tt.ok {
				if token.AccessToken != secretJWT {
					t.Fatalf("access token %q", token.AccessToken)
				}
				return
			}
			if failed.Outcome != tt.outcome || failed.RetryAfter != tt.wait {
				t.Fatalf("outcome %v after %v, want %v after %v: %v", failed.Outcome, failed.RetryAfter, tt.outcome, tt.wait, failed)
			}
		})
	}
}

// The connection breaks at each byte of the answer: that is never a verdict, the
// server sees one request, and a cookie that has arrived is not lost.
func TestAnswerCutAtEachByte(t *testing.T) {
	const setCookie = "Set-Cookie: refreshToken=" + nextCookie + "; path=/; httponly\r\n"
	whole := answer("200 OK", "Content-Type: application/json\r\n"+setCookie, `{"result":"`+secretJWT+`","type":"Success"}`)
	headers := strings.Index(whole, "\r\n\r\n") + 4
	for cut := range len(whole) {
		base, requests := rawServer(t, whole[:cut], cut%2 == 0)
		token, failed := refresh(t, base)
		if failed == nil || failed.Outcome != evertoken.Ambiguous || requests.Load() != 1 {
			t.Fatalf("cut at %d: %v after %d requests, want one ambiguous attempt", cut, failed, requests.Load())
		}
		// A reset may overtake what was sent before it.
		if gentle := cut%2 == 1; gentle && (token.RefreshToken == nextCookie) != (cut >= headers) {
			t.Fatalf("cut at %d: cookie %q", cut, token.RefreshToken)
		}
	}
}

func TestNothingWasSent(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	var seen atomic.Int32
	tls := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	defer tls.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			seen.Add(1)
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	via, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, i := range map[string]*Issuer{
		"refused":       {BaseURL: "http://" + closed.Addr().String()},
		"bad authority": {BaseURL: tls.URL},
		"proxy refuses": {BaseURL: "https://api.example.com", Transport: &http.Transport{Proxy: http.ProxyURL(via)}},
	} {
		_, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: secretCookie})
		var failed *evertoken.RefreshError
		if !errors.As(err, &failed) || failed.Outcome != evertoken.NotSent {
			t.Errorf("%s: %v, want NotSent", name, err)
		}
	}
	if seen.Load() != 0 {
		t.Errorf("%d requests got through", seen.Load())
	}
}

// A token that cannot stand in a cookie is not sent, and the error says why
// without quoting it.
func TestRefreshTokenThatIsNoCookie(t *testing.T) {
	base, requests := rawServer(t, jsonAnswer(`{"result":"`+secretJWT+`","type":"Success"}`), false)
	i := &Issuer{BaseURL: base}
	for _, c := range []byte("\n\x00; \",\\\x7f\xc3") {
		token := evertoken.Token{RefreshToken: "abc" + string([]byte{c}) + "s3cret"}
		want := fmt.Sprintf("evertoken: issuer: misconfigured: lightnap: refresh token cannot stand in a cookie: byte 3 is %#x", c)
		if _, err := i.Refresh(t.Context(), token); err == nil || err.Error() != want {
			t.Errorf("%q: Refresh = %v, want %s", c, err, want)
		}
		if err := i.Revoke(t.Context(), token); err == nil || err.Error() != want {
			t.Errorf("%q: Revoke = %v, want %s", c, err, want)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests got through", n)
	}
}

// Who cancels with a cause finds it in the error, whatever clock it came from.
func TestOwnDeadline(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
	}))
	defer srv.Close()
	defer close(release)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-arrived
		cancel(context.DeadlineExceeded)
	}()
	_, err := (&Issuer{BaseURL: srv.URL}).Refresh(ctx, evertoken.Token{RefreshToken: secretCookie})
	var failed *evertoken.RefreshError
	if !errors.As(err, &failed) || failed.Outcome != evertoken.Ambiguous || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Refresh = %v, want Ambiguous by deadline", err)
	}
}

func TestSignInAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want error
	}{
		"two factors":  {`{"result":{"type":"TwoFactorRequired"},"type":"Success"}`, ErrTwoFactorRequired},
		"verification": {`{"result":{"type":"EmailVerificationRequired"},"type":"Success"}`, ErrEmailVerificationRequired},
	} {
		base, _ := rawServer(t, jsonAnswer(tt.body), false)
		if _, err := (&Issuer{BaseURL: base}).Login(t.Context(), Credentials{Login: "me", Password: "s3cret"}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	base, _ := rawServer(t, jsonAnswer(`{"type":"Error","errorMessages":["Invalid email/password combination."]}`), false)
	_, err := (&Issuer{BaseURL: base}).Login(t.Context(), Credentials{Login: "me", Password: "s3cret"})
	var failed *evertoken.RefreshError
	if !errors.As(err, &failed) || failed.Outcome != evertoken.Rejected || !strings.Contains(err.Error(), "Invalid email/password") || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("Login = %v", err)
	}
}

// A sign-in that says so and brings no token is no sign-in.
func TestSignInWithoutToken(t *testing.T) {
	for name, body := range map[string]string{
		"empty token":   `{"result":{"type":"AccessToken","accessToken":""},"type":"Success"}`,
		"no token":      `{"result":{"type":"AccessToken"},"type":"Success"}`,
		"another type":  `{"result":{"type":"New","accessToken":"` + secretJWT + `"},"type":"Success"}`,
		"another shape": `{"result":"` + secretJWT + `","type":"Success"}`,
		"no result":     `{"type":"Success"}`,
	} {
		base, _ := rawServer(t, answer("200 OK", "Content-Type: application/json\r\nSet-Cookie: refreshToken="+nextCookie+"\r\n", body), false)
		token, err := (&Issuer{BaseURL: base}).Login(t.Context(), Credentials{Login: "me", Password: "s3cret"})
		var failed *evertoken.RefreshError
		if !errors.As(err, &failed) || failed.Outcome != evertoken.Ambiguous || token.AccessToken+token.RefreshToken != "" ||
			!strings.Contains(err.Error(), "lightnap: login: member result") || strings.Contains(err.Error(), secretJWT) {
			t.Errorf("%s: %v, %v", name, token, err)
		}
	}
}

func TestBadBaseURL(t *testing.T) {
	for base, says := range map[string]string{
		"":                                 "is missing",
		"api.example.com":                  "has no https://",
		"127.0.0.1:8080":                   "has no https:// (on loopback: http://)",
		":":                                "has no https://",
		"http://api.example.com":           "http://api.example.com: only https",
		"ftp://x":                          "ftp://x: only https",
		"https://x/%zz":                    "is not a URL",
		"https://u:s3cret@api.example.com": "is not scheme://",
		"https://x?q=s3cret":               "is not scheme://",
	} {
		i := &Issuer{BaseURL: base}
		_, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: secretCookie})
		if err == nil || !strings.Contains(err.Error(), "lightnap: BaseURL "+says) || strings.Contains(err.Error(), "s3cret") || i.Origins() != nil {
			t.Errorf("%q: %v, origins %v", base, err, i.Origins())
		}
		_, err = evertoken.New(t.Context(), evertoken.Config{Issuer: i})
		if err == nil || !strings.HasPrefix(err.Error(), "evertoken: bad Config: Issuer: lightnap: BaseURL") || strings.Contains(err.Error(), "Origins") {
			t.Errorf("%q: New = %v", base, err)
		}
	}
	if got := fmt.Sprint((&Issuer{BaseURL: "https://api.example.com/lightnap/"}).Origins()); got != "[https://api.example.com]" {
		t.Errorf("Origins = %s", got)
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add(200, "application/json", []byte(`{"result":"x","type":"Success"}`))
	f.Add(400, "application/problem+json", []byte(`{}`))
	f.Add(200, "text/html", []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		result, err := open(&exchange.Answer{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: body})
		var failed *evertoken.RefreshError
		if err != nil && !errors.As(err, &failed) {
			t.Fatalf("open = %v, want a *RefreshError", err)
		}
		if err == nil {
			_, _ = accessToken(result)
		}
	})
}

func FuzzSetCookie(f *testing.F) {
	f.Add("refreshToken=abc; path=/")
	f.Add("refreshToken=; expires=Thu, 01 Jan 1970 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, line string) {
		value, _ := newestCookie(http.Header{"Set-Cookie": {line}})
		if strings.ContainsAny(value, "\r\n;") {
			t.Fatalf("cookie value %q would break the header", value)
		}
	})
}
