//go:build unix

package statuspage_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evertoken/evertoken/statuspage"
)

func TestPoolInBrowser(t *testing.T) {
	browser := startChromium(t)
	for name, c := range crowds(time.Now()) {
		var source atomic.Pointer[crowd]
		source.Store(&c)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			statuspage.Handler(*source.Load()).ServeHTTP(w, r)
		}))
		defer server.Close()
		for width, scheme := range map[int]string{1280: "light", 360: "dark"} {
			browser.visit(server.URL, width, scheme)
			inspect(t, browser, width)
			if *pictures != "" {
				save(t, fmt.Sprintf("pool-%s-%d", name, width), browser.picture("footer"))
			}
		}
		if name != "trouble" {
			continue
		}
		var typed string
		browser.eval(`document.querySelector("input").value = "user/0400"`, nil)
		browser.eval(`new Promise((yes, no) => {
			let updates = 0;
			new PerformanceObserver(list => { if ((updates += list.getEntries().length) > 2) yes(document.querySelector("input").value); }).observe({type: "resource"});
			setTimeout(() => no("no updates"), 15000);
		})`, &typed)
		if typed != "user/0400" {
			t.Errorf("what is typed becomes %q", typed)
		}
		browser.loaded = false
		browser.eval(`document.querySelector("form button").click()`, nil)
		for !browser.loaded {
			browser.next()
		}
		var brand string
		browser.eval(`document.querySelector(".brand").textContent`, &brand)
		if brand != "evertoken / user/0400" {
			t.Errorf("the form leads to %q", brand)
		}
		browser.eval("window.same = true", nil)
		source.Store(&crowd{}) // it goes out of memory, and comes back
		become(t, browser, "Not in memory", "now,foot")
		source.Store(&c)
		become(t, browser, "Signed in, with trouble", "now,facts,timeline,history,foot")
	}
}

// become waits until the page has another headline, without being loaded again.
func become(t *testing.T, browser *chromium, headline, sections string) {
	t.Helper()
	var got []any
	browser.eval(fmt.Sprintf(`new Promise((yes, no) => {
		const look = () => {
			if (document.querySelector("h1").textContent !== %q) return setTimeout(look, 50);
			yes([[...document.querySelector("main").children].map(e => e.id).join(), window.same === true, document.getElementById("stale").hidden]);
		};
		look();
		setTimeout(() => no("it stays at " + document.querySelector("h1").textContent), 15000);
	})`, headline), &got)
	if want := fmt.Sprint([]any{sections, true, true}); fmt.Sprint(got) != want {
		t.Errorf("%s: %v, want %s", headline, got, want)
	}
	browser.faults = nil // it tells of each 404
}
