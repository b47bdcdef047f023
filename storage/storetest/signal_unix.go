//go:build !windows

package storetest

import (
	"os"
	"syscall"
	"testing"
)

func freeze(t *testing.T, p *os.Process) { send(t, p, syscall.SIGSTOP) }
func thaw(t *testing.T, p *os.Process)   { send(t, p, syscall.SIGCONT) }

func send(t *testing.T, p *os.Process, s os.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatalf("signal %v: %v", s, err)
	}
}
