package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
)

// A screen shows the run: one live line on a terminal, and elsewhere a plain line
// every few seconds and after each refresh. One goroutine uses it.
type screen struct {
	out      io.Writer
	terminal bool

	total time.Duration
	drawn time.Time
	last  summary
}

// columns is what the narrowest usual terminal shows without wrapping a line,
// which would then not be live any more.
const columns = 79

// isTerminal takes every character device for one but the null device.
func isTerminal(f interface{ Stat() (fs.FileInfo, error) }) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// printf has nowhere to report that nobody can read it any more.
func (s *screen) printf(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }

func (s *screen) title(o options, st evertoken.Status) {
	s.total = o.duration
	s.printf("signed in to %s as %s\n", o.server, o.login)
	if st.Expiry.IsZero() {
		s.printf("requests for %v\n\n", o.duration)
		return
	}
	s.printf("tokens of %v, requests for %v\n\n", st.Expiry.Sub(st.LastRefresh).Round(time.Second), o.duration)
}

// live draws at most ten times a second. What fails gets a line that stays.
func (s *screen) live(sum summary, st evertoken.Status, now time.Time) {
	if sum.trouble != nil && (s.last.trouble == nil || sum.trouble.Error() != s.last.trouble.Error()) {
		s.clear()
		s.printf("%v\n", sum.trouble)
		s.drawn = time.Time{}
	}
	pause := 100 * time.Millisecond
	if !s.terminal {
		pause = 5 * time.Second
	}
	news := !s.terminal && sum.Refreshes != s.last.Refreshes
	s.last.trouble = sum.trouble
	if now.Sub(s.drawn) < pause && !news {
		return
	}
	s.drawn, s.last = now, sum
	s.clear()
	s.printf("%s", s.line(sum, st, now))
	if !s.terminal {
		s.printf("\n")
	}
}

// clear makes room for another line in the live one's place (ECMA-48, EL).
func (s *screen) clear() {
	if s.terminal {
		s.printf("\r\x1b[K")
	}
}

func (s *screen) line(sum summary, st evertoken.Status, now time.Time) string {
	line := fmt.Sprintf("%2.0f/%.0f s  %4d requests  token %s  %s  %d failed",
		sum.took.Seconds(), s.total.Seconds(), sum.Requests, left(st, now), refreshes(sum.Refreshes, 0), sum.Failed)
	return line[:min(len(line), columns)]
}

// refreshes counts them, the number as wide as the others of a column.
func refreshes(n, width int) string {
	what := "refreshes"
	if n == 1 {
		what = "refresh"
	}
	return fmt.Sprintf("%*d %s", width, n, what)
}

// left shows how much of its life the token has before it.
func left(st evertoken.Status, now time.Time) string {
	const width = 10
	life, left := st.Expiry.Sub(st.LastRefresh), st.Expiry.Sub(now)
	if st.Expiry.IsZero() || life <= 0 {
		return "[" + strings.Repeat(".", width) + "] end unknown"
	}
	left = min(max(left, 0), life)
	full := int((width*left + life/2) / life)
	bar := "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
	if life >= 2*time.Minute {
		return fmt.Sprintf("%s %.0f min left", bar, left.Minutes())
	}
	return fmt.Sprintf("%s %4.1f s left", bar, left.Seconds())
}

// summary is the end of the screen; what is wrong follows as the program's error.
func (s *screen) summary(sum summary, verdict error) {
	if s.terminal {
		s.printf("\n")
	}
	s.printf("\n%6d requests in %.0f s\n%s in the background\n%6d failed requests\n"+
		"%6d requests with an expired token\n%6d requests that waited over 100 ms\n",
		sum.Requests, sum.took.Seconds(), refreshes(sum.Refreshes, 6), sum.Failed, sum.ExpiredSent, sum.Waited)
	if verdict == nil {
		s.printf("\nNobody noticed that %d tokens came and went.\n", sum.Refreshes)
	}
}
