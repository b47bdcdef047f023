//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// proxy starts one, and returns its URL.
func (m *machine) proxy(args ...string) (*talk, string) {
	m.t.Helper()
	k := m.start(fromBoth, append([]string{"proxy"}, args...)...)
	for {
		if line := k.expect("http://127.0.0.1:"); strings.HasPrefix(line, "http:") { // and no log line that names the session
			return k, line
		}
	}
}

// ask sends a request as it stands to host, and returns the answer.
func ask(t *testing.T, base, request string) (*http.Response, string) {
	t.Helper()
	host := strings.TrimPrefix(base, "http://")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, strings.ReplaceAll(request, "HOST", host)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// TestProxy passes requests on with the token, and renews it.
func TestProxy(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.wantStatus(3, "there is no session", "proxy", "--to", far.url)
	m.deviceLogin()
	api := strings.Replace(far.url, "127.0.0.1", "localhost", 1) // not where the issuer is
	k, base := m.proxy("--to", api+"/")

	resp, body := ask(t, base, "GET /things?a=%2F HTTP/1.1\r\nHost: HOST\r\nX-Mine: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
	call := far.lastCall()
	if resp.StatusCode != 200 || body != "hello from /things?a=%2F" || call.Header.Get("X-Mine") != "x" || call.Header.Get("X-Forwarded-For") != "" || "http://"+call.Host != api {
		t.Errorf("%s: %s; the API saw %s %v", resp.Status, body, call.Host, call.Header)
	}
	resp, _ = ask(t, base, "POST /things HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer dummy\r\nContent-Length: 2\r\n\r\nhi")
	if resp.StatusCode != 200 || far.lastCall().Method != "POST" {
		t.Errorf("a request with a token of its own: %s", resp.Status)
	}
	resp, _ = ask(t, base, "GET http://HOST/absolute HTTP/1.1\r\nHost: other.example\r\n\r\n")
	if resp.StatusCode != 200 || far.lastCall().URL.Path != "/absolute" {
		t.Errorf("our own URL in absolute form: %s", resp.Status)
	}
	resp, _ = ask(t, base, "GET /moved HTTP/1.1\r\nHost: HOST\r\n\r\n")
	if to := resp.Header.Get("Location"); resp.StatusCode != 302 || to != "/things?a=b" {
		t.Errorf("a redirect within the API leads to %q", to)
	}
	resp, _ = ask(t, base, "GET /away HTTP/1.1\r\nHost: HOST\r\n\r\n")
	if to := resp.Header.Get("Location"); to != "https://elsewhere.example/x" {
		t.Errorf("a redirect to elsewhere leads to %q", to)
	}

	far.core.ExpireAccessTokens() // the next is refused, renewed and sent again
	resp, _ = ask(t, base, "GET /again HTTP/1.1\r\nHost: HOST\r\n\r\n")
	if got := far.core.Counts(); resp.StatusCode != 200 || got.Refreshes != 1 {
		t.Errorf("after a 401: %s, %+v", resp.Status, got)
	}
	if token := m.want("token"); far.core.Counts().Refreshes != 1 || token == "" {
		t.Errorf("a command beside the proxy: %+v", far.core.Counts())
	}
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := k.end(); status != 0 {
		t.Errorf("after SIGTERM: status %d", status)
	}
	far.wantNoSecret("the proxy", k.said.String())
}

// TestProxyKeepsOthersOut: nothing that names another host, and nothing that a
// browser sends for another page, reaches the API.
func TestProxyKeepsOthersOut(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	_, base := m.proxy()
	for request, status := range map[string]int{
		"GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n":                                     421,
		"GET / HTTP/1.1\r\nHost: rebound.example:" + port(base) + "\r\n\r\n":                  421,
		"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n":                                           421,
		"GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n":                                         421,
		"GET / HTTP/1.1\r\nHost: 127.0.0.2:" + port(base) + "\r\n\r\n":                        421,
		"GET / HTTP/1.0\r\n\r\n":                                                              421,
		"GET http://other.example/ HTTP/1.1\r\nHost: HOST\r\n\r\n":                            421,
		"GET https://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n":                  421,
		"CONNECT other.example:443 HTTP/1.1\r\nHost: HOST\r\n\r\n":                            421,
		"CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n":                                         400,
		"GET / HTTP/1.1\r\nHost: HOST\r\nOrigin: https://page.example\r\n\r\n":                403,
		"GET / HTTP/1.1\r\nHost: HOST\r\nOrigin: null\r\n\r\n":                                403,
		"GET / HTTP/1.1\r\nHost: HOST\r\nSec-Fetch-Site: cross-site\r\n\r\n":                  403,
		"GET / HTTP/1.1\r\nHost: HOST\r\nSec-Fetch-Site: same-site\r\n\r\n":                   403,
		"GET /x HTTP/1.1\r\nHost: HOST\r\nSec-Fetch-Site: same-origin\r\n\r\n":                200,
		"GET /x HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\n\r\n":                        200,
		"GET /x HTTP/1.1\r\nHost: LocalHost:" + port(base) + "\r\nX: y\r\n\r\n":               200,
		"GET /x HTTP/1.1\r\nHost: HOST\r\nConnection: Authorization, X\r\nX: y\r\n\r\n":       200,
		"GET /x HTTP/1.1\r\nHost: HOST\r\nX-Forwarded-Host: other.example\r\nX: y\r\n\r\n":    200,
		"GET /x HTTP/1.1\r\nHost: HOST\r\nHost: other.example\r\nX: y\r\n\r\n":                400,
		"GET @other.example/x HTTP/1.1\r\nHost: HOST\r\nX: y\r\n\r\n":                         400,
		"GET http://user@other.example@HOST/x HTTP/1.1\r\nHost: HOST\r\nX: y\r\n\r\n":         200,
		"GET http://HOST@other.example/x HTTP/1.1\r\nHost: HOST\r\nX: y\r\n\r\n":              421,
		"GET http://other.example\\@HOST/x HTTP/1.1\r\nHost: HOST\r\nX: y\r\n\r\n":            400,
		"POST http:other.example HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nX: y\r\n\r\n": 400,
	} {
		resp, body := ask(t, base, request)
		calls := far.newCalls()
		if resp.StatusCode != status || (len(calls) == 1) != (status == 200) {
			t.Errorf("%q: %s, want %d; the API was called %d times\n%s", request, resp.Status, status, len(calls), body)
		}
		for _, call := range calls {
			if "http://"+call.Host != far.url {
				t.Errorf("%q: the API saw host %s", request, call.Host)
			}
		}
	}
}

func port(base string) string { return base[strings.LastIndexByte(base, ':')+1:] }

// TestProxyRenews in the background, and no earlier than need be: not at each of
// its checks because the tokens live for less than five minutes.
func TestProxyRenews(t *testing.T) {
	t.Parallel() // it takes most of a token's life
	const life = 8 * time.Second
	far := newFarEnd(t, life)
	m := newMachine(t, far)
	began := time.Now()
	m.lightnap()
	release := far.holdNext("/api/Identity/access-token")
	k, base := m.proxy()
	<-far.held
	close(release)
	if took := time.Since(began); took < life/2+time.Second/2 {
		t.Errorf("renewed after %v", took)
	}
	if resp, _ := ask(t, base, "GET /x HTTP/1.1\r\nHost: HOST\r\n\r\n"); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := k.end(); status != 0 || strings.Contains(k.said.String(), "level=") {
		t.Errorf("it ended with %d, and all was well; it said\n%s", status, k.said.String())
	}
}

// TestBoundToken: the key stays here, so only the proxy can use the token.
func TestBoundToken(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.deviceLogin("--dpop")
	m.wantStatus(1, "bound to a key", "token")
	m.wantStatus(125, "bound to a key", "exec", "--", "true")
	_, base := m.proxy("--to", far.url)
	ask(t, base, "GET /x HTTP/1.1\r\nHost: HOST\r\n\r\n")
	calls := far.newCalls() // the first; the API does not know such tokens, and has another sent
	if len(calls) == 0 {
		t.Fatal("the API was not called")
	}
	if h := calls[0].Header; !strings.HasPrefix(h.Get("Authorization"), "DPoP ") || h.Get("DPoP") == "" {
		t.Errorf("the API saw %v", h)
	}
}

// TestProxyTargets: the session says where tokens may go, if it says anything.
func TestProxyTargets(t *testing.T) {
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	m.wantStatus(2, "--to https://other.example: the session is for "+far.url+"\n", "proxy", "--to", "https://other.example")
	for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "127.0.0.1"} {
		m.wantStatus(2, "is not HOST:PORT on loopback", "proxy", "--listen", listen)
	}
	m.deviceLogin()
	m.wantStatus(2, "--to is missing", "proxy")
	m.wantStatus(2, "would send tokens in the clear", "proxy", "--to", "http://api.example.com")
	m.wantStatus(2, "is not scheme://host[:port]", "proxy", "--to", "https://api.example.com/v1")
	m.deviceLogin("--api", far.url, "--api", "https://api.example.com")
	m.wantStatus(2, "the session is for "+far.url+", https://api.example.com; sign in again, with --api https://other.example as well", "proxy", "--to", "https://other.example")
	m.wantStatus(2, "--to is missing", "proxy")
	_, base := m.proxy("--to", far.url)
	if resp, _ := ask(t, base, "GET /x HTTP/1.1\r\nHost: HOST\r\n\r\n"); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}

// TestProxySignedOut: it says so to the program, and how to go on; and it goes on.
func TestProxySignedOut(t *testing.T) {
	t.Parallel() // it takes until the proxy looks
	far := newFarEnd(t)
	m := newMachine(t, far)
	m.lightnap()
	m.age(-time.Minute)
	far.core.RevokeAll()
	k, base := m.proxy()
	resp, body := ask(t, base, "GET /x HTTP/1.1\r\nHost: HOST\r\n\r\n")
	if resp.StatusCode != 502 || !strings.HasPrefix(body, "evertoken: signed out: ") || !strings.HasSuffix(body, "evertoken login signs in\n") {
		t.Errorf("%s: %s", resp.Status, body)
	}
	m.lightnap()
	k.expect("evertoken: signed in")
	if resp, _ := ask(t, base, "GET /x HTTP/1.1\r\nHost: HOST\r\n\r\n"); resp.StatusCode != 200 {
		t.Errorf("after a new sign-in: %s", resp.Status)
	}
	m.want("logout")
	k.expect("evertoken: signed out")
	if resp, _ := ask(t, base, "GET /x HTTP/1.1\r\nHost: HOST\r\n\r\n"); resp.StatusCode != 502 {
		t.Errorf("after a sign-out: %s", resp.Status)
	}
	far.wantNoSecret("the proxy", k.said.String())
}

// A proxy has one name and one address.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		here, host string
		want       bool
	}{
		{"127.0.0.1:8400", "127.0.0.1:8400", true},
		{"127.0.0.1:8400", "localhost:8400", true},
		{"127.0.0.1:8400", "127.0.0.1", false},
		{"127.0.0.1:8400", "localhost.:8400", false},
		{"127.0.0.1:8400", "[::1]:8400", false},
		{"127.0.0.1:80", "127.0.0.1", true},
		{"127.0.0.1:80", "localhost", true},
		{"127.0.0.1:80", "", false},
		{"[::1]:80", "[::1]", true},
		{"[::1]:8400", "[::1]:8400", true},
		{"[::1]:8400", "::1:8400", false},
	} {
		if got := (guard{here: c.here}).names(c.host); got != c.want {
			t.Errorf("%s is %s: %t", c.host, c.here, got)
		}
	}
}

// A redirect that stays within the API must not become one to another host.
func TestStay(t *testing.T) {
	target, err := url.Parse("https://api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"https://api.example.com/a?b=c#d":        "/a?b=c#d",
		"https://API.example.com:443/a%20b":      "/a%20b",
		"https://api.example.com":                "/",
		"https://api.example.com/a%2Fb?":         "/a%2Fb?",
		"https://api.example.com/\\evil.example": "/%5Cevil.example",
		"https://api.example.com//evil.example":  "/evil.example",
		"http://api.example.com/a":               "http://api.example.com/a",
		"https://evil.example/a":                 "https://evil.example/a",
		"/a":                                     "/a",
		"":                                       "",
	} {
		r := &http.Response{Header: http.Header{}}
		if from != "" {
			r.Header.Set("Location", from)
		}
		stay(r, target)
		if got := r.Header.Get("Location"); got != to {
			t.Errorf("%q leads to %q, want %q", from, got, to)
		}
	}
}

// Whatever the path, a request goes to the target.
func FuzzAim(f *testing.F) {
	f.Add("/a")
	f.Add("//evil.example/x")
	f.Add("/../..//evil.example")
	f.Add("/%2f%2fevil.example")
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(u.Path, "/") {
			return
		}
		in := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:1/", nil)
		in.URL = u
		r := &httputil.ProxyRequest{In: in, Out: in.Clone(t.Context())}
		aim(r, &url.URL{Scheme: "https", Host: "api.example.com"})
		back, err := url.Parse(r.Out.URL.String())
		if err != nil || r.Out.URL.Host != "api.example.com" || r.Out.URL.Scheme != "https" || back.Host != "api.example.com" {
			t.Errorf("%q goes to %s: %v", path, fmt.Sprint(r.Out.URL), err)
		}
	})
}
