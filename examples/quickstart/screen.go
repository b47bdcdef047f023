package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
)

// A screen shows the run: one live line on a terminal, a plain line every few
// seconds and after each renewal elsewhere.
type screen struct {
	out      io.Writer
	terminal bool
	drawn    time.Time
	last     summary
}

func newScreen(f *os.File) *screen {
	info, err := f.Stat()
	return &screen{out: f, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (s *screen) title(format string, args ...any) {
	s.printf(format+"\n", args...)
}

// printf has nowhere to report that nobody can read it any more.
func (s *screen) printf(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }

// live draws at most ten times a second.
func (s *screen) live(sum summary, client *evertoken.Client) {
	now := time.Now()
	pause := 100 * time.Millisecond
	if !s.terminal {
		pause = 5 * time.Second
	}
	if now.Sub(s.drawn) < pause && (s.terminal || sum.Refreshes == s.last.Refreshes) {
		return
	}
	s.drawn, s.last = now, sum
	line := fmt.Sprintf("requests %-5d token %s refreshes %-3d failed %d",
		sum.Requests, bar(client.Status(), now), sum.Refreshes, sum.Failed)
	if s.terminal {
		s.printf("\r\x1b[K%s", line)
	} else {
		s.printf("%s\n", line)
	}
}

// bar shows the age of the token.
func bar(st evertoken.Status, now time.Time) string {
	const width = 16
	life, left := st.Expiry.Sub(st.LastRefresh), st.Expiry.Sub(now)
	if life <= 0 {
		return "[" + strings.Repeat(" ", width) + "]   -   "
	}
	used := min(max(int(width*(life-left)/life), 0), width)
	return fmt.Sprintf("[%s%s] %4.1f s", strings.Repeat("#", used), strings.Repeat(".", width-used), left.Seconds())
}

func (s *screen) summary(sum summary) {
	if s.terminal {
		s.printf("\n")
	}
	s.printf("\n%6d requests\n%6d refreshes in the background\n%6d failed requests\n%6d requests with an expired token\n%6d requests that waited over 100 ms\n",
		sum.Requests, sum.Refreshes, sum.Failed, sum.ExpiredSent, sum.Waited)
}
