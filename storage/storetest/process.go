package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/evertoken/evertoken/storage"
)

const (
	envRole     = "EVERTOKEN_STORETEST_ROLE"
	envLocation = "EVERTOKEN_STORETEST_LOCATION"
)

// child plays the role that the environment asks for, in a process that
// a check has started.
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

// holder takes the lease, if the store has leases, and learns the version. At the
// first word it saves over that version; it holds the lease until it dies.
func holder(s storage.Store) error {
	ctx := context.Background()
	if l, ok := s.(storage.Leaser); ok {
		if _, err := l.Acquire(ctx, "k", leaseTTL); err != nil {
			return err
		}
	}
	item, err := s.Load(ctx, "k")
	if err != nil {
		return err
	}
	fmt.Println("held")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	_, err = s.Save(ctx, "k", []byte("late"), item.Version)
	fmt.Printf("conflict %t: %v\n", errors.Is(err, storage.ErrConflict), err)
	_, err = io.Copy(io.Discard, in) // until the parent ends it
	return err
}

// A process is a child that plays a role. The test that started it ends it.
type process struct {
	t   tester
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// start runs this test binary again, up to Run in the test that called it.
func (b *bench) start(role string) *process {
	t := b.t
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), exe, "-test.run", pattern(b.test), "-test.count=1")}
	p.cmd.Env = append(os.Environ(), envRole+"="+role, envLocation+"="+b.location)
	p.cmd.Stderr = os.Stderr
	in, inErr := p.cmd.StdinPipe()
	out, outErr := p.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		t.Fatalf("start: %v", err)
	}
	p.in, p.out = in, bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start: %v", err)
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

// kill ends the process as kill -9 does, waits for it, and returns the last line
// that it still said, if any. A process that is gone stays gone.
func (p *process) kill() (last string) {
	_ = p.cmd.Process.Kill()
	for p.out.Scan() {
		last = p.out.Text()
	}
	_ = p.cmd.Wait() // it was killed
	return last
}

// processChecks are what only several processes can show.
var processChecks = []check{ //nolint:gochecknoglobals // the table of the suite, never changed
	{"a killed writer leaves a whole record", killedWriters},
	{"a killed holder leaves the lease to others", killedHolder},
	{"a frozen holder comes too late", frozenHolder},
	{"a frozen holder does not outlive a delete", frozenOverDelete},
}

// killedWriters reads the record while a child writes it, more often each time,
// and then kills the child. The reads see whole records only; and they spread the
// kills over all steps of a write: a kill at once would always meet the same one.
func killedWriters(t tester, b *bench) {
	last := b.save("k", string(record(0)), "")
	for round := range 8 {
		p := b.start("writer")
		defer p.kill() // also if a check ends the test
		line := p.expect("saved ")
		for range 1 << round {
			b.loadWhole()
		}
		for range round {
			line = p.expect("saved ")
		}
		if more := p.kill(); more != "" {
			line = more
		}
		said, _ := strconv.Atoi(strings.TrimPrefix(line, "saved "))
		_, err := b.Save(t.Context(), "k", []byte("stale"), last)
		b.wantError("Save at the version before the writer's", err, storage.ErrConflict)
		last = b.saveAfter(said)
	}
}

// saveAfter saves over what a killed writer left, which is what it said or one
// more: the kill came between. A server may have that one still before it, and
// carry it out while we are about to write; so one conflict is in order.
func (b *bench) saveAfter(said int) storage.Version {
	b.t.Helper()
	for {
		n, v := b.loadWhole()
		if n < said || n > said+1 {
			b.t.Fatalf("after a kill the record is at %d; the writer had saved %d", n, said)
		}
		next, err := b.Save(b.t.Context(), "k", record(n+1), v)
		if err == nil {
			return next
		}
		if again, _ := b.loadWhole(); !errors.Is(err, storage.ErrConflict) || again == n {
			b.t.Fatalf("Save over the record of a killed writer: %v", err)
		}
	}
}

// loadWhole loads a record of writer and returns its number.
func (b *bench) loadWhole() (int, storage.Version) {
	b.t.Helper()
	item, err := b.Load(b.t.Context(), "k")
	if err != nil {
		b.t.Fatalf("Load beside a writer: %v", err)
	}
	n, err := counted(item.Data)
	if err != nil {
		b.t.Fatalf("Load beside a writer: %v", err)
	}
	return n, item.Version
}

func killedHolder(_ tester, b *bench) {
	l := b.leaser()
	if l == nil {
		return
	}
	b.save("k", "one", "")
	p := b.start("holder")
	defer p.kill()
	p.expect("held")
	b.wantHeld(l, probe)
	p.kill()
	b.acquire(l).Release()
}

// frozenHolder stops the holder where a suspended machine would. A lease that
// lasts stays with it, another passes on; its late save is refused either way.
func frozenHolder(_ tester, b *bench) {
	b.overtake(func(v storage.Version) { b.save("k", "two", v) })
	b.wantData("two")
}

func frozenOverDelete(t tester, b *bench) {
	b.overtake(func(v storage.Version) {
		if err := b.Delete(t.Context(), "k", v); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		b.save("k", "one", "") // the same bytes, of another session
	})
	b.wantData("one")
}

// overtake changes the record while its holder is frozen, and lets that one save.
func (b *bench) overtake(change func(storage.Version)) {
	v := b.save("k", "one", "")
	p := b.start("holder")
	defer p.kill()
	p.expect("held")
	freeze(b.t, p.cmd.Process)
	if l := b.leaser(); l != nil {
		b.passOn(l)
	}
	change(v)
	thaw(b.t, p.cmd.Process)
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		b.t.Fatalf("the child does not listen: %v", err)
	}
	p.expect("conflict true")
}

// passOn tries for the lease that a frozen process holds. A first try tells
// nothing of whether such leases last; one of another key does.
func (b *bench) passOn(l storage.Leaser) {
	other, err := l.Acquire(b.t.Context(), "another", leaseTTL)
	if err != nil {
		b.t.Fatalf("Acquire of another key: %v", err)
	}
	defer other.Release()
	if lasting(other) {
		b.wantHeld(l, probe)
		return
	}
	b.acquire(l).Release()
}

func (b *bench) wantData(want string) {
	item, err := b.Load(b.t.Context(), "k")
	if err != nil || string(item.Data) != want {
		b.t.Errorf("Load = %q, %v; want %q", item.Data, err, want)
	}
}
