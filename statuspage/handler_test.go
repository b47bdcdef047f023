package statuspage_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/statuspage"
	"github.com/evertoken/evertoken/storage"
)

var noon = time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC)

func get(h http.Handler, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/status", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// words returns what can be read on a page, without what it is drawn with.
func words(page string) string {
	_, page, _ = strings.Cut(page, "<main")
	page, _, _ = strings.Cut(page, "</main>")
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString("<main"+page, " ")
	return html.UnescapeString(strings.Join(strings.Fields(text), " "))
}

// What the page says in each state, at a glance and in its history.
func TestWhatItSays(t *testing.T) {
	all := states(noon)
	for name, want := range map[string][]string{
		"fresh": {"Signed in Requests have a token.", "19 min of 20 min left", "Token valid until 12:19:52 in 19 min", "Next check 12:00:40 in 40 s",
			"Last refresh 11:59:52 8 s ago, because somebody signed in", "Store Healthy", "Lock Free", "Waiting for a token 0", "Session started, in 310 ms, while 1 caller waited"},
		"signed-in": {"State Signed in since 10:30:00, for 1 h 30 min", "because it was due", "Checked 8 times, nothing to renew", "Adopted a newer token of another process",
			"Failed, ambiguous, in 15 s; tried again at once", "Failed 6 times, not sent; tried again at 11:03:30", "connection refused"},
		"refreshing": {"Renewing", "Lock This process which renews now", "Waiting for a token 4"},
		"degraded": {"Signed in, with trouble Requests have a token until 12:03:40.", "is not available", "What to do Nothing. It is tried again by itself.", "issuer: unavailable, status 503",
			"Failures in a row 6", "3 min 40 s of 20 min left"},
		"expired":       {"No valid token Requests wait for a token, or fail.", "Nothing reached the issuer", "What to do Look at the network", "1 min 35 s since its end"},
		"unsaved":       {"Signed in, not saved", "cannot be saved", "What to do Mend the store", "no space left on device", "Store Fails", "Lock This process until the new token is saved"},
		"misconfigured": {"does not accept this client", "What to do Correct its id", "invalid_client"},
		"elsewhere":     {"Another process began to renew", "Lock Another process which has an attempt open"},
		"signed-out":    {"Signed out Requests get no token.", "The issuer has ended the session", "What to do Sign in again, or correct the credentials.", "invalid_grant", "Token valid until no token", "Session ended by the issuer"},
		"new":           {"Signed out", "There is no session. What to do Sign in, unless the program does so by itself.", "Last refresh never", "Nothing has happened yet."},
		"closed":        {"Closed Requests get no token.", "Next check never"},
	} {
		page := words(get(statuspage.HandlerAt(all[name], noon), "text/html").Body.String())
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("%s: %q is not on the page:\n%s", name, w, page)
			}
		}
	}
}

// The same as JSON, where zero is absent.
func TestJSON(t *testing.T) {
	all := states(noon)
	var got map[string]any
	w := get(statuspage.HandlerAt(all["degraded"], noon), "application/json")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%v, %s", err, w.Header())
	}
	for key, want := range map[string]any{
		"time": "2030-01-15T12:00:00Z", "state": "degraded", "headline": "Signed in, with trouble", "error": "issuer: unavailable, status 503",
		"failures": 6.0, "expiry": "2030-01-15T12:03:40Z", "reason": "due", "storeError": nil, "lease": nil, "waiting": 0.0, "persistPending": false,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	events := got["events"].([]any)
	last := events[len(events)-1].(map[string]any)
	if len(events) != len(all["degraded"].events) || last["kind"] != "failed" || last["outcome"] != "unavailable" || last["tookSeconds"] != 0.09 || last["next"] == nil {
		t.Errorf("%d events, the last %v", len(events), last)
	}
	if w := get(statuspage.HandlerAt(all["new"], noon), "application/json"); !strings.Contains(w.Body.String(), `"events": []`) || strings.Contains(w.Body.String(), "expiry") {
		t.Errorf("of a client that is new: %s", w.Body)
	}
}

func TestNegotiation(t *testing.T) {
	h := statuspage.Handler(states(noon)["new"])
	for accept, want := range map[string]string{
		"":                                  "text/html; charset=utf-8",
		"*/*":                               "text/html; charset=utf-8",
		"text/html,*/*;q=0.8":               "text/html; charset=utf-8",
		"application/json":                  "application/json",
		"application/json, text/plain, */*": "application/json",
		"text/html, application/json;q=0.5": "text/html; charset=utf-8",
		"text/html;q=0.2, Application/JSON": "application/json",
		"application/json;q=0":              "text/html; charset=utf-8",
		"\x00,,;":                           "text/html; charset=utf-8",
	} {
		if got := get(h, accept).Header().Get("Content-Type"); got != want {
			t.Errorf("Accept %q: %s, want %s", accept, got, want)
		}
	}
}

func TestMethods(t *testing.T) {
	server := httptest.NewServer(statuspage.Handler(states(noon)["new"]))
	defer server.Close()
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "DELETE": 405, "OPTIONS": 405} {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		h := resp.Header
		if resp.StatusCode != want || (want == 405) != (h.Get("Allow") == "GET, HEAD") {
			t.Errorf("%s: %s, Allow %q", method, resp.Status, h.Get("Allow"))
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: %v", method, h)
		}
	}
}

// The policy allows the style and the script that are there, by their hashes, and
// nothing else is: no attribute that acts, and no address.
func TestPolicy(t *testing.T) {
	w := get(statuspage.HandlerAt(states(noon)["degraded"], noon), "text/html")
	policy, page := w.Header().Get("Content-Security-Policy"), w.Body.String()
	for _, tag := range []string{"style", "script"} {
		found := regexp.MustCompile("(?s)<"+tag+">(.*?)</"+tag+">").FindAllStringSubmatch(page, -1)
		if len(found) != 1 {
			t.Fatalf("%d elements %s", len(found), tag)
		}
		sum := sha256.Sum256([]byte(found[0][1]))
		if want := tag + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("not allowed: %s in %s", want, policy)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Error(policy)
	}
	if found := regexp.MustCompile(`(?i)\s(style|on[a-z]+|src)=|https?://|url\(|@import`).FindAllString(page, -1); found != nil {
		t.Errorf("on the page: %q", found)
	}
}

// Error texts may hold anybody's words.
func TestEscaping(t *testing.T) {
	const evil = `</code></title></script><script>alert("x")</script><img src=x onerror='alert(1)'>`
	err := &evertoken.RefreshError{Outcome: evertoken.Unavailable, Description: evil}
	page := get(statuspage.Handler(fixed{
		evertoken.Status{State: evertoken.Degraded, Reason: evil, Err: err, StoreErr: errors.New(evil), LastRefresh: noon},
		[]evertoken.Event{{Time: noon, Kind: evertoken.Failed, Err: err}, {Time: noon, Kind: evertoken.Renewed, Reason: evil}},
	}), "text/html").Body.String()
	if strings.Contains(page, "<img") || strings.Count(page, "<script>") != 1 || strings.Count(page, "&lt;img") < 3 {
		t.Error(page)
	}
}

// A leaky issuer puts all it has into its errors.
type leaky struct{ fails func(evertoken.Token) error }

func (i leaky) Refresh(_ context.Context, t evertoken.Token) (evertoken.Token, error) {
	return evertoken.Token{}, i.fails(t)
}

func (leaky) Origins() []string { return []string{"https://api.example.com"} }

// A brokenStore fails to save, and says too much.
type brokenStore struct{ storage.Store }

func (brokenStore) Save(context.Context, string, []byte, storage.Version) (storage.Version, error) {
	return "", errors.New(`dial postgres://worker:hunter2@db.example.com/app?password=s3cretpw: refused`)
}

// No secret is on the page, whoever put it into an error.
func TestNoSecret(t *testing.T) {
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
	token := evertoken.Token{AccessToken: jwt, RefreshToken: "9b2f6c0e-short-but-secret-77", Expiry: time.Now().Add(time.Hour), Extra: map[string]string{"key": "b3BhcXVlLWtleS1tYXRlcmlhbC0x"}}
	secrets := []string{jwt, strings.Split(jwt, ".")[1], token.RefreshToken, token.Extra["key"], "hunter2", "s3cretpw"}
	leaks := map[string]func(t evertoken.Token) error{
		"a form": func(t evertoken.Token) error {
			return fmt.Errorf("POST /token: grant_type=refresh_token&refresh_token=%s&client_secret=s3cretpw: 500", t.RefreshToken)
		},
		"a header": func(t evertoken.Token) error { return errors.New("sent Authorization: Bearer " + t.AccessToken) },
		"an answer": func(t evertoken.Token) error {
			return &evertoken.RefreshError{Outcome: evertoken.Unavailable, Description: `{"access_token":"` + t.AccessToken + `","refresh_token": "` + t.RefreshToken + `"}`}
		},
		"prose": func(t evertoken.Token) error {
			return fmt.Errorf("password: hunter2 and %s with %s", t.RefreshToken, t.Extra["key"])
		},
	}
	for name, leak := range leaks {
		synctest.Test(t, func(t *testing.T) {
			client, err := evertoken.New(t.Context(), evertoken.Config{Issuer: leaky{leak}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.SignIn(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			if err := client.Refresh(t.Context()); err == nil {
				t.Fatal("it renewed")
			}
			synctest.Wait()
			wantNone(t, name, statuspage.Handler(client), secrets)
		})
	}
	client, err := evertoken.New(t.Context(), evertoken.Config{
		Issuer: leaky{}, Store: brokenStore{storage.NewMemory()}, Logger: slog.New(slog.DiscardHandler),
		Login: func(context.Context) (evertoken.Token, error) { return token, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantNone(t, "a store", statuspage.Handler(client), secrets)
}

func wantNone(t *testing.T, name string, h http.Handler, secrets []string) {
	t.Helper()
	for _, kind := range []string{"text/html", "application/json"} {
		page := get(h, kind).Body.String()
		if !strings.Contains(page, "[hidden]") {
			t.Errorf("%s: the error is not there: %s", name, page)
		}
		for _, s := range secrets {
			if strings.Contains(page, s) {
				t.Errorf("%s: %q is in %s", name, s, page)
			}
		}
	}
}

func TestNoSource(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a handler of nothing")
		}
	}()
	statuspage.Handler(nil)
}
