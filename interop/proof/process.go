package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is a program that we started, and that we end by its own id.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{} // closed when it has ended and all that it said is known

	mu    sync.Mutex
	words map[string]int // how often it said a line of one word
	last  []string       // the last lines that it said, to explain a failure
}

const linesKept = 20

// launch starts a program. What it says is read from both of its outputs.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{}), words: map[string]int{}}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, write := io.Pipe()
	cmd.Stdout, cmd.Stderr, p.in = write, write, in
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.listen(out)
	}()
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		_ = write.Close()
		<-read
	}()
	return p, nil
}

// listen reads to the end: a program whose output nobody reads stands still.
func (p *process) listen(out io.Reader) {
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			p.heard(line)
		}
		if err != nil {
			return
		}
	}
}

// heard counts a line, if it is one word, and keeps it for a while.
func (p *process) heard(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !strings.Contains(line, " ") {
		p.words[line]++
	}
	p.last = append(p.last[max(0, len(p.last)+1-linesKept):], line)
}

// said counts how often the program said a line of one word.
func (p *process) said(word string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.words[word]
}

// tail is what it said last.
func (p *process) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last, "\n")
}

// gone is an error of a program that has ended by itself.
func (p *process) gone() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended (%v); it said:\n%s", p.cmd.Path, p.cmd.ProcessState, p.tail())
	default:
		return nil
	}
}

// stop asks the program to end, and insists after a while.
func (p *process) stop() error {
	const patience = 10 * time.Second
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timer.C:
	}
	err = errors.Join(fmt.Errorf("process %d did not end within %v", p.cmd.Process.Pid, patience), err, p.cmd.Process.Kill())
	<-p.ended
	return err
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
