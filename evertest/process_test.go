package evertest_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/storage"
)

const (
	envURL = "EVERTOKEN_TEST_URL"
	envDir = "EVERTOKEN_TEST_DIR"
)

// Two processes of one host share a session on a folder and are killed over and
// over, at moments that their own progress decides. No refresh token is spent
// twice outside the issuer's grace, and whoever is left, or comes after them,
// is signed in.
func TestProcessesShareASession(t *testing.T) {
	if url := os.Getenv(envURL); url != "" {
		work(t, url, os.Getenv(envDir))
		return
	}
	srv := evertest.NewServer(t, evertest.Options{Lifetime: time.Second, Rotate: true, ReuseGrace: 30 * time.Second})
	url, dir := srv.Listen(), t.TempDir()+"/session"
	signIn(t, url, dir)
	other := startWorker(t, url, dir)
	for round := range 4 {
		p := startWorker(t, url, dir)
		for range 2 + round {
			p.expect(t, "renewed or adopted")
		}
		other.kill(t)
		other = p
	}
	other.expect(t, "renewed or adopted")
	other.kill(t)
	if got := srv.Counts(); got.SpentTwice != 0 || got.Refreshes < 10 {
		t.Fatalf("%+v", got)
	}
}

func open(t *testing.T, url, dir string, onEvent func(evertoken.Event)) *evertoken.Client {
	t.Helper()
	c, err := evertoken.New(t.Context(), evertoken.Config{
		Issuer:  &lightnap.Issuer{BaseURL: url},
		Store:   storage.NewFile(dir),
		Logger:  slog.New(slog.DiscardHandler),
		OnEvent: onEvent,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func signIn(t *testing.T, url, dir string) {
	t.Helper()
	issuer := &lightnap.Issuer{BaseURL: url}
	token, err := issuer.Login(t.Context(), lightnap.Credentials{Login: evertest.Login, Password: evertest.Password, RememberMe: true})
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, url, dir, nil)
	if err := c.SignIn(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// work is a worker's life: it tells of each new token until it is killed, or its
// parent goes away.
func work(t *testing.T, url, dir string) {
	ended := make(chan evertoken.Event, 1)
	c := open(t, url, dir, func(e evertoken.Event) {
		switch e.Kind {
		case evertoken.Renewed, evertoken.Adopted:
			fmt.Println("renewed or adopted")
		case evertoken.SessionEnded:
			ended <- e
		default: // of no concern to the parent
		}
	})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case e := <-ended:
		fmt.Println("signed out:", e.Err)
	case <-gone:
	}
	if err := c.Close(); err != nil {
		fmt.Println("close:", err)
	}
}

// A worker is a child process. The test that started it kills it.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser // open for as long as the worker is to live
	out *bufio.Scanner
}

func startWorker(t *testing.T, url, dir string) *worker {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{cmd: exec.CommandContext(t.Context(), exe, "-test.run", "^"+t.Name()+"$")}
	w.cmd.Env = append(os.Environ(), envURL+"="+url, envDir+"="+dir)
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewScanner(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *worker) expect(t *testing.T, want string) {
	t.Helper()
	if !w.out.Scan() || !strings.HasPrefix(w.out.Text(), want) {
		t.Fatalf("the worker said %q, want %q", w.out.Text(), want)
	}
}

func (w *worker) kill(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = w.cmd.Wait() // it was killed
}
