package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// announced is the program's stdout: each write is received once.
type announced chan string

func (a announced) Write(p []byte) (int, error) { a <- string(p); return len(p), nil }

// start runs the program on a free port. It returns what the program said, and a
// function that ends it and returns its log and its error.
func start(t *testing.T, args, environ []string) (greeting string, stop func() (string, error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := make(announced), make(chan error, 1)
	var log bytes.Buffer // the program's alone until it has ended
	args = append([]string{"-addr", "127.0.0.1:0"}, args...)
	environ = append([]string{"Authentication__PasswordIterations=1000"}, environ...)
	go func() { ended <- run(ctx, args, environ, out, &log) }()
	select {
	case greeting = <-out:
	case err := <-ended:
		t.Fatalf("it ended at once: %v", err)
	}
	return greeting, func() (string, error) {
		cancel()
		err := <-ended
		return log.String(), err
	}
}

// call sends one request to the program.
func call(t *testing.T, method, url, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(got)
}

// TestSession is a whole life over real sockets: sign in, call, renew, end.
func TestSession(t *testing.T) {
	greeting, stop := start(t, []string{"-lifetime", "20s", "-rotate"}, nil)
	found := regexp.MustCompile(`^serving (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)
sign in as (\S+) with the password (\S+)\n$`).FindStringSubmatch(greeting)
	if found == nil {
		t.Fatalf("greeting: %q", greeting)
	}
	url := found[1]
	login := `{"login":"` + found[2] + `","password":"` + found[3] + `","rememberMe":true,"deviceDetails":"test"}`
	res, body := call(t, "POST", url+"/api/Identity/login", login, http.Header{"Content-Type": {"application/json"}})
	access := regexp.MustCompile(`"accessToken":"([^"]+)"`).FindStringSubmatch(body)
	if access == nil || len(res.Cookies()) != 1 {
		t.Fatalf("login: status %d", res.StatusCode)
	}
	var times struct{ Iat, Exp int }
	payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(access[1], ".")[1])
	if err := json.Unmarshal(payload, &times); err != nil || times.Exp-times.Iat != 20 {
		t.Errorf("-lifetime 20s: iat and exp %+v, error %v", times, err)
	}
	res, body = call(t, "GET", url+"/api/users/me/profile", "", http.Header{"Authorization": {"Bearer " + access[1]}})
	if res.StatusCode != 200 || !strings.Contains(body, `"userName":"demo"`) {
		t.Errorf("profile: status %d, %s", res.StatusCode, body)
	}
	first := loginCookie(t, url, login)
	res, body = call(t, "GET", url+"/api/Identity/access-token", "", http.Header{"Cookie": {"refreshToken=" + first}})
	if len(res.Cookies()) != 1 || res.Cookies()[0].Value == first || !strings.Contains(body, `"result":"eyJ`) {
		t.Errorf("renewal under -rotate: cookies %d, %d bytes", len(res.Cookies()), len(body))
	}
	log, err := stop()
	if err != nil {
		t.Errorf("it ended with %v", err)
	}
	if !strings.Contains(log, "shutting down") || strings.Contains(log, access[1]) {
		t.Errorf("log: %s", log)
	}
}

func loginCookie(t *testing.T, url, login string) string {
	t.Helper()
	res, _ := call(t, "POST", url+"/api/Identity/login", login, http.Header{"Content-Type": {"application/json"}})
	if len(res.Cookies()) != 1 {
		t.Fatalf("login: status %d", res.StatusCode)
	}
	return res.Cookies()[0].Value
}

// TestOnlyTheDemoAccountIsTold: a password that somebody chose is not printed.
func TestOnlyTheDemoAccountIsTold(t *testing.T) {
	name := filepath.Join(t.TempDir(), "appsettings.json")
	if err := os.WriteFile(name, shippedFile, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name          string
		args, environ []string
	}{
		{"own file", []string{"-config", name}, nil},
		{"own password", nil, []string{"SeededUsers__Administrator__0__Password=0wn-Passw0rd"}},
		{"production", nil, []string{"ASPNETCORE_ENVIRONMENT=Production", "Jwt__Key=" + goodKey}},
	} {
		greeting, stop := start(t, c.args, c.environ)
		_, err := stop()
		if err != nil || strings.Count(greeting, "\n") != 1 {
			t.Errorf("%s: %q, error %v", c.name, greeting, err)
		}
	}
}

// TestCodesAreLoggedInDevelopmentOnly: without mail, the log is where a
// developer finds a two-factor code.
func TestCodesAreLoggedInDevelopmentOnly(t *testing.T) {
	users := []string{
		"SeededUsers__Administrator__0__Email=a@b.c", "SeededUsers__Administrator__0__UserName=ab",
		"SeededUsers__Administrator__0__Password=p", "Jwt__Key=" + goodKey,
	}
	for environment, want := range map[string]string{
		"Development": `msg=mail to=a@b.c for="magic link" code=`,
		"Production":  `msg="a code was not delivered: this server sends no mail" to=a@b.c for="magic link"` + "\n",
	} {
		greeting, stop := start(t, nil, append(users, "ASPNETCORE_ENVIRONMENT="+environment))
		url := regexp.MustCompile(`http://\S+`).FindString(greeting)
		call(t, "POST", url+"/api/Identity/request-magic-link", `{"email":"a@b.c"}`,
			http.Header{"Content-Type": {"application/json"}})
		if log, err := stop(); err != nil || !strings.Contains(log, want) {
			t.Errorf("%s: error %v, log %s", environment, err, log)
		}
	}
}

// TestSwitches: a switch that is given covers the file, also with its zero value.
func TestSwitches(t *testing.T) {
	environ := []string{"Sessions__Rotate=true"}
	for _, c := range []struct {
		args            []string
		rotate, sliding bool
	}{
		{nil, true, false},
		{[]string{"-rotate=false", "-sliding"}, false, true},
	} {
		o, err := parse(c.args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		s, err := o.settings(environ)
		if err != nil || s.rotate != c.rotate || s.sliding != c.sliding {
			t.Errorf("%q: rotate %t, sliding %t, error %v", c.args, s.rotate, s.sliding, err)
		}
	}
}

func TestBadStarts(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big.json")
	if err := os.WriteFile(big, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args, environ []string
		want          string
	}{
		{[]string{"-lifetime", "999ms"}, nil, "evertoken: -lifetime is 999ms: must be at least 1s"},
		{[]string{"-lifetime", "0s"}, nil, "evertoken: -lifetime is 0s: must be at least 1s"},
		{[]string{"now"}, nil, `evertoken: unexpected argument "now"`},
		{[]string{"-color"}, nil, "evertoken: flag provided but not defined: -color"},
		{[]string{"-config", big}, nil, "evertoken: -config: " + big + " has more than 1048576 bytes"},
		{nil, []string{"Jwt__ExpirationMinutes=1"}, `evertoken: setting Jwt.ExpirationMinutes is "1" ` +
			`(from environment variable Jwt__ExpirationMinutes): must be a whole number from 5 to 1440`},
	} {
		err := run(t.Context(), c.args, c.environ, io.Discard, io.Discard)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: %v\nwant %s", c.args, err, c.want)
		}
	}
	if err := run(t.Context(), []string{"-config", "missing.json"}, nil, nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	var usage strings.Builder
	if err := run(t.Context(), []string{"-h"}, nil, nil, &usage); !errors.Is(err, flag.ErrHelp) ||
		!strings.Contains(usage.String(), "-lifetime") {
		t.Errorf("-h: %v, usage %q", err, usage.String())
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var op *net.OpError
	if err := run(t.Context(), []string{"-addr", l.Addr().String()}, nil, nil, nil); !errors.As(err, &op) {
		t.Errorf("error %v", err)
	}
}

// TestShutdown: a request in progress is finished, and one that does not end is
// cut off when its time is up.
func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		name  string
		drain time.Duration
		ends  bool
	}{
		{"drained", time.Hour, true},
		{"cut off", 10 * time.Millisecond, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			finish := make(chan struct{})
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				cancel()
				select {
				case <-finish:
				case <-r.Context().Done(): // the connection was cut
				}
			})
			served, answered := make(chan error, 1), make(chan error, 1)
			go func() { served <- serve(ctx, l, handler, c.drain, slog.New(slog.DiscardHandler)) }()
			go func() {
				res, err := http.Get("http://" + l.Addr().String())
				if err == nil {
					res.Body.Close()
				}
				answered <- err
			}()
			<-ctx.Done()
			if c.ends {
				close(finish)
			}
			err, answer := <-served, <-answered
			if ok := err == nil; ok != c.ends || !ok && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("serve: %v", err)
			}
			if ok := answer == nil; ok != c.ends {
				t.Errorf("request: %v", answer)
			}
		})
	}
}
