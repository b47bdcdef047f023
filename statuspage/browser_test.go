//go:build unix

package statuspage_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/statuspage"
)

// The picture in the README is made anew by
//
//	go test ./statuspage -run Picture -pictures docs
var pictures = flag.String("pictures", "", "`folder` for pictures of the page in all its states")

// A switched is a source that can be replaced.
type switched struct{ now atomic.Pointer[fixed] }

func (s *switched) Status() evertoken.Status  { return s.now.Load().status }
func (s *switched) Events() []evertoken.Event { return s.now.Load().events }

func TestInBrowser(t *testing.T) {
	browser := startChromium(t)
	source := &switched{}
	server := httptest.NewServer(statuspage.Handler(source))
	defer server.Close()
	for name, state := range states(time.Now()) {
		source.now.Store(&state)
		for _, width := range []int{1280, 360} {
			for _, scheme := range []string{"light", "dark"} {
				if width > 360 && scheme == "dark" && *pictures == "" {
					continue // only colours differ
				}
				t.Run(fmt.Sprintf("%s/%d/%s", name, width, scheme), func(t *testing.T) {
					browser.t = t
					browser.visit(server.URL, width, scheme)
					inspect(t, browser, width)
					if *pictures != "" {
						save(t, fmt.Sprintf("%s-%d-%s", name, width, scheme), browser.picture("footer"))
					}
				})
			}
		}
	}
	browser.t = t
	update(t, browser, source, server)
}

func save(t *testing.T, name string, png []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(*pictures, name+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The picture of the README: an outage of which nobody has noticed anything yet.
func TestPicture(t *testing.T) {
	browser := startChromium(t)
	now := time.Date(2030, 1, 15, 14, 21, 20, 0, time.UTC)
	page := httptest.NewRecorder()
	statuspage.HandlerAt(states(now)["degraded"], now).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/", nil))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page.Body.Bytes())
	}))
	defer server.Close()
	browser.visit(server.URL, 1040, "light")
	png := browser.picture("#timeline")
	if len(png) > 150<<10 || !strings.Contains(page.Body.String(), "3 min 40 s") {
		t.Errorf("%d KiB are too much for a README, or they show too little", len(png)>>10)
	}
	if *pictures != "" {
		save(t, "statuspage", png)
	}
}

// inspect looks for what does not fit, cannot be read, or was not allowed.
func inspect(t *testing.T, browser *chromium, width int) {
	t.Helper()
	var page struct {
		Width   int
		Broken  []string
		Small   []string
		Charts  int
		Colours []string
	}
	browser.eval(`(() => {
		const seen = [...document.querySelectorAll("main *")].filter(e => e.checkVisibility());
		const name = e => e.tagName + "." + (e.getAttribute("class") || e.id) + ": " + e.textContent.trim().slice(0, 40);
		return {
			width: document.documentElement.scrollWidth,
			broken: seen.filter(e => !e.closest("svg")).filter(e => { const r = e.getBoundingClientRect(); return r.right > innerWidth + 1 || r.left < -1 }).map(name),
			small: seen.filter(e => e.tagName === "text").filter(e => e.getBoundingClientRect().height < 10).map(name),
			charts: seen.filter(e => e.matches("svg.chart")).length,
			colours: [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.querySelector("h1")).color],
		};
	})()`, &page)
	if page.Width > width || len(page.Broken) > 0 {
		t.Errorf("%d px wide, window of %d; beyond it: %q", page.Width, width, page.Broken)
	}
	if len(page.Small) > 0 {
		t.Errorf("too small to read: %q", page.Small)
	}
	if page.Charts != 1 {
		t.Errorf("%d charts are to be seen, want the one that fits", page.Charts)
	}
	if page.Colours[0] == page.Colours[1] {
		t.Errorf("%s on %s", page.Colours[1], page.Colours[0])
	}
	if len(browser.faults) > 0 {
		t.Errorf("the browser complains: %s", browser.faults)
		browser.faults = nil
	}
}

// update sees the page follow its source without being loaded again, leave alone
// what somebody has selected, and say when the program is gone.
func update(t *testing.T, browser *chromium, source *switched, server *httptest.Server) {
	all := states(time.Now())
	good, bad := all["signed-in"], all["signed-out"]
	source.now.Store(&good)
	browser.visit(server.URL, 360, "light")
	browser.eval(`window.same = true; document.getElementById("stale").hidden`, nil)
	const headline = `new Promise((yes, no) => {
		const look = () => { if (document.querySelector("h1").textContent === %q) yes(window.same === true); };
		look();
		new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
		setTimeout(() => no("it stays at " + document.querySelector("h1").textContent), 15000);
	})`
	browser.eval(`getSelection().selectAllChildren(document.querySelector("h1"))`, nil)
	source.now.Store(&bad)
	var selected string
	browser.eval(`new Promise(yes => {
		let updates = 0;
		new PerformanceObserver(list => {
			updates += list.getEntries().length;
			if (updates < 3) return;
			yes(document.querySelector("h1").textContent);
			getSelection().removeAllRanges();
		}).observe({type: "resource"});
	})`, &selected)
	if selected != "Signed in" {
		t.Errorf("what is selected becomes %q", selected)
	}
	var same bool
	browser.eval(fmt.Sprintf(headline, "Signed out"), &same)
	if !same {
		t.Error("the page was loaded again")
	}
	inspect(t, browser, 360)
	server.CloseClientConnections()
	server.Config.Handler = http.NotFoundHandler()
	var stale string
	browser.eval(`new Promise((yes, no) => {
		const stale = document.getElementById("stale");
		const look = () => { if (!stale.hidden) yes(stale.textContent); };
		look();
		new MutationObserver(look).observe(stale, {attributes: true});
		setTimeout(() => no("it never says so"), 15000);
	})`, &stale)
	if !strings.Contains(stale, "could not be updated") {
		t.Errorf("without the program it says %q", stale)
	}
}
