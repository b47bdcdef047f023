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

// A Process is a server that was started here.
type Process struct {
	// Ready is the line in which the server said that it was ready.
	Ready string

	cmd    *exec.Cmd
	exited chan struct{}
}

// Launch runs cmd, a server that this package does not know, as [StartRedis] runs
// Redis. It returns once the output of cmd holds a line with ready in it.
func Launch(cmd *exec.Cmd, ready string) (*Process, error) {
	cmd.SysProcAttr = attributes(nil)
	return start(cmd, ready)
}

// Kill ends the server as kill -9 does and waits until it is gone.
func (p *Process) Kill() { p.end(os.Kill) }

// start runs cmd and returns once its output holds a line with ready in it. The
// server's own word is the only sign that does not have to be asked for again
// and again.
func start(cmd *exec.Cmd, ready string) (*Process, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	if err := p.run(); err != nil {
		_, _ = in.Close(), out.Close()
		return nil, fmt.Errorf("testserver: start %s: %w", cmd.Path, err)
	}
	_ = out.Close() // the child has its own
	said := make(chan word, 1)
	go follow(in, ready, said)
	w := <-said
	if w.err != nil {
		p.end(os.Kill)
		return nil, fmt.Errorf("testserver: %s: %w", cmd.Path, w.err)
	}
	p.Ready = w.line
	return p, nil
}

// run starts the command and waits for it on one thread: that the kernel ends
// the child with its parent means the thread which started it.
func (p *Process) run() error {
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

// A word is the ready line, or why it never came.
type word struct {
	line string
	err  error
}

// follow reports when the ready line has come, or that it never will, and then
// keeps reading so that the server is never held up.
func follow(in *os.File, ready string, said chan<- word) {
	defer func() { _ = in.Close() }() // it was only read
	var tail []string
	var once sync.Once
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		tail = append(tail, lines.Text())
		tail = tail[max(0, len(tail)-5):]
		if strings.Contains(lines.Text(), ready) {
			once.Do(func() { said <- word{line: lines.Text()} })
		}
	}
	once.Do(func() {
		said <- word{err: fmt.Errorf("never said %q, but: %s", ready, strings.Join(tail, " | "))}
	})
	_, _ = io.Copy(io.Discard, in) // after a line too long to scan
}

// end sends the signal and waits until the process is gone. A process that is
// gone stays gone.
func (p *Process) end(signal os.Signal) {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal)
	<-p.exited
}
