//go:build unix

package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evertoken/evertoken/internal/identity"
)

const (
	// envMain makes this test's binary the program itself.
	envMain  = "EVERTOKEN_DAEMON_MAIN"
	login    = "demo@example.com"
	password = "Passw0rd!s3cret"
)

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A backend is the server, which can go down and come up again at one address.
// It notes every secret that it hands out.
type backend struct {
	t    *testing.T
	core *identity.Server
	addr string
	srv  *httptest.Server // nil while it is down

	mu      sync.Mutex
	secrets map[string]bool
	logins  int
	hold    map[string]chan struct{} // by path: the answer is ready, and waits for this
	held    chan string              // says which path is held
}

// newBackend returns a server that is down: its port is known to be free.
func newBackend(t *testing.T) *backend {
	t.Helper()
	core, err := identity.New(identity.Config{
		Rotate: true, DetectReuse: true, PasswordIterations: 1,
		Accounts: []identity.Account{{Email: login, Password: password}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{
		t: t, core: core, addr: l.Addr().String(),
		secrets: map[string]bool{password: true}, hold: make(map[string]chan struct{}), held: make(chan string, 1),
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.down)
	return b
}

func (b *backend) up() {
	b.t.Helper()
	l, err := net.Listen("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.srv = &httptest.Server{Listener: l, Config: &http.Server{Handler: b, ReadHeaderTimeout: time.Minute}}
	b.srv.Start()
}

func (b *backend) down() {
	if b.srv != nil {
		b.srv.CloseClientConnections()
		b.srv.Close()
		b.srv = nil
	}
}

// ServeHTTP answers, and holds back an answer that a test wants to be late: the
// server has done its part by then.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	b.core.ServeHTTP(answer, r)
	b.mu.Lock()
	for _, c := range answer.Result().Cookies() {
		b.secrets[c.Value] = true
	}
	for _, jwt := range regexp.MustCompile(`eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+`).FindAllString(answer.Body.String(), -1) {
		b.secrets[jwt] = true
	}
	if strings.HasSuffix(r.URL.Path, "/login") {
		b.logins++
	}
	release := b.hold[r.URL.Path]
	delete(b.hold, r.URL.Path)
	b.mu.Unlock()
	if release != nil {
		b.held <- r.URL.Path
		<-release
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // the daemon may be gone
}

// holdNext holds the next answer for path until release is closed.
func (b *backend) holdNext(path string) (release chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	release = make(chan struct{})
	b.hold[path] = release
	return release
}

// wantOneSession: nobody signed in a second time, and no refresh token was used twice.
func (b *backend) wantOneSession() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := b.core.Counts(); b.logins != 1 || got.SpentTwice != 0 || b.core.Sessions() != 1 {
		b.t.Errorf("%d logins, %d sessions, %+v", b.logins, b.core.Sessions(), got)
	}
}

// A daemon is the program as a process of its own.
type daemon struct {
	t       *testing.T
	backend *backend
	cmd     *exec.Cmd
	lines   *bufio.Scanner
	log     strings.Builder // every line so far
}

// start runs the daemon with a password, or without one, on the session in dir.
func start(b *backend, dir, password string) *daemon {
	b.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	d := &daemon{t: b.t, backend: b}
	limit, cancel := context.WithTimeout(b.t.Context(), time.Minute) // one that is stuck is shown with its log
	b.t.Cleanup(cancel)
	d.cmd = exec.CommandContext(limit, exe, "-server", "http://"+b.addr, "-login", login, "-dir", dir,
		"-every", "20ms", "-check", "100ms")
	d.cmd.Env = append(os.Environ(), envMain+"=1", "EVERTOKEN_PASSWORD="+password)
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	d.lines = bufio.NewScanner(stderr)
	if err := d.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	return d
}

// expect reads the log up to a line that has all of these parts.
func (d *daemon) expect(parts ...string) {
	d.t.Helper()
	for d.lines.Scan() {
		line := d.lines.Text()
		d.log.WriteString(line + "\n")
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return
		}
	}
	d.t.Fatalf("the daemon ended without saying %q:\n%s", parts, d.log.String())
}

func (d *daemon) terminate() {
	d.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
}

// wantEnd waits for the end, which must be a clean one, and looks for secrets in
// all that the daemon has said.
func (d *daemon) wantEnd() {
	d.t.Helper()
	for d.lines.Scan() {
		d.log.WriteString(d.lines.Text() + "\n")
	}
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("the daemon ended with %v:\n%s", err, d.log.String())
	}
	d.backend.mu.Lock()
	defer d.backend.mu.Unlock()
	for secret := range d.backend.secrets {
		if strings.Contains(d.log.String(), secret) {
			d.t.Errorf("the log holds a secret:\n%s", d.log.String())
		}
	}
}

// TestServerComesAndGoes: the daemon starts before its server, is there as soon
// as the server is, and outlives a restart of it.
func TestServerComesAndGoes(t *testing.T) {
	b := newBackend(t)
	d := start(b, t.TempDir(), password)
	d.expect(`level=WARN msg="no work done"`, "not sent", "connection refused")
	b.up()
	d.expect(`msg="evertoken: session started"`)
	d.expect(`level=INFO msg="work done"`)
	b.down()
	d.expect(`level=WARN msg="no work done"`)
	b.up()
	d.expect(`level=INFO msg="work done"`)
	d.terminate()
	d.expect("msg=stopping")
	d.wantEnd()
	b.wantOneSession()
}

// TestRestart: the session is in the folder; a new process needs no password.
func TestRestart(t *testing.T) {
	b, dir := newBackend(t), t.TempDir()
	b.up()
	for _, pass := range []string{password, "", "wrong"} {
		d := start(b, dir, pass)
		d.expect(`msg="work done"`)
		if pass == password { // what the next process finds has been renewed
			b.core.ExpireAccessTokens()
			d.expect(`msg="evertoken: renewed"`, "reason=401")
			d.expect(`msg="work done"`)
		}
		d.terminate()
		d.expect("msg=stopping")
		d.wantEnd()
	}
	b.wantOneSession()
}

// TestSIGTERMInTheMiddleOfWork: a request that hangs does not keep it.
func TestSIGTERMInTheMiddleOfWork(t *testing.T) {
	b := newBackend(t)
	b.up()
	release := b.holdNext("/api/users/me/profile")
	defer close(release)
	d := start(b, t.TempDir(), password)
	<-b.held
	asked := time.Now()
	d.terminate()
	d.expect("msg=stopping")
	d.wantEnd()
	if took := time.Since(asked); took > 15*time.Second { // half of what a request may take
		t.Errorf("the end took %v", took)
	}
	if strings.Contains(d.log.String(), "WARN") {
		t.Errorf("an end on demand is no failure:\n%s", d.log.String())
	}
}

// TestSIGTERMInTheMiddleOfARenewal: the refresh token is spent and its successor
// is still on its way. The daemon waits for it and saves it.
func TestSIGTERMInTheMiddleOfARenewal(t *testing.T) {
	b, dir := newBackend(t), t.TempDir()
	b.up()
	d := start(b, dir, password)
	d.expect(`msg="work done"`)
	release := b.holdNext("/api/Identity/access-token")
	b.core.ExpireAccessTokens()
	<-b.held
	d.terminate()
	d.expect("msg=stopping")
	close(release)
	d.wantEnd()
	d = start(b, dir, "")
	d.expect(`msg="work done"`)
	d.terminate()
	d.wantEnd()
	b.wantOneSession()
}
