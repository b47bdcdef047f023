package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
)

// TestScreen pins what a person watches, to the byte.
func TestScreen(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	st := evertoken.Status{LastRefresh: now, Expiry: now.Add(8 * time.Second)}
	var out strings.Builder
	s := &screen{out: &out, terminal: true, total: 25 * time.Second}
	step := func(after time.Duration, sum summary) {
		sum.took = after
		s.live(sum, st, now.Add(after))
	}
	step(0, summary{Requests: 1})
	step(50*time.Millisecond, summary{Requests: 3}) // too soon
	step(3950*time.Millisecond, summary{Requests: 150})
	step(3960*time.Millisecond, summary{Requests: 151, Failed: 1, trouble: errors.New("cut off")})
	step(3970*time.Millisecond, summary{Requests: 152, Failed: 2, trouble: errors.New("cut off")}) // too soon, and known
	const want = "\r\x1b[K 0/25 s     1 requests  token [##########]  8.0 s left  0 refreshes  0 failed" +
		"\r\x1b[K 4/25 s   150 requests  token [#####.....]  4.0 s left  0 refreshes  0 failed" +
		"\r\x1b[Kcut off\n" +
		"\r\x1b[K 4/25 s   151 requests  token [#####.....]  4.0 s left  0 refreshes  1 failed"
	if out.String() != want {
		t.Errorf("\n got %q\nwant %q", out.String(), want)
	}
}

// TestPlainLines: one at first, then one for each refresh, and every five seconds.
func TestPlainLines(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	st := evertoken.Status{LastRefresh: now, Expiry: now.Add(120 * time.Minute)}
	var out strings.Builder
	s := &screen{out: &out, total: time.Minute}
	for tenth := range 121 {
		took := time.Duration(tenth) * 100 * time.Millisecond
		s.live(summary{Requests: tenth, Refreshes: tenth / 40, took: took}, st, now.Add(took))
	}
	const want = ` 0/60 s     0 requests  token [##########] 120 min left  0 refreshes  0 failed
 4/60 s    40 requests  token [##########] 120 min left  1 refresh  0 failed
 8/60 s    80 requests  token [##########] 120 min left  2 refreshes  0 failed
12/60 s   120 requests  token [##########] 120 min left  3 refreshes  0 failed
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	s.live(summary{Requests: 121, Refreshes: 3, took: 17 * time.Second}, st, now.Add(17*time.Second))
	if got := strings.Count(out.String(), "\n"); got != 5 {
		t.Errorf("%d lines, want one more after five seconds", got)
	}
}

func TestLeft(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		used, life time.Duration
		want       string
	}{
		{0, 8 * time.Second, "[##########]  8.0 s left"},
		{4 * time.Second, 8 * time.Second, "[#####.....]  4.0 s left"},
		{9 * time.Second, 8 * time.Second, "[..........]  0.0 s left"},
		{-time.Second, 8 * time.Second, "[##########]  8.0 s left"}, // a clock that was set back
		{time.Hour, 2 * time.Hour, "[#####.....] 60 min left"},
		{0, 0, "[..........] end unknown"},
	} {
		st := evertoken.Status{LastRefresh: now, Expiry: now.Add(c.life)}
		if got := left(st, now.Add(c.used)); got != c.want {
			t.Errorf("%v of %v: %q, want %q", c.used, c.life, got, c.want)
		}
	}
	if got := left(evertoken.Status{LastRefresh: now}, now); got != "[..........] end unknown" {
		t.Errorf("opaque token: %q", got)
	}
}

// TestNoLineWraps: a live line that wraps is not live any more.
func TestNoLineWraps(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &screen{total: 1000 * time.Second}
	st := evertoken.Status{LastRefresh: now, Expiry: now.Add(1440 * time.Minute)}
	long := s.line(summary{Requests: 1e9, Refreshes: 1e9, Failed: 1e9, took: 1000 * time.Second}, st, now)
	if len(long) != columns {
		t.Errorf("%d columns: %q", len(long), long)
	}
}

// A file is what a stream's Stat tells of it.
type file struct {
	fs.FileInfo
	mode fs.FileMode
	err  error
}

func (f file) Stat() (fs.FileInfo, error) { return f, f.err }
func (f file) Mode() fs.FileMode          { return f.mode }

func TestIsTerminal(t *testing.T) {
	plain, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]*os.File{"a file": plain, "a pipe": w, "a pipe's other end": r, "the null device": null} {
		if isTerminal(f) {
			t.Errorf("%s is taken for a terminal", name)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	tty := file{mode: fs.ModeDevice | fs.ModeCharDevice}
	if !isTerminal(tty) {
		t.Error("a character device is not taken for a terminal")
	}
	if tty.err = fs.ErrInvalid; isTerminal(tty) {
		t.Error("a closed stream is taken for a terminal")
	}
}
