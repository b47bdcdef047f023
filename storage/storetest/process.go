package storetest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/evertoken/evertoken/storage"
)

const (
	envRole     = "EVERTOKEN_STORETEST_ROLE"
	envLocation = "EVERTOKEN_STORETEST_LOCATION"
)

// child plays the role that the environment asks for, in a process that
// runProcesses has started.
func child(b Backend) bool {
	role := os.Getenv(envRole)
	if role == "" {
		return false
	}
	s, err := b.Open(os.Getenv(envLocation))
	if err == nil {
		err = roles[role](s)
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return true
}

var roles = map[string]func(storage.Store) error{ //nolint:gochecknoglobals // a table, never changed
	"writer": writer,
	"holder": holder,
	"late":   late,
}

// writer replaces the record for as long as it lives, and says so after each
// time. The record proves itself: a number, repeated.
func writer(s storage.Store) error {
	ctx := context.Background()
	for {
		item, err := s.Load(ctx, "k")
		if err != nil {
			return err
		}
		n, err := counted(item.Data)
		if err != nil {
			return err
		}
		if _, err := s.Save(ctx, "k", record(n+1), item.Version); err != nil {
			return err
		}
		fmt.Println("saved", n+1)
	}
}

func record(n int) []byte { return []byte(strings.Repeat(strconv.Itoa(n)+" ", 2000)) }

// counted reads a record of record and says whether it is whole.
func counted(data []byte) (int, error) {
	head, _, _ := strings.Cut(string(data), " ")
	n, err := strconv.Atoi(head)
	if err != nil || string(data) != string(record(n)) {
		return 0, fmt.Errorf("a record of %d bytes is not whole", len(data))
	}
	return n, nil
}

// holder takes the lease and never lets go.
func holder(s storage.Store) error {
	l, ok := s.(storage.Leaser)
	if !ok {
		return fmt.Errorf("the store has no leases")
	}
	if _, err := l.Acquire(context.Background(), "k", leaseTTL); err != nil {
		return err
	}
	fmt.Println("held")
	_, err := io.Copy(io.Discard, os.Stdin) // until the parent ends it
	return err
}

// late learns the version, waits for a word, and saves over it.
func late(s storage.Store) error {
	ctx := context.Background()
	item, err := s.Load(ctx, "k")
	if err != nil {
		return err
	}
	fmt.Println("loaded")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	_, err = s.Save(ctx, "k", []byte("late"), item.Version)
	fmt.Println("save:", err)
	return nil
}

// A process is a child that plays a role. The test that started it ends it.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, test, location, role string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), exe, "-test.run", pattern(test), "-test.count=1")}
	p.cmd.Env = append(os.Environ(), envRole+"="+role, envLocation+"="+location)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// pattern matches exactly the test that called Run.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// expect reads the next line and wants it to begin so.
func (p *process) expect(prefix string) string {
	p.t.Helper()
	if !p.out.Scan() || !strings.HasPrefix(p.out.Text(), prefix) {
		p.t.Fatalf("the child said %q, want %q", p.out.Text(), prefix)
	}
	return p.out.Text()
}

// kill ends the process as kill -9 does, and waits for it.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	for p.out.Scan() { // what it still said
	}
	_ = p.cmd.Wait() // it was killed
}

// runProcesses proves what only several processes can show.
func runProcesses(t *testing.T, b Backend) {
	test := t.Name()
	t.Run("a killed writer leaves a whole record", func(t *testing.T) {
		killedWriters(t, b, test)
	})
	t.Run("a killed holder leaves the lease to others", func(t *testing.T) {
		location := b.New(t)
		l, ok := open(t, b, location).(storage.Leaser)
		if !ok {
			return
		}
		p := start(t, test, location, "holder")
		p.expect("held")
		p.kill()
		lease, err := l.Acquire(t.Context(), "k", leaseTTL) // the test's own deadline bounds it
		if err != nil {
			t.Fatalf("Acquire: %v", err)
		}
		lease.Release()
	})
	t.Run("a late save of another process is refused", func(t *testing.T) {
		location := b.New(t)
		s := open(t, b, location)
		v, err := s.Save(t.Context(), "k", []byte("one"), "")
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, test, location, "late")
		p.expect("loaded")
		freeze(t, p.cmd.Process)
		if _, err := s.Save(t.Context(), "k", []byte("two"), v); err != nil {
			t.Fatal(err)
		}
		thaw(t, p.cmd.Process)
		if _, err := io.WriteString(p.in, "\n"); err != nil {
			t.Fatal(err)
		}
		if got := p.expect("save: "); !strings.Contains(got, storage.ErrConflict.Error()) {
			t.Errorf("%s, want ErrConflict", got)
		}
		p.kill()
	})
}

// killedWriters kills writers at moments that their own progress decides.
func killedWriters(t *testing.T, b Backend, test string) {
	location := b.New(t)
	s := open(t, b, location)
	if _, err := s.Save(t.Context(), "k", record(0), ""); err != nil {
		t.Fatal(err)
	}
	for round := range 8 {
		p := start(t, test, location, "writer")
		var said int
		for range round*3 + 1 {
			line := p.expect("saved ")
			said, _ = strconv.Atoi(strings.TrimPrefix(line, "saved "))
		}
		p.kill()
		item, err := s.Load(t.Context(), "k")
		if err != nil {
			t.Fatalf("Load after a kill: %v", err)
		}
		n, err := counted(item.Data)
		if err != nil || n < said {
			t.Fatalf("after a kill the record is at %d, %v; the writer had saved %d", n, err, said)
		}
		if _, err := s.Save(t.Context(), "k", record(n+1), item.Version); err != nil {
			t.Fatalf("Save after a kill: %v", err)
		}
	}
}

func open(t *testing.T, b Backend, location string) storage.Store {
	t.Helper()
	s, err := b.Open(location)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}
