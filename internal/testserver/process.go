package testserver

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
)

// A process is a server that was started here.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// start runs cmd and returns once its output holds a line with ready in it. The
// server's own word is the only sign that does not have to be asked for again
// and again.
func start(cmd *exec.Cmd, ready string) (*process, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	p := &process{cmd: cmd, exited: make(chan struct{})}
	if err := p.run(); err != nil {
		_, _ = in.Close(), out.Close()
		return nil, fmt.Errorf("testserver: start %s: %w", cmd.Path, err)
	}
	_ = out.Close() // the child has its own
	said := make(chan error, 1)
	go follow(in, ready, said)
	if err := <-said; err != nil {
		p.end(os.Kill)
		return nil, fmt.Errorf("testserver: %s: %w", cmd.Path, err)
	}
	return p, nil
}

// run starts the command and waits for it on one thread: that the kernel ends
// the child with its parent means the thread which started it.
func (p *process) run() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended does not matter
			close(p.exited)
		}
	}()
	return <-started
}

// follow reports when the ready line has come, or that it never will, and then
// keeps reading so that the server is never held up.
func follow(in *os.File, ready string, said chan<- error) {
	defer func() { _ = in.Close() }() // it was only read
	var tail []string
	once := sync.OnceFunc(func() { said <- nil })
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		tail = append(tail, lines.Text())
		tail = tail[max(0, len(tail)-5):]
		if strings.Contains(lines.Text(), ready) {
			once()
		}
	}
	select {
	case said <- fmt.Errorf("never said %q, but: %s", ready, strings.Join(tail, " | ")):
	default: // it was said
	}
	_, _ = io.Copy(io.Discard, in) // after a line too long to scan
}

// end sends the signal and waits until the process is gone. A process that is
// gone stays gone.
func (p *process) end(signal os.Signal) {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal)
	<-p.exited
}
