package statuspage_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/statuspage"
)

// A crowd is a pool that does not change.
type crowd struct {
	sessions map[string]evertoken.Status
	events   []evertoken.Event
}

func (c crowd) Events() []evertoken.Event { return append([]evertoken.Event(nil), c.events...) }

func (c crowd) Sessions() iter.Seq2[string, evertoken.Status] {
	return func(yield func(string, evertoken.Status) bool) {
		for name, s := range c.sessions {
			if !yield(name, s) {
				return
			}
		}
	}
}

// newCrowd has n sessions that are well, and 1,024 events if there are any.
func newCrowd(n int, now time.Time) crowd {
	c := crowd{sessions: map[string]evertoken.Status{}}
	for i := range n {
		left := time.Duration(i%1000+60) * time.Second
		c.sessions[fmt.Sprintf("user/%04d", i)] = evertoken.Status{
			State: evertoken.SignedIn, Since: now.Add(-time.Hour), Expiry: now.Add(left), LastRefresh: now.Add(left - tokenLife), NextCheck: now.Add(left / 2), Reason: "due",
		}
	}
	for i := range min(1024*n, 1024) {
		e := evertoken.Event{Session: fmt.Sprintf("user/%04d", i%n), Time: now.Add(time.Duration(i-1024) * 4 * time.Second), Kind: evertoken.Renewed, Reason: "due", Took: 180 * time.Millisecond}
		switch {
		case i%7 == 0:
			e.Kind, e.Outcome, e.Err, e.Waiting = evertoken.Failed, evertoken.Unavailable, errBusy, i%5
		case i%40 == 1:
			e.Kind = evertoken.SessionStarted
		}
		c.events = append(c.events, e)
	}
	return c
}

// crowds are what an overview has to show well.
func crowds(now time.Time) map[string]crowd {
	trouble := newCrowd(1204, now)
	set := func(name string, change func(*evertoken.Status)) {
		s := trouble.sessions[name]
		change(&s)
		trouble.sessions[name] = s
	}
	set("user/0007", func(s *evertoken.Status) {
		s.State, s.Err, s.Expiry, s.Waiting = evertoken.Degraded, errDown, now.Add(-95*time.Second), 2
	})
	set("user/0400", func(s *evertoken.Status) { s.State, s.Err, s.Failures = evertoken.Degraded, errBusy, 3 })
	set("user/0300", func(s *evertoken.Status) {
		s.State, s.Err, s.StoreErr, s.PersistPending, s.Lease = evertoken.Degraded, errDisk, errDisk, true, "here"
	})
	set("user/0200", func(s *evertoken.Status) { s.Lease = "here" })
	set("user/0100", func(s *evertoken.Status) { s.State, s.Err, s.Expiry = evertoken.SignedOut, errDead, time.Time{} })
	set("user/0101", func(s *evertoken.Status) { s.NextCheck, s.Expiry = time.Time{}, now.Add(-time.Hour) })
	return map[string]crowd{"well": newCrowd(3, now), "trouble": trouble, "empty": {}, "many": newCrowd(2000, now)}
}

func ask(h http.Handler, session, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/status?session="+url.QueryEscape(session), nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestWhatAPoolSays(t *testing.T) {
	all := crowds(noon)
	for name, want := range map[string][]string{
		"well": {"3 sessions, all well", "It is renewed before it ends.", "100% of 3 well", "In memory 3", "Store Healthy", "user/0000 Signed in 12:01:00 in 1 min"},
		"trouble": {"3 of 1,204 sessions in trouble Requests of 1 session wait for a token, or fail.", "99% of 1,202 well", "In memory 1,204 1 of them at rest",
			"In trouble, with a token 2", "Without a valid token 1", "Signed out 1", "Renewing now 1 2 callers waiting", "Store Fails for 1 session", "Next check 12:00:30",
			"user/0007 No valid token 11:58:25 1 min 35 s ago", "connection refused", "user/0300 Signed in, not saved", "user/0200 Renewing", "user/0100 Signed out no token", "and 1,164 more"},
		"empty": {"No sessions", "None is in memory.", "Nothing has happened yet.", "Next check never"},
		"many":  {"2,000 sessions, all well", "and 1,960 more"},
	} {
		page := words(get(statuspage.HandlerAt(all[name], noon), "text/html").Body.String())
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("%s: %q is not on the page:\n%s", name, w, page)
			}
		}
	}
}

// However many sessions and events there are, the page stays small, and still.
func TestPageOfManyIsSmall(t *testing.T) {
	h := statuspage.HandlerAt(crowds(noon)["many"], noon)
	page := get(h, "text/html").Body.String()
	if len(page) > 200<<10 || strings.Count(page, `<p class="who">`) != 40 {
		t.Errorf("%d KiB, %d sessions", len(page)>>10, strings.Count(page, `<p class="who">`))
	}
	if strings.Contains(get(statuspage.HandlerAt(crowds(noon)["well"], noon), "text/html").Body.String(), `class="more"`) {
		t.Error("more than all")
	}
	for range 5 {
		if get(h, "text/html").Body.String() != page {
			t.Fatal("the page is another each time")
		}
	}
}

func TestPoolJSON(t *testing.T) {
	var got struct {
		InMemory, AtRest, SignedIn, Troubled, Tokenless, SignedOut, Renewing, Waiting, StoreFails, More int
		Sessions, Events                                                                                []struct{ Session, Error string }
	}
	h := statuspage.HandlerAt(crowds(noon)["trouble"], noon)
	if err := json.Unmarshal(get(h, "application/json").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	counts := fmt.Sprint(got.InMemory, got.AtRest, got.SignedIn, got.Troubled, got.Tokenless, got.SignedOut, got.Renewing, got.Waiting, got.StoreFails, got.More)
	if counts != "1204 1 1202 2 1 1 1 2 1 1164" {
		t.Error(counts)
	}
	if len(got.Sessions) != 40 || got.Sessions[0].Session != "user/0007" || got.Sessions[0].Error == "" || len(got.Events) != 1024 || got.Events[0].Session == "" {
		t.Errorf("%d sessions, %d events", len(got.Sessions), len(got.Events))
	}
	if w := ask(h, "user/0400", "application/json"); w.Code != 200 || !strings.Contains(w.Body.String(), `"session": "user/0400"`) || strings.Contains(w.Body.String(), "user/0300") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestSessionOfAPool(t *testing.T) {
	h := statuspage.HandlerAt(crowds(noon)["trouble"], noon)
	w := ask(h, "user/0400", "text/html")
	page := words(w.Body.String())
	for _, want := range []string{"evertoken / user/0400 Signed in, with trouble", "Failures in a row 3", "Token valid until"} {
		if w.Code != 200 || !strings.Contains(page, want) || strings.Contains(page, "user/0401") {
			t.Errorf("%q is not on it: %s", want, page)
		}
	}
	if !strings.Contains(w.Body.String(), `<a href="?">`) {
		t.Error("no way back")
	}
	if page := words(ask(h, "user/0101", "text/html").Body.String()); !strings.Contains(page, "At rest Nobody uses it.") {
		t.Error(page)
	}
	w = ask(h, "nobody", "text/html")
	if w.Code != 404 || !strings.Contains(words(w.Body.String()), "nobody Not in memory") || !strings.Contains(w.Body.String(), `<a href="?">`) {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if w := ask(h, "nobody", "application/json"); w.Code != 404 || !strings.Contains(w.Body.String(), `"error": "not in memory"`) {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

// What happened several times is one line of one session.
func TestHistoryOfManySessions(t *testing.T) {
	var events []evertoken.Event
	for _, name := range []string{"ann", "bob", "bob", "bob"} {
		events = append(events, evertoken.Event{Session: name, Time: noon, Kind: evertoken.Failed, Outcome: evertoken.NotSent, Err: errDown})
	}
	page := words(get(statuspage.HandlerAt(crowd{nil, events}, noon), "text/html").Body.String())
	if !strings.Contains(page, "bob Failed 3 times") || !strings.Contains(page, "ann Failed, not sent") {
		t.Error(page)
	}
}

// The page of a session tells what happened to it, and to no other.
func TestEventsOfASession(t *testing.T) {
	c := crowd{map[string]evertoken.Status{"ann": {State: evertoken.SignedIn, NextCheck: noon}}, []evertoken.Event{
		{Session: "ann", Time: noon, Kind: evertoken.Renewed, Reason: "due"},
		{Session: "bob", Time: noon, Kind: evertoken.Renewed, Reason: "asked"},
	}}
	h := statuspage.HandlerAt(c, noon)
	for _, accept := range []string{"text/html", "application/json"} {
		if page := ask(h, "ann", accept).Body.String(); !strings.Contains(page, "due") || strings.Contains(page, "asked") {
			t.Errorf("%s: %s", accept, page)
		}
	}
}

// A name may be anything; its link leads to it, and it stays short.
func TestNames(t *testing.T) {
	for _, name := range []string{`"><script>alert(1)</script>`, strings.Repeat("long", 500), "a//b", " ", "früh 日本", "\u202egpj", "a&b=c#d%41", "\xff\x00"} {
		c := crowd{map[string]evertoken.Status{name: {State: evertoken.SignedIn, NextCheck: noon}}, []evertoken.Event{{Session: name, Time: noon, Kind: evertoken.Renewed}}}
		h := statuspage.HandlerAt(c, noon)
		page := get(h, "text/html").Body.String()
		if strings.Count(page, "<script>") != 1 || strings.Contains(page, "\u202e") || len(words(page)) > 1500 {
			t.Errorf("%q: %s", name, page)
		}
		for range 2 { // in the list, and in the history
			var link string
			_, page, _ = strings.Cut(page, `<a href="?session=`)
			link, page, _ = strings.Cut(page, `"`)
			got, err := url.QueryUnescape(link)
			if err != nil || got != name || ask(h, got, "text/html").Code != 200 {
				t.Errorf("%q leads to %q", name, got)
			}
		}
		if page := ask(statuspage.HandlerAt(crowd{}, noon), name, "text/html").Body.String(); strings.Count(page, "<script>") != 1 || len(words(page)) > 400 {
			t.Errorf("%q, absent: %s", name, page)
		}
	}
}

func TestRealPool(t *testing.T) {
	pool, err := evertoken.NewPool(evertoken.PoolConfig{Config: evertoken.Config{
		Issuer: leaky{func(evertoken.Token) error { return errors.New("refresh_token=s3cretpw-5") }}, Logger: slog.New(slog.DiscardHandler),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, name := range []string{"ann", "bob"} {
		c, err := pool.Client(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SignIn(t.Context(), evertoken.Token{AccessToken: "access-of-" + name, RefreshToken: "s3cretpw-5", Expiry: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if name == "bob" && c.Refresh(t.Context()) == nil {
			t.Fatal("it renewed")
		}
	}
	h := statuspage.Handler(pool)
	if page := words(get(h, "text/html").Body.String()); !strings.Contains(page, "1 of 2 sessions in trouble") || !strings.Contains(page, "ann Session started") {
		t.Error(page)
	}
	for name, want := range map[string]string{"ann": "Signed in", "bob": "Signed in, with trouble"} {
		if page := words(ask(h, name, "text/html").Body.String()); !strings.Contains(page, "evertoken / "+name+" "+want) {
			t.Error(page)
		}
	}
	wantNone(t, "a pool", h, []string{"access-of", "s3cretpw"})
}

type neither struct{}

func (neither) Events() []evertoken.Event { return nil }

func TestNeither(t *testing.T) {
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "neither a client nor a pool") {
			t.Error(text)
		}
	}()
	statuspage.Handler(neither{})
}

func BenchmarkOverview(b *testing.B) {
	pool, err := evertoken.NewPool(evertoken.PoolConfig{Config: evertoken.Config{Issuer: leaky{}, Logger: slog.New(slog.DiscardHandler)}})
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	for i := range 100_000 {
		c, err := pool.Client(b.Context(), fmt.Sprint("user/", i))
		if err != nil {
			b.Fatal(err)
		}
		if err := c.SignIn(b.Context(), evertoken.Token{AccessToken: "a", RefreshToken: "r", Expiry: time.Now().Add(24 * time.Hour)}); err != nil {
			b.Fatal(err)
		}
	}
	h := statuspage.Handler(pool)
	for b.Loop() {
		get(h, "text/html")
	}
}
