package statuspage

import (
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
)

var noon = time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC)

func TestSpan(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"less than 1 ms": time.Millisecond - 1, "1 ms": time.Millisecond, "999 ms": 999 * time.Millisecond, "1 s": time.Second, "1.5 s": 1500 * time.Millisecond, "42 s": 42400 * time.Millisecond,
		"1 min": time.Minute, "9 min 59 s": 10*time.Minute - time.Second, "10 min": 10*time.Minute + 30*time.Second,
		"1 h": time.Hour, "23 h 59 min": 24*time.Hour - time.Minute, "2 d 3 h": 51 * time.Hour,
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
		if got := span(-d); got != want {
			t.Errorf("%v: %q, want %q", -d, got, want)
		}
	}
}

// The package says which fields the JSON has.
func TestDocNamesEachField(t *testing.T) {
	source, err := os.ReadFile("handler.go")
	if err != nil {
		t.Fatal(err)
	}
	_, doc, _ := strings.Cut(string(source), "// # JSON")
	doc, _, _ = strings.Cut(doc, "package statuspage")
	for _, v := range []any{report{}, event{}, summary{}, brief{}} {
		for f := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(f).Tag.Get("json"), ",")
			if !regexp.MustCompile(`\b` + name + `\b`).MatchString(doc) {
				t.Errorf("%T: nothing tells of %s", v, name)
			}
		}
	}
}

func TestInstants(t *testing.T) {
	for want, got := range map[string]string{
		"now": away(noon.Add(400*time.Millisecond), noon), "in 42 s": away(noon.Add(42*time.Second), noon), "3 min ago": away(noon.Add(-3*time.Minute), noon),
		"12:00:00": clock(noon, noon), "14 Jan 12:00:00": clock(noon.Add(-24*time.Hour), noon),
		"13:00:00": clock(noon, noon.In(time.FixedZone("CET", 3600))),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What is no secret can be read.
func TestScrubber(t *testing.T) {
	for text, want := range map[string]string{
		"evertoken: store: save: write /var/lib/app/session-2: no space left": "store: save: write /var/lib/app/session-2: no space left",
		`evertoken: session "default": its record has format 2`:               `session "default": its record has format 2`,
		"invalid token: expired":                                    "invalid token: expired",
		"dial tcp: lookup auth.eu-west-1.example.com: no such host": "dial tcp: lookup auth.eu-west-1.example.com: no such host",
		"token=abcd1234":                                            "token=[hidden]",
		"password: Sesame99 is wrong":                               "password: [hidden] is wrong",
		"basic dXNlcjpwYXNz.":                                       "basic [hidden]",
		"at https://bob:pw@example.com/x":                           "at https://[hidden]@example.com/x",
		"got eyJhbGciOi.eyJzdWIi.c2ln here":                         "got [hidden] here",
		"id 0123456789abcdef0123":                                   "id [hidden]",
		"\xff":                                                      "\uFFFD",
		strings.Repeat("ä ", 400):                                   strings.Repeat("ä ", 133) + " ...",
	} {
		if got := newScrubber().text(errors.New(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Lives are read from what is remembered, wherever that begins.
func TestLives(t *testing.T) {
	at := func(min int) time.Time { return noon.Add(time.Duration(min) * time.Minute) }
	e := func(min int, k evertoken.Kind, expiry int) evertoken.Event {
		return evertoken.Event{Time: at(min), Kind: k, Expiry: at(expiry)}
	}
	out := evertoken.Event{Time: at(7), Kind: evertoken.SessionEnded}
	signedIn := evertoken.Status{State: evertoken.SignedIn, LastRefresh: at(-5), Expiry: at(20)}
	for _, tt := range []struct {
		name   string
		s      evertoken.Status
		events []evertoken.Event
		want   []life
	}{
		{"nothing", evertoken.Status{State: evertoken.SignedOut}, nil, nil},
		{"only the status", signedIn, nil, []life{{at(-5), at(20), at(20)}}},
		{"one after the other", signedIn, []evertoken.Event{e(0, evertoken.SessionStarted, 10), e(3, evertoken.Checked, 10), e(8, evertoken.Renewed, 18)},
			[]life{{at(0), at(8), at(10)}, {at(8), at(18), at(18)}}},
		{"a gap", signedIn, []evertoken.Event{e(0, evertoken.Renewed, 5), e(8, evertoken.Adopted, 20)}, []life{{at(0), at(5), at(5)}, {at(8), at(20), at(20)}}},
		{"it began before", signedIn, []evertoken.Event{e(0, evertoken.Checked, 10)}, []life{{at(0), at(10), at(10)}}},
		{"signed out", evertoken.Status{State: evertoken.SignedOut, Since: at(7)}, []evertoken.Event{e(0, evertoken.Renewed, 10), out}, []life{{at(0), at(7), at(10)}}},
		{"signed out by verdict", evertoken.Status{State: evertoken.SignedOut, Since: at(9)}, []evertoken.Event{e(0, evertoken.Renewed, 10), e(7, evertoken.SessionEnded, 10)}, []life{{at(0), at(9), at(10)}}},
		{"no known end", signedIn, []evertoken.Event{{Time: at(0), Kind: evertoken.Renewed}}, []life{{at(0), at(30), time.Time{}}}},
	} {
		if got := lives(tt.s, tt.events, at(30)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Whatever the times are, nothing is drawn beside the chart, and labels do not
// run into each other.
func TestChartKeepsItsBounds(t *testing.T) {
	for _, past := range []time.Duration{0, time.Second, time.Minute, time.Hour, 100 * time.Hour, 5000 * time.Hour} {
		for _, ahead := range []time.Duration{-time.Hour, time.Second, time.Hour, 9000 * time.Hour} {
			for _, width := range []int{wide, narrow} {
				s := evertoken.Status{State: evertoken.SignedIn, Expiry: noon.Add(ahead), LastRefresh: noon.Add(-past), NextCheck: noon.Add(ahead)}
				events := []evertoken.Event{
					{Time: noon.Add(-past), Kind: evertoken.Renewed, Expiry: noon.Add(ahead), Took: time.Hour, Waiting: 9},
					{Time: noon.Add(time.Second), Kind: evertoken.Checked, Expiry: noon.Add(ahead)}, // a clock that was set back
				}
				wantInside(t, newChart(s, events, noon, width))
			}
		}
	}
}

func wantInside(t *testing.T, c chart) {
	t.Helper()
	for _, b := range c.Bars {
		if b.X < c.Left-3 || b.X+b.Width > c.Right+3 || b.Width <= 0 || b.Y < 0 || b.Y+b.Height > c.Bottom {
			t.Errorf("%s to %s: a bar at %+v", c.from, c.to, b)
		}
	}
	for _, p := range c.Points {
		if p.X < c.Left || p.X > c.Right || p.Y < 0 || p.Y > c.Bottom {
			t.Errorf("%s to %s: a point at %+v", c.from, c.to, p)
		}
	}
	for i, l := range c.Axis {
		if l.X < c.Left || l.X > c.Right || i > 0 && l.X-c.Axis[i-1].X < 7*float64(len(l.Text))+12 {
			t.Errorf("%s to %s: labels %+v", c.from, c.to, c.Axis)
		}
	}
	if c.Now <= c.Left || c.Now > c.Right || len(c.Axis) == 0 {
		t.Errorf("%s to %s: now at %v, %d labels", c.from, c.to, c.Now, len(c.Axis))
	}
}
