package testserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain lets this program stand in for a server: it says what it is told to.
func TestMain(m *testing.M) {
	if word := os.Getenv("TESTSERVER_SAY"); word != "" {
		fmt.Println("starting")
		fmt.Println(word)
		if word == "ready" {
			_, _ = os.Stdin.Read(make([]byte, 1)) // until it is ended
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func stub(t *testing.T, word string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "TESTSERVER_SAY="+word)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestServerIsReadyWhenItSaysSo(t *testing.T) {
	p, err := start(stub(t, "ready"), "ready")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
		t.Error("the server has ended by itself")
	default:
	}
	p.end(os.Kill)
	p.end(os.Kill) // it is gone
}

func TestServerThatDoesNotStart(t *testing.T) {
	_, err := start(stub(t, "address in use"), "ready")
	if err == nil || !strings.Contains(err.Error(), "starting | address in use") {
		t.Errorf("start = %v, want what the server said", err)
	}
}

func TestProgramThatIsNotThere(t *testing.T) {
	if _, err := program("no-such-server", t.TempDir()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("program = %v, want ErrNotInstalled", err)
	}
}

// A verdict is what a test was told by Missing or DoWithout.
type verdict struct {
	testing.TB
	log []string
}

func (v *verdict) Helper() {}
func (v *verdict) note(kind, format string, args []any) {
	v.log = append(v.log, kind+": "+fmt.Sprintf(format, args...))
}
func (v *verdict) Fatalf(format string, args ...any) { v.note("failed", format, args); panic(v) }
func (v *verdict) Skipf(format string, args ...any)  { v.note("skipped", format, args); panic(v) }
func (v *verdict) Logf(format string, args ...any)   { v.note("said", format, args) }

func TestMissingServers(t *testing.T) {
	for _, tt := range []struct {
		required string
		decide   func(testing.TB, string, string)
		want     string
	}{
		{"", Missing, "skipped: no X: get X"},
		{"1", Missing, "failed: no X, and EVERTOKEN_REQUIRE_SERVERS=1: get X"},
		{"", DoWithout, "said: no X: get X"},
		{"1", DoWithout, "failed: no X, and EVERTOKEN_REQUIRE_SERVERS=1: get X"},
	} {
		t.Setenv(RequireEnv, tt.required)
		v := &verdict{TB: t}
		func() {
			defer func() { _ = recover() }() // as a test ends that is skipped or failed
			tt.decide(v, "X", "get X")
		}()
		if len(v.log) != 1 || v.log[0] != tt.want {
			t.Errorf("%q, want %q", v.log, tt.want)
		}
	}
}
