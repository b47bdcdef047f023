package statuspage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/statuspage"
)

// A crowd is a pool that does not change.
type crowd struct {
	names    []string
	statuses []evertoken.Status
	events   []evertoken.Event
}

func (c *crowd) Events() []evertoken.Event { return slices.Clone(c.events) }

func (c *crowd) Sessions() iter.Seq2[string, evertoken.Status] {
	return func(yield func(string, evertoken.Status) bool) {
		for i, name := range c.names {
			if !yield(name, c.statuses[i]) {
				return
			}
		}
	}
}

// with adds n sessions that are like one of the states of a client.
func (c *crowd) with(n int, state string, now time.Time) *crowd {
	f := states(now)[state]
	for i := range n {
		name := fmt.Sprintf("%s-%04d", state, i)
		c.names, c.statuses = append(c.names, name), append(c.statuses, f.status)
		if e, ok := lastTold(f.events); ok && i < 3 {
			e.Session, e.Waiting = name, i
			c.events = append(c.events, e)
		}
	}
	slices.SortFunc(c.events, func(a, b evertoken.Event) int { return a.Time.Compare(b.Time) })
	return c
}

// lastTold is the last of a client's events that a pool would tell, too.
func lastTold(events []evertoken.Event) (evertoken.Event, bool) {
	for _, e := range slices.Backward(events) {
		if e.Kind != evertoken.Checked {
			return e, true
		}
	}
	return evertoken.Event{}, false
}

// pools are those whose pages are looked at.
func pools(now time.Time) map[string]*crowd {
	resting := evertoken.Status{State: evertoken.SignedIn, Since: now.Add(-time.Hour)}
	all := map[string]*crowd{
		"empty":    {},
		"one":      new(crowd).with(1, "fresh", now),
		"well":     new(crowd).with(1200, "fresh", now).with(3, "new", now),
		"trouble":  new(crowd).with(60, "fresh", now).with(2, "degraded", now).with(1, "expired", now).with(1, "signed-out", now).with(1, "refreshing", now).with(1, "unsaved", now),
		"renewing": new(crowd).with(7, "fresh", now).with(2, "refreshing", now),
		"closed":   new(crowd).with(2, "closed", now),
	}
	all["well"].names, all["well"].statuses = append(all["well"].names, "resting"), append(all["well"].statuses, resting)
	return all
}

func ask(h http.Handler, accept, session string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/status?"+url.Values{"session": {session}}.Encode(), nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// What the page of a pool says, at a glance and of the sessions that need a look.
func TestWhatAPoolSays(t *testing.T) {
	all := pools(noon)
	for name, want := range map[string][]string{
		"empty": {"No sessions Nobody has used a session yet", "Next check never", "There is none in memory.", "Nothing has happened yet."},
		"one":   {"1 session, and it is well Requests of who is signed in have a token.", "100 % are well", "fresh-0000 Signed in, until 12:19:52 (in 19 min"},
		"well": {"1,204 sessions, all well", "Sessions in memory 1,204 1 at rest", "Signed in 1,201 3 signed out", "Without a valid token 0", "Store Healthy",
			"Next check 12:00:40 in 40 s", "There are 1,184 more.", "fresh-0001 Session started, in 310 ms"},
		"trouble": {"4 of 66 sessions in trouble Requests of 1 session wait for a token, or fail.", "93 % are well", "In trouble 3 with a token that is valid", "Waiting for a token 11 callers",
			"Store Fails for 1 session", "Sessions expired-0000 No valid token", "connection refused", "degraded-0000 Signed in, with trouble, until 12:03:40", "degraded-0000 Failed, unavailable", "degraded-0001 Failed, unavailable", "signed-out-0000 Signed out", "unsaved-0000 Signed in, not saved"},
		"renewing": {"9 sessions, all well", "Renewing 2 now", "Sessions refreshing-0000 Renewing"},
		"closed":   {"Closed Requests get no token.", "none signed in"},
	} {
		page := words(get(statuspage.HandlerAt(all[name], noon), "text/html").Body.String())
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("%s: %q is not on the page:\n%s", name, w, page)
			}
		}
	}
}

// Who signed out on purpose needs nobody.
func TestLamps(t *testing.T) {
	c := new(crowd).with(1, "new", noon).with(1, "signed-out", noon)
	page := get(statuspage.HandlerAt(c, noon), "text/html").Body.String()
	for name, look := range map[string]string{"new-0000": "off", "signed-out-0000": "bad"} {
		if !strings.Contains(page, `<li class="`+look+`"><span class="lamp"></span><a href="?session=`+name) {
			t.Errorf("%s is not %s", name, look)
		}
	}
}

// Each session has the page that it would have by itself, with its own events.
func TestOneOfAPool(t *testing.T) {
	h := statuspage.HandlerAt(pools(noon)["trouble"], noon)
	page := words(ask(h, "text/html", "degraded-0001").Body.String())
	for _, w := range []string{"evertoken · degraded-0001 Signed in, with trouble", "Failures in a row 6", "Failed, unavailable, in 90 ms, while 1 caller waited"} {
		if !strings.Contains(page, w) {
			t.Errorf("%q is not on the page:\n%s", w, page)
		}
	}
	if strings.Contains(page, "degraded-0000") {
		t.Error("it tells of another session")
	}
	var report struct{ Events []struct{ Session string } }
	if err := json.Unmarshal(ask(h, "application/json", "degraded-0001").Body.Bytes(), &report); err != nil || len(report.Events) != 1 || report.Events[0].Session != "degraded-0001" {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestNotInMemory(t *testing.T) {
	h := statuspage.HandlerAt(pools(noon)["one"], noon)
	w := ask(h, "text/html", "<b>nobody</b>")
	if page := words(w.Body.String()); w.Code != http.StatusNotFound || !strings.Contains(page, "evertoken · <b>nobody</b> Not in memory") {
		t.Errorf("%d: %s", w.Code, page)
	}
	if w := ask(h, "application/json", ""); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `"error": "no session of this name`) {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestPoolAsJSON(t *testing.T) {
	var got struct {
		Headline                                                           string
		Sessions, SignedIn, Degraded, Invalid, SignedOut, Resting, Waiting int
		NextCheck                                                          time.Time
		Worst                                                              []struct{ Session, State, Error string }
		Events                                                             []struct{ Session, Kind string }
	}
	c := pools(noon)["trouble"]
	w := get(statuspage.HandlerAt(c, noon), "application/json")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Sessions != 66 || got.SignedIn != 65 || got.Degraded != 3 || got.Invalid != 1 || got.SignedOut != 1 || got.Waiting != 11 || len(got.Events) != len(c.events) ||
		len(got.Worst) != 20 || got.Worst[0].Session != "expired-0000" || got.Worst[0].Error == "" || got.NextCheck.IsZero() {
		t.Errorf("%+v", got)
	}
}

// A page stays small however many sessions there are, and however much has happened.
func TestPoolPageIsSmall(t *testing.T) {
	c := new(crowd).with(2000, "degraded", noon)
	c.events = nil
	for i := range 1024 {
		kind := []evertoken.Kind{evertoken.Renewed, evertoken.Failed, evertoken.SessionStarted, evertoken.Adopted}[i%4]
		c.events = append(c.events, evertoken.Event{Session: fmt.Sprint("s", i), Time: noon.Add(time.Duration(i-1024) * time.Second), Kind: kind, Err: errBusy, Took: time.Second, Waiting: i % 7})
	}
	if n := get(statuspage.HandlerAt(c, noon), "text/html").Body.Len(); n > 300<<10 {
		t.Errorf("%d KiB", n>>10)
	}
}

// Names are anybody's words: they are shown as they are, cut, and their links lead
// to them.
func TestNamesOfSessions(t *testing.T) {
	for _, name := range []string{`"><script>alert(1)</script>`, strings.Repeat("é&=?#%", 400), "a b+c/../d", "\x00\xff", "{{.}}"} {
		c := &crowd{names: []string{name}, statuses: []evertoken.Status{states(noon)["fresh"].status}}
		c.events = []evertoken.Event{{Session: name, Time: noon, Kind: evertoken.Renewed}}
		h := statuspage.HandlerAt(c, noon)
		page := get(h, "text/html").Body.String()
		_, link, _ := strings.Cut(page, `<a href="?session=`)
		link, _, _ = strings.Cut(link, `"`)
		r := httptest.NewRequest(http.MethodGet, "/status?session="+html.UnescapeString(link), nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK || strings.Count(page+w.Body.String(), "<script>") != 2 {
			t.Errorf("%.20q: %d, %d scripts", name, w.Code, strings.Count(page+w.Body.String(), "<script>"))
		}
		if len(name) > 1000 && strings.Contains(words(page), name[:200]) {
			t.Error("a name is not cut")
		}
	}
}

// A real pool, whose issuer tells too much.
func TestPool(t *testing.T) {
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
	pool, err := evertoken.NewPool(evertoken.PoolConfig{Config: evertoken.Config{
		Issuer: leaky{func(t evertoken.Token) error { return fmt.Errorf("sent Authorization: Bearer %s", t.AccessToken) }},
		Logger: slog.New(slog.DiscardHandler),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, name := range []string{"ann", "bob"} {
		client, err := pool.Client(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.SignIn(context.Background(), evertoken.Token{AccessToken: jwt, RefreshToken: "r", Expiry: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if err := client.Refresh(t.Context()); err == nil {
			t.Fatal("it renewed")
		}
	}
	h := statuspage.Handler(pool)
	wantNone(t, "a pool", h, []string{jwt, strings.Split(jwt, ".")[1]})
	for _, name := range []string{"ann", "bob"} {
		page := words(ask(h, "text/html", name).Body.String())
		if strings.Contains(page, jwt) || !strings.Contains(page, "evertoken · "+name) || !strings.Contains(page, "Session started") {
			t.Errorf("%s: %s", name, page)
		}
	}
}

func TestStrangeSource(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a handler of something else")
		}
	}()
	statuspage.Handler(struct{ statuspage.Source }{})
}
