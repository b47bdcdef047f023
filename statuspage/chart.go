package statuspage

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
)

// The widths for which a chart is drawn, in CSS pixels: text in a drawing that is
// scaled down cannot be read.
const (
	wide   = 920
	narrow = 310
)

const (
	laneHeight = 38
	lanesTop   = 8
	axisHeight = 26
	shortest   = 20 * time.Second // that a chart shows
)

// A chart is a timeline: tokens, checks, exchanges, failures and who waited.
type chart struct {
	Class         string
	Width, Height int
	Left, Right   float64 // of the part that has time
	Bottom        float64
	Lanes         []lane
	Bars          []bar
	Points        []point
	Axis          []label
	Now           float64
	Check         float64 // where the next check is; 0: not shown

	from, to time.Time
}

type lane struct {
	Y    float64
	Name string
}

type bar struct {
	X, Y, Width, Height float64
	Class, Title        string
}

type point struct {
	X, Y float64
	mark
	Title string
}

type label struct {
	X    float64
	Text string
}

// What lanes there are.
const (
	tokens    = "Tokens"
	checks    = "Checks"
	sessions  = "Sessions"
	refreshes = "Refreshes"
	troubles  = "Failures"
	waits     = "Waiting"
)

// newChart draws one session.
func newChart(s evertoken.Status, events []evertoken.Event, now time.Time, width int) chart {
	c := blank(width, tokens, checks, refreshes, troubles, waits)
	c.reach(events, now, s.NextCheck, s.Expiry)
	if s.NextCheck.After(now) && s.NextCheck.Before(c.to) {
		c.Check = c.x(s.NextCheck)
	}
	c.drawTokens(lives(s, events, now), now)
	c.draw(events, now)
	return c
}

// newPoolChart draws what all sessions of a pool did.
func newPoolChart(events []evertoken.Event, now time.Time, width int) chart {
	c := blank(width, sessions, refreshes, troubles, waits)
	c.reach(events, now)
	c.draw(events, now)
	return c
}

// blank is a chart with lanes from above.
func blank(width int, lanes ...string) chart {
	c := chart{Class: "wide", Width: width, Left: 84, Right: float64(width) - 6, Bottom: lanesTop + float64(len(lanes)*laneHeight)}
	if width == narrow {
		c.Class, c.Left = "narrow", 62
	}
	c.Height = int(c.Bottom) + axisHeight
	for i, name := range lanes {
		c.Lanes = append(c.Lanes, lane{lanesTop + (float64(i)+0.5)*laneHeight, name})
	}
	return c
}

func (c *chart) draw(events []evertoken.Event, now time.Time) {
	c.Now = c.x(now)
	c.drawEvents(events, now)
	c.thin(1 + len(events)/256)
	c.drawAxis(now)
}

// find is where a lane is, if the chart has it.
func (c *chart) find(name string) int {
	return slices.IndexFunc(c.Lanes, func(l lane) bool { return l.Name == name })
}

func (c *chart) y(name string) float64 { return c.Lanes[c.find(name)].Y }

// reach decides which time is shown: all that is remembered, and up to a third as
// much of what is to come, to show those instants.
func (c *chart) reach(events []evertoken.Event, now time.Time, ahead ...time.Time) {
	c.from = now.Add(-shortest)
	if len(events) > 0 && events[0].Time.Before(c.from) {
		c.from = events[0].Time
	}
	past := now.Sub(c.from)
	c.from = c.from.Add(-past / 40)
	c.to = now.Add(past / 12)
	for _, t := range ahead {
		if t.After(c.to) {
			c.to = t.Add(past / 40)
		}
	}
	if most := now.Add(past / 3); c.to.After(most) {
		c.to = most
	}
}

// x is where an instant is, or the nearest edge.
func (c *chart) x(t time.Time) float64 {
	share := float64(t.Sub(c.from)) / float64(c.to.Sub(c.from))
	return tenths(c.Left + (c.Right-c.Left)*min(max(share, 0), 1))
}

// tenths is precise enough for a pixel, and short.
func tenths(x float64) float64 { return math.Round(x*10) / 10 }

// A life is how long a token was used, and how long it could have been.
type life struct{ from, until, expiry time.Time }

// lives reads from the events which tokens there were, and from the status which
// there is.
func lives(s evertoken.Status, events []evertoken.Event, now time.Time) []life {
	var all []life
	for _, e := range events {
		first := len(all) == 0
		fresh := e.Kind == evertoken.SessionStarted || e.Kind == evertoken.Renewed || e.Kind == evertoken.Adopted
		if !fresh && !first && e.Kind != evertoken.SessionEnded || first && e.Expiry.IsZero() && !fresh {
			continue
		}
		if !first && (fresh || e.Expiry.IsZero()) {
			end(&all[len(all)-1], e.Time)
		}
		if fresh || first {
			all = append(all, life{from: e.Time, expiry: e.Expiry})
		}
	}
	if len(all) == 0 && !s.LastRefresh.IsZero() && s.State != evertoken.SignedOut {
		all = append(all, life{from: s.LastRefresh, expiry: s.Expiry})
	}
	if len(all) > 0 {
		last := &all[len(all)-1]
		if s.State == evertoken.SignedOut {
			end(last, s.Since)
		}
		end(last, cmp.Or(last.expiry, now))
	}
	return all
}

// end is when another token took its place, or its own time was over.
func end(l *life, at time.Time) {
	if !l.until.IsZero() {
		return
	}
	l.until = at
	if !l.expiry.IsZero() && l.expiry.Before(at) {
		l.until = l.expiry
	}
}

// drawTokens draws the used part of each life solid, and the rest faint.
func (c *chart) drawTokens(all []life, now time.Time) {
	const height = 16
	y := c.y(tokens) - height/2
	for i, l := range all {
		class, to := "used", l.until
		if i == len(all)-1 && to.After(now) {
			c.bar(now, to, y, height, "ahead", "valid until "+clock(to, now))
			class, to = "used current", now
		}
		if !l.expiry.IsZero() && l.expiry.After(l.until) {
			c.bar(l.until, l.expiry, y+height+2, 3, "spare", "could have been used until "+clock(l.expiry, now))
		}
		c.bar(l.from, to, y, height, class, "a token, used from "+clock(l.from, now)+" to "+clock(to, now))
	}
}

// bar draws what lasted, if any of it is to be seen.
func (c *chart) bar(from, to time.Time, y, height float64, class, title string) {
	if to.Before(c.from) || from.After(c.to) || to.Before(from) {
		return
	}
	x := c.x(from)
	c.Bars = append(c.Bars, bar{x, y, tenths(max(c.x(to)-x-1, 1)), height, class, title})
}

func (c *chart) drawEvents(events []evertoken.Event, now time.Time) {
	most := 1
	for _, e := range events {
		most = max(most, e.Waiting)
	}
	for _, e := range events {
		at, y := c.x(e.Time), c.y(c.laneOf(e))
		if e.Took > 0 {
			c.bar(e.Time.Add(-e.Took), e.Time, y-1.5, 3, "took "+markOf(e).Class, "took "+span(e.Took))
		}
		if e.Waiting > 0 {
			height := tenths(4 + (laneHeight-14)*float64(e.Waiting)/float64(most))
			c.Bars = append(c.Bars, bar{at - 2, c.y(waits) + laneHeight/2 - 5 - height, 4, height, "waiting", clock(e.Time, now) + waited(e)})
		}
		c.Points = append(c.Points, point{at, y, markOf(e), c.title(e, now)})
	}
}

// title tells an event, and whose it is if there are many sessions.
func (c *chart) title(e evertoken.Event, now time.Time) string {
	text := clock(e.Time, now) + " "
	if c.find(sessions) >= 0 {
		text += shown(e.Session) + ": "
	}
	return text + tell(e, 1, now)
}

func (c *chart) laneOf(e evertoken.Event) string {
	switch {
	case c.find(sessions) >= 0 && (e.Kind == evertoken.SessionStarted || e.Kind == evertoken.SessionEnded):
		return sessions
	case e.Kind == evertoken.Checked:
		return checks
	case e.Kind == evertoken.Failed, e.Kind == evertoken.SessionEnded && e.Err != nil:
		return troubles
	}
	return refreshes
}

// thin leaves out what lies on its like, give or take so many pixels: a pool has a
// thousand events, most of which say the same.
func (c *chart) thin(pixels int) {
	cell := func(x float64) int { return int(x) / pixels }
	type place struct {
		class        string
		y            float64
		left, length int
	}
	c.Points = newest(c.Points, func(p point) place { return place{p.Class, p.Y, cell(p.X), 0} })
	c.Bars = newest(c.Bars, func(b bar) place { return place{b.Class, b.Y, cell(b.X), cell(b.Width)} })
}

// newest keeps of all that have one key the last.
func newest[T any, K comparable](all []T, key func(T) K) []T {
	seen := make(map[K]bool)
	var kept []T
	for _, v := range slices.Backward(all) {
		if k := key(v); !seen[k] {
			seen[k] = true
			kept = append(kept, v)
		}
	}
	slices.Reverse(kept)
	return kept
}

// drawAxis puts a label at each whole step of the clock, as many as fit.
func (c *chart) drawAxis(now time.Time) {
	pixel := float64(c.to.Sub(c.from)) / (c.Right - c.Left)
	at, form := step(time.Duration(58*pixel)), "15:04"
	switch {
	case at < time.Minute:
		at, form = step(time.Duration(78*pixel)), time.TimeOnly
	case at >= 24*time.Hour:
		form = "2 Jan"
	}
	_, offset := now.Zone()
	zone := time.Duration(offset) * time.Second
	for t := c.from.Add(zone).Truncate(at).Add(at - zone); t.Before(c.to); t = t.Add(at) {
		if x := c.x(t); x > c.Left+24 && x < c.Right-20 {
			c.Axis = append(c.Axis, label{x, t.In(now.Location()).Format(form)})
		}
	}
}

// step is the least round length of time that is no shorter than d.
func step(d time.Duration) time.Duration {
	for _, s := range []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	} {
		if s >= d {
			return s
		}
	}
	const day = 24 * time.Hour
	return (d + day - 1).Truncate(day)
}

// Future is how much of the chart is still to come.
func (c chart) Future() float64 { return c.Right - c.Now }

// Label says what is drawn, to those who cannot see it.
func (c chart) Label() string {
	var names []string
	for _, l := range c.Lanes {
		names = append(names, strings.ToLower(l.Name))
	}
	return strings.Join(names, ", ") + " over time"
}

// CheckY is the lane of the next check.
func (c chart) CheckY() float64 { return c.y(checks) }
