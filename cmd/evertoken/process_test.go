//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// The binary of this test is the program itself, and a browser, by the names that
// it is called by.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "evertoken":
		main() // does not return
	case "browser":
		if os.Getenv(envSecret) != "" { // which is none of its business
			os.Exit(1)
		}
		resp, err := http.Get(os.Args[1])
		if err != nil || resp.StatusCode != http.StatusOK {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A machine is where somebody uses the command: its programs and its folder.
type machine struct {
	t    *testing.T
	far  *farEnd
	bin  string
	home string
	env  []string
}

func newMachine(t *testing.T, far *farEnd) *machine {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, far: far, bin: t.TempDir(), home: t.TempDir()}
	for _, name := range []string{"evertoken", "browser"} {
		if err := os.Symlink(exe, filepath.Join(m.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name != "BROWSER" && name != "DISPLAY" && name != "WAYLAND_DISPLAY" && name != envSecret {
			m.env = append(m.env, v)
		}
	}
	m.set("XDG_CONFIG_HOME", m.home)
	m.set("HOME", m.home)
	m.set("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // else each process takes a second longer
	return m
}

func (m *machine) set(name, value string) { m.env = append(m.env, name+"="+value) }

// command is a process that the test may start; one that is stuck is killed.
func (m *machine) command(args ...string) *exec.Cmd {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	m.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(m.bin, "evertoken"), args...)
	cmd.Env = m.env
	return cmd
}

// A result is what became of a process.
type result struct {
	out, err string
	status   int
}

// typed runs a command with input; what it says besides its output has no secret.
func (m *machine) typed(input string, args ...string) result {
	m.t.Helper()
	var out, errs bytes.Buffer
	cmd := m.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		m.t.Fatal(err)
	}
	m.far.wantNoSecret("stderr of "+strings.Join(args, " "), errs.String())
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func (m *machine) run(args ...string) result {
	m.t.Helper()
	return m.typed("", args...)
}

// want is run for a command that is to end well.
func (m *machine) want(args ...string) string {
	m.t.Helper()
	r := m.run(args...)
	if r.status != 0 {
		m.t.Fatalf("%q ended with %d:\n%s", args, r.status, r.err)
	}
	return r.out
}

// wantStatus is for one that is not, and says why.
func (m *machine) wantStatus(status int, says string, args ...string) {
	m.t.Helper()
	r := m.run(args...)
	if r.status != status || !strings.Contains(r.err, says) || r.out != "" {
		m.t.Errorf("%q ended with %d, want %d and %q:\n%s%s", args, r.status, status, says, r.out, r.err)
	}
}

// lightnap signs in with a password.
func (m *machine) lightnap(args ...string) {
	m.t.Helper()
	args = append([]string{"login", "--lightnap", m.far.url, user, "--password-stdin"}, args...)
	if r := m.typed(password+"\n", args...); r.status != 0 {
		m.t.Fatalf("login ended with %d:\n%s", r.status, r.err)
	}
}

func (m *machine) folder() string {
	if runtime.GOOS == "darwin" {
		return filepath.Join(m.home, "Library", "Application Support", "evertoken")
	}
	return filepath.Join(m.home, "evertoken")
}

// age makes the session's token older, so that it ends after left.
func (m *machine) age(left time.Duration) {
	m.t.Helper()
	folder, ctx := storage.NewFile(m.folder()), m.t.Context()
	s := &session{dir: m.folder(), name: "default"}
	p, _, err := s.profile(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	item, err := folder.Load(ctx, s.tokenKey(p))
	if err != nil {
		m.t.Fatal(err)
	}
	r, err := record.Decode(s.name, item.Data)
	if err != nil {
		m.t.Fatal(err)
	}
	r.Tokens.Expiry = time.Now().Add(left)
	r.Tokens.IssuedAt = r.Tokens.Expiry.Add(-r.Lifetime)
	r.Att++
	data, err := r.Encode()
	if err == nil {
		_, err = folder.Save(ctx, s.tokenKey(p), data, item.Version)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// A talk is a process that says things while it runs.
type talk struct {
	m    *machine
	cmd  *exec.Cmd
	in   *bufio.Reader
	said strings.Builder
}

// start runs a command whose stderr, or stdout if that is what is wanted, is read
// line by line.
func (m *machine) start(pipe func(*exec.Cmd) (io.ReadCloser, error), args ...string) *talk {
	m.t.Helper()
	k := &talk{m: m, cmd: m.command(args...)}
	in, err := pipe(k.cmd)
	if err == nil {
		_, err = k.cmd.StdinPipe() // nothing comes, and it does not end
	}
	if err == nil {
		k.in, err = bufio.NewReader(in), k.cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return k
}

func fromStderr(c *exec.Cmd) (io.ReadCloser, error) { return c.StderrPipe() }
func fromStdout(c *exec.Cmd) (io.ReadCloser, error) { return c.StdoutPipe() }

func fromBoth(c *exec.Cmd) (io.ReadCloser, error) {
	in, err := c.StdoutPipe()
	c.Stderr = c.Stdout
	return in, err
}

// expect reads up to a line that holds the words, and returns it.
func (k *talk) expect(words string) string {
	k.m.t.Helper()
	for {
		line, err := k.in.ReadString('\n')
		k.said.WriteString(line)
		if strings.Contains(line, words) && line != "" {
			return strings.TrimSpace(line)
		}
		if err != nil {
			k.m.t.Fatalf("it ended without %q:\n%s", words, k.said.String())
		}
	}
}

// end waits for the end and returns the exit status.
func (k *talk) end() int {
	k.m.t.Helper()
	rest, _ := io.ReadAll(k.in) // its end is the process's
	k.said.Write(rest)
	_ = k.cmd.Wait() // the status tells
	return k.cmd.ProcessState.ExitCode()
}
