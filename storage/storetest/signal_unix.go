//go:build !windows

package storetest

import (
	"os"
	"syscall"
)

func freeze(t tester, p *os.Process) { send(t, p, syscall.SIGSTOP) }
func thaw(t tester, p *os.Process)   { send(t, p, syscall.SIGCONT) }

func send(t tester, p *os.Process, s os.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatalf("signal %v: %v", s, err)
	}
}
