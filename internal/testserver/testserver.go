// Package testserver starts the servers that the tests of stores need, from the
// programs that are installed. They listen on sockets in folders of their own,
// or on loopback, and end with the process that started them.
package testserver

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// RequireEnv is the variable which, set to 1, turns every server that is missing
// into a failure.
const RequireEnv = "EVERTOKEN_REQUIRE_SERVERS"

// ErrNotInstalled means that the server's programs were not found.
var ErrNotInstalled = errors.New("testserver: not installed")

// Missing ends a test whose server is not to be had: it is skipped with a line
// that says how to get what, or fails if servers are required.
func Missing(t testing.TB, what, how string) {
	t.Helper()
	required(t, what, how)
	t.Skipf("no %s: %s", what, how) //nolint:forbidigo // not every machine has every server; CI requires them
}

// DoWithout fails a test that would go on with less than the real server, if
// servers are required; otherwise it says so.
func DoWithout(t testing.TB, what, how string) {
	t.Helper()
	required(t, what, how)
	t.Logf("no %s: %s", what, how)
}

func required(t testing.TB, what, how string) {
	t.Helper()
	if os.Getenv(RequireEnv) == "1" {
		t.Fatalf("no %s, and %s=1: %s", what, RequireEnv, how)
	}
}

// program finds an installed program, in PATH or in one of the folders.
func program(name string, folders ...string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range folders {
		found, _ := filepath.Glob(filepath.Join(pattern, name)) // errs on a bad pattern only
		if len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", ErrNotInstalled
}
