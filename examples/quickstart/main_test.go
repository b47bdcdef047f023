package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/internal/identity"
)

// envMain makes this test's binary the program itself.
const envMain = "EVERTOKEN_QUICKSTART_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program runs the program as a process of its own, whose output is a pipe.
func program(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), envMain+"=1")
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// wantSummary reads the last line, which is one object with exactly the members
// that are promised.
func wantSummary(t *testing.T, stdout string) summary {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	last := lines[len(lines)-1]
	var members map[string]int
	if err := json.Unmarshal([]byte(last), &members); err != nil {
		t.Fatalf("last line %q: %v", last, err)
	}
	for _, name := range []string{"requests", "refreshes", "failed", "expired_sent", "waited_over_100ms"} {
		if _, there := members[name]; !there {
			t.Errorf("last line %s: %s is missing", last, name)
		}
	}
	var sum summary
	if err := json.Unmarshal([]byte(last), &sum); err != nil || len(members) != 5 {
		t.Errorf("last line %s: %d members, error %v", last, len(members), err)
	}
	return sum
}

// TestProgram is the main job, short: tokens of four seconds, for six.
func TestProgram(t *testing.T) {
	t.Parallel()
	stdout, stderr, status := program(t, "-duration", "6s", "-lifetime", "4s", "-json")
	sum := wantSummary(t, stdout)
	if status != 0 || stderr != "" || sum.Failed != 0 || sum.ExpiredSent != 0 || sum.Refreshes < 2 || sum.Requests < 20 {
		t.Fatalf("status %d, %+v, stderr %q", status, sum, stderr)
	}
	plain := 0
	for line := range strings.Lines(stdout) {
		if strings.ContainsAny(line, "\r\x1b") || len(line) > columns+1 && !strings.HasPrefix(line, "{") {
			t.Errorf("line for a terminal, or too long: %q", line)
		}
		if strings.Contains(line, " requests  token [") {
			plain++
		}
	}
	if plain < 3 { // the first, and one for each refresh
		t.Errorf("%d plain lines:\n%s", plain, stdout)
	}
	if !strings.Contains(stdout, "tokens of 4s, requests for 6s\n") || !strings.Contains(stdout, "\nNobody noticed") {
		t.Errorf("output:\n%s", stdout)
	}
}

// TestLiveLine is a run on a terminal: a line that is drawn anew in its place.
func TestLiveLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := run(t.Context(), []string{"-duration", "1s"}, &screen{out: &out, terminal: true}, io.Discard)
	if err == nil { // too short for two refreshes
		t.Error("the run passed")
	}
	head, rest, _ := strings.Cut(out.String(), "\n\n")
	live, foot, _ := strings.Cut(rest, "\n")
	draws := strings.Split(live, "\r\x1b[K")
	if len(draws) < 3 || len(draws) > 11 || draws[0] != "" {
		t.Errorf("%d draws in 1 s, at most 10 a second are wanted", len(draws))
	}
	for _, line := range draws[1:] {
		if len(line) > columns || !strings.Contains(line, " requests  token [") {
			t.Errorf("live line %q", line)
		}
	}
	if !strings.HasPrefix(head, "signed in to http://127.0.0.1:") || !strings.Contains(foot, " refreshes in the background\n") {
		t.Errorf("head %q, foot %q", head, foot)
	}
}

// TestServerByHand: another process serves, as -server, -login and -password say.
func TestServerByHand(t *testing.T) {
	t.Parallel()
	srv := evertest.NewServer(t, evertest.Options{Lifetime: 4 * time.Second, Rotate: true})
	stdout, stderr, status := program(t, "-server", srv.Listen(), "-login", evertest.Login, "-password", evertest.Password,
		"-duration", "6s", "-json")
	sum := wantSummary(t, stdout)
	got := srv.Counts()
	if status != 0 || stderr != "" || sum.Refreshes < 2 || got.Refreshes < sum.Refreshes || got.SpentTwice+got.ExpiredSent != 0 {
		t.Errorf("status %d, %+v, server %+v, stderr %q", status, sum, got, stderr)
	}
	if !strings.Contains(stdout, " as "+evertest.Login+"\n") || strings.Contains(stdout, evertest.Password) {
		t.Errorf("output:\n%s", stdout)
	}
}

// TestTokensThatLiveTooLong: without refreshes there is nothing to see, and the
// program says what to do about it.
func TestTokensThatLiveTooLong(t *testing.T) {
	t.Parallel()
	srv := evertest.NewServer(t)
	stdout, stderr, status := program(t, "-server", srv.Listen(), "-login", evertest.Login, "-password", evertest.Password,
		"-duration", "500ms", "-json")
	if sum := wantSummary(t, stdout); status != 1 || sum.Failed != 0 || !strings.Contains(stdout, "] 120 min left  0 refreshes") {
		t.Errorf("status %d, %+v:\n%s", status, sum, stdout)
	}
	if want := "quickstart: only 0 refreshes: use -duration, or the server's -lifetime\n"; stderr != want {
		t.Errorf("stderr %q", stderr)
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	url := evertest.NewServer(t).Listen()
	stdout, stderr, status := program(t, "-server", url, "-login", evertest.Login, "-password", "s3cret")
	want := "quickstart: sign in to " + url + " as " + evertest.Login + ": evertoken: issuer: rejected, status 200, " +
		"Error (Invalid login/password combination.)\n"
	if status != 1 || stdout != "" || stderr != want {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

// TestWhatIsNoticed: the server goes wrong at the tenth request, and the run fails
// although it goes on.
func TestWhatIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name  string
		wrong func(*identity.Server, http.ResponseWriter) (answered bool)
		want  string // besides that there were too few refreshes
		trace string
	}{
		{"a failed request", func(_ *identity.Server, w http.ResponseWriter) bool {
			w.WriteHeader(http.StatusTeapot)
			return true
		}, "1 requests failed\n", "the server answered 418 I'm a teapot"},
		{"a refused token", func(core *identity.Server, _ http.ResponseWriter) bool {
			core.ExpireAccessTokens()
			return false
		}, "1 requests had an expired token\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			core, err := identity.New(identity.Config{PasswordIterations: 1, Accounts: []identity.Account{{Email: "a@b.c", Password: "p"}}})
			if err != nil {
				t.Fatal(err)
			}
			var asked atomic.Int32
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/profile") {
					switch asked.Add(1) {
					case 10:
						if c.wrong(core, w) {
							return
						}
					case 20:
						cancel() // enough seen: as by Ctrl-C
					}
				}
				core.ServeHTTP(w, r)
			}))
			defer srv.Close()
			var out bytes.Buffer
			args := []string{"-server", srv.URL, "-login", "a@b.c", "-password", "p", "-json"}
			err = run(ctx, args, &screen{out: &out}, io.Discard)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || !strings.Contains(err.Error(), c.trace) {
				t.Errorf("run = %v, want %s", err, c.want)
			}
			if sum := wantSummary(t, out.String()); sum.Requests < 15 || sum.Failed+sum.ExpiredSent != 1 ||
				!strings.Contains(out.String(), c.trace) || strings.Contains(out.String(), "Nobody noticed") {
				t.Errorf("output:\n%s", out.String())
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	if err := (summary{Requests: 1, Refreshes: 2, Waited: 9, trouble: io.EOF}).verdict(); err != nil {
		t.Errorf("a good run: %v", err)
	}
	for _, bad := range []summary{{Refreshes: 2, Failed: 1}, {Refreshes: 2, ExpiredSent: 1}, {Refreshes: 1}} {
		if bad.verdict() == nil {
			t.Errorf("%+v passed", bad)
		}
	}
}

func TestBadCommandLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"now"}, `unexpected argument "now"`},
		{[]string{"-color"}, "flag provided but not defined: -color"},
		{[]string{"-duration", "0s"}, "-duration is 0s: must be more than 0s"},
		{[]string{"-lifetime", "3s"}, "-lifetime is 3s: must be whole seconds, at least 4s"},
		{[]string{"-lifetime", "4500ms"}, "-lifetime is 4.5s: must be whole seconds, at least 4s"},
		{[]string{"-login", ""}, "evertoken: Accounts[0]: evertoken: Email and Password must not be empty"},
		{[]string{"-server", "http://example.com"}, "sign in to http://example.com as demo@evertoken.dev: " +
			"evertoken: issuer: misconfigured: lightnap: BaseURL http://example.com: only https, or http on loopback"},
	} {
		if err := run(t.Context(), c.args, &screen{out: io.Discard}, io.Discard); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v\nwant %s", c.args, err, c.want)
		}
	}
	var usage strings.Builder
	if err := run(t.Context(), []string{"-h"}, &screen{out: io.Discard}, &usage); !errors.Is(err, flag.ErrHelp) || !strings.Contains(usage.String(), "-json") {
		t.Errorf("-h: %v, usage %q", err, usage.String())
	}
}

// TestInterrupt: the first Ctrl-C ends the run with its summary.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-duration", "1h"}, &screen{out: w}, io.Discard)
		_ = w.Close()
	}()
	lines := bufio.NewScanner(r)
	summed := false
	for lines.Scan() {
		if strings.Contains(lines.Text(), "requests  token [") {
			cancel()
		}
		summed = summed || strings.HasSuffix(lines.Text(), "refreshes in the background")
	}
	if err := <-ended; err == nil || !summed {
		t.Errorf("run = %v, summary shown: %t", err, summed)
	}
}

// TestStatusPage is a run with the page, which is gone when the run is over.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-status", ":0", "-duration", "1m"}, &screen{out: out}, io.Discard)
		_ = out.Close()
	}()
	lines := bufio.NewScanner(in)
	url := ""
	for url == "" && lines.Scan() {
		_, url, _ = strings.Cut(lines.Text(), "status page at ")
	}
	go func() { _, _ = io.Copy(io.Discard, in) }()
	if !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Fatalf("the page is at %q", url)
	}
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.Contains(string(text), "Session started") {
		t.Errorf("%v: %s", err, text)
	}
	cancel()
	if err := <-done; err == nil { // too short for two refreshes
		t.Error("the run passed")
	}
	if resp, err := http.Get(url); err == nil {
		_ = resp.Body.Close()
		t.Error("the page is still there")
	}
}
