package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// The charts are drawn by hand: two images are not worth a dependency. They have
// a background of their own, for pages that are light or dark.
const (
	chartWidth = 760
	plotLeft   = 130 // room for names
	plotRight  = 90  // room for figures
	plotWidth  = chartWidth - plotLeft - plotRight
	chartHead  = 64
	chartStyle = `<style>text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}` +
		`.small{font-size:11px;fill:#57606a}.a{fill:#1f6feb}.b{fill:#a8c7fa}.wait{fill:#d1242f}.axis{stroke:#d0d7de}</style>`
)

// A drawing is an SVG that grows.
type drawing struct{ strings.Builder }

func newDrawing(title, subtitle string, height int) *drawing {
	d := &drawing{}
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img">`+"\n", chartWidth, height)
	d.printf("<title>%s</title>\n%s\n<rect width=\"100%%\" height=\"100%%\" rx=\"6\" fill=\"#fff\"/>\n", html.EscapeString(title), chartStyle)
	d.text(16, 26, "title", "start", title)
	d.text(16, 46, "small", "start", subtitle)
	return d
}

func (d *drawing) printf(format string, args ...any) { d.WriteString(fmt.Sprintf(format, args...)) }

func (d *drawing) text(x, y float64, class, anchor, s string) {
	d.printf(`<text x="%.0f" y="%.0f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(s))
}

func (d *drawing) rect(x, y, width, height float64, class string) {
	d.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="%s"/>`+"\n", x, y, width, height, class)
}

func (d *drawing) line(x1, y1, x2, y2 float64) {
	d.printf(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="axis"/>`+"\n", x1, y1, x2, y2)
}

func (d *drawing) end() string { return d.String() + "</svg>\n" }

// A bar is one client's two figures, in nanoseconds.
type bar struct {
	name       string
	one, crowd float64
}

// barChart shows them side by side, on one scale.
func barChart(title string, bars []bar) string {
	const row = 44
	longest := 1.0
	for _, b := range bars {
		longest = max(longest, b.one, b.crowd)
	}
	d := newDrawing(title, fmt.Sprintf("Median; dark: one goroutine, light: %d goroutines at once. Shorter is better.", crowd), chartHead+row*len(bars)+8)
	for i, b := range bars {
		top := float64(chartHead + row*i)
		d.text(plotLeft-10, top+20, "", "end", b.name)
		for j, ns := range []float64{b.one, b.crowd} {
			width, y := ns/longest*plotWidth, top+float64(j)*16
			d.rect(plotLeft, y, width, 14, []string{"a", "b"}[j])
			d.text(plotLeft+width+6, y+11, "small", "start", fmt.Sprintf("%.0f ns", ns))
		}
	}
	return d.end()
}

// A strip is one client's longest wait, in milliseconds, for each slice of time.
type strip struct {
	name  string
	waits []float64
}

// stripChart shows the strips below each other, on one scale: time to the right,
// from zero to seconds.
func stripChart(title string, strips []strip, seconds int, highest float64) string {
	const row, tall = 56, 46
	height := chartHead + row*len(strips) + 30
	d := newDrawing(title, fmt.Sprintf("The longest wait of a request, by when it was due; each strip is %.0f ms high. Empty is best.", highest), height)
	for s := range seconds + 1 {
		x := plotLeft + float64(s)/float64(seconds)*plotWidth
		d.text(x, float64(height-12), "small", "middle", fmt.Sprintf("%d s", s))
		d.line(x, chartHead, x, float64(height-28))
	}
	for i, s := range strips {
		bottom := float64(chartHead + row*i + tall)
		d.area(s.waits, bottom, tall/highest, tall)
		d.line(plotLeft, bottom, plotLeft+plotWidth, bottom)
		d.text(plotLeft-10, bottom-8, "", "end", s.name)
		d.text(plotLeft+plotWidth+8, bottom-8, "small", "start", fmt.Sprintf("worst %.0f ms", slices.Max(s.waits)))
	}
	return d.end()
}

// area is a strip's outline: steps as high as the waits, but at most tall.
func (d *drawing) area(waits []float64, bottom, scale, tall float64) {
	d.printf(`<path class="wait" d="M%d %.0f`, plotLeft, bottom)
	width := float64(plotWidth) / float64(len(waits))
	last := 0.0
	for i, wait := range waits {
		if high := math.Round(min(wait*scale, tall)); high != last {
			d.printf("H%.1fV%.0f", plotLeft+float64(i)*width, bottom-high)
			last = high
		}
	}
	d.printf("H%dV%.0fZ\"/>\n", plotLeft+plotWidth, bottom)
}
