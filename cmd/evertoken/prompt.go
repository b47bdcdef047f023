package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A terminal is where the person sits, whatever stdin and stdout lead to. With
// written, stdin is in its place, and has the secrets, one a line.
type terminal struct {
	in, out *os.File
	written bool
}

// line asks for what may be seen.
func (t *terminal) line(ctx context.Context, question string) (string, error) {
	if t.written {
		return "", misused("--password-stdin needs a login: evertoken login --lightnap URL LOGIN")
	}
	if _, err := io.WriteString(t.out, question); err != nil {
		return "", err
	}
	return readLine(ctx, t.in)
}

// secret does not show what is typed. The echo is off before the question is
// asked, and on again whatever happens, unless the process is killed.
func (t *terminal) secret(ctx context.Context, question string) (string, error) {
	if t.written {
		return readLine(ctx, t.in)
	}
	restore, err := silence(t.in)
	if err != nil {
		return "", fmt.Errorf("the terminal would show what you type: %w", err)
	}
	defer func() {
		restore()
		_, _ = fmt.Fprintln(t.out) // the person's own was not shown
	}()
	return t.line(ctx, question)
}

func (t *terminal) close() {
	_ = t.in.Close() // nothing is lost
	_ = t.out.Close()
}

// readLine reads one line, byte by byte: what follows is for the next. A read of a
// terminal cannot be cancelled everywhere; one that was given up ends with the
// process, which is about to.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	type result struct {
		line string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := scanLine(in)
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func scanLine(in io.Reader) (string, error) {
	var line strings.Builder
	for b := make([]byte, 1); line.Len() < 1<<10; {
		n, err := in.Read(b)
		switch {
		case n == 1 && b[0] == '\n', errors.Is(err, io.EOF) && line.Len() > 0:
			if line.Len() == 0 {
				return "", errors.New("the answer is empty")
			}
			return strings.TrimSuffix(line.String(), "\r"), nil
		case n == 1:
			line.WriteByte(b[0])
		case errors.Is(err, io.EOF):
			return "", errors.New("there is no answer")
		case err != nil:
			return "", err
		}
	}
	return "", errors.New("the answer is too long")
}
