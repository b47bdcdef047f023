package probe

import (
	"fmt"
	"io"
	"strings"
)

// A Report is what was found out about a server, for people. It holds no secret.
type Report struct {
	lines   []line
	code    string   // a Dialect, as Go code; empty if a preset fits
	secrets []string // that must not be in it
}

type line struct{ label, text string }

// add is one line.
func (r *Report) add(label, format string, args ...any) {
	r.lines = append(r.lines, line{label, fmt.Sprintf(format, args...)})
}

// Line returns what stands beside a label; empty for none.
func (r *Report) Line(label string) string {
	for _, l := range r.lines {
		if l.label == label {
			return r.clean(l.text)
		}
	}
	return ""
}

// fits tells which dialects mean of each answer what it means.
func (r *Report) fits(names []string) {
	first := names[0]
	text := first
	if len(names) > 1 {
		text += " (so do " + strings.Join(names[1:], ", ") + ")"
	}
	r.add("preset", "%s", text)
}

// hidden stands for a secret, here and in the errors of package oauth.
const hidden = "[secret]"

// ShortestSecret is how long a secret must be to be looked for in a report. A
// shorter one would tear words apart.
const ShortestSecret = 8

// hide names secrets that must not be printed, wherever they may turn up.
func (r *Report) hide(secrets ...string) {
	for _, s := range secrets {
		if len(s) >= ShortestSecret {
			r.secrets = append(r.secrets, s)
		}
	}
}

// clean takes the known secrets out of a text.
func (r *Report) clean(text string) string {
	for _, s := range r.secrets {
		text = strings.ReplaceAll(text, s, hidden)
	}
	return text
}

// WriteTo implements io.WriterTo.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	width := 0
	for _, l := range r.lines {
		width = max(width, len(l.label))
	}
	var b strings.Builder
	for _, l := range r.lines {
		fmt.Fprintf(&b, "%-*s  %s\n", width, l.label, l.text)
	}
	if r.code != "" {
		b.WriteString("\n" + r.code)
	}
	n, err := io.WriteString(w, r.clean(b.String()))
	return int64(n), err
}
