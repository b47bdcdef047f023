package evertoken

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// logTo returns a logger that writes lines without their time.
func logTo(log *strings.Builder, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// With nothing configured there are warnings alone, on the default logger.
func TestLog(t *testing.T) {
	info := `level=INFO msg="evertoken: signed out" next=2030-01-01T00:01:00.000Z session=default
level=INFO msg="evertoken: session started" reason=sign-in expiry=2030-01-01T01:00:00.000Z session=default
level=INFO msg="evertoken: signed in" expiry=2030-01-01T01:00:00.000Z next=2030-01-01T00:01:00.000Z session=default
level=INFO msg="evertoken: failed" reason=asked expiry=2030-01-01T01:00:00.000Z outcome=unavailable error="evertoken: issuer: unavailable, status 503" next=2030-01-01T00:00:01.000Z waiting=1 session=default
level=WARN msg="evertoken: degraded" expiry=2030-01-01T01:00:00.000Z next=2030-01-01T00:01:00.000Z trouble=unavailable failures=1 error="evertoken: issuer: unavailable, status 503" session=default
level=INFO msg="evertoken: renewed" reason=asked expiry=2030-01-01T01:00:10.000Z waiting=1 session=default
level=WARN msg="evertoken: signed in" expiry=2030-01-01T01:00:10.000Z next=2030-01-01T00:01:00.000Z session=default
level=INFO msg="evertoken: the store failed" error="evertoken: store: load: disk full" session=default
level=WARN msg="evertoken: degraded" expiry=2030-01-01T01:00:10.000Z next=2030-01-01T00:02:00.000Z trouble=store failures=0 error="evertoken: store: load: disk full" session=default
`
	for name, own := range map[string]bool{"own logger": true, "default": false} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			logger, want := logTo(&log, slog.LevelInfo), info
			if !own {
				before := slog.Default()
				defer slog.SetDefault(before)
				slog.SetDefault(logger)
				want = regexp.MustCompile(`(?m)^level=INFO.*\n`).ReplaceAllString(info, "")
			}
			s := newHookedStore()
			inWorld(t, time.Hour, func(c *Config) {
				c.Store, c.Logger = s, nil
				if own {
					c.Logger = logger
				}
			}, func(t *testing.T, w *world) {
				w.signIn()
				w.issuer.then(fails(&RefreshError{Outcome: Unavailable, StatusCode: 503}))
				_ = w.client.Refresh(t.Context())
				w.pass(10 * time.Second)
				_ = w.client.Refresh(t.Context())
				s.breaks("load")
				w.pass(50 * time.Second)
				if log.String() != want {
					t.Errorf("got\n%swant\n%s", log.String(), want)
				}
				s.meet(nil)
			})
		})
	}
}

// warnings runs f in a world, and returns what was warned of: message and trouble.
func warnings(t *testing.T, lifetime time.Duration, change func(*Config), f func(*testing.T, *world)) []string {
	t.Helper()
	var log strings.Builder
	inWorld(t, lifetime, func(c *Config) {
		c.Logger = logTo(&log, slog.LevelWarn)
		if change != nil {
			change(c)
		}
	}, func(t *testing.T, w *world) {
		f(t, w)
		synctest.Wait()
	})
	var all []string
	for line := range strings.Lines(log.String()) {
		found := regexp.MustCompile(`msg="evertoken: ([^"]*)".*?(?: trouble="?([^"]*?)"? failures.*)?\n`).FindStringSubmatch(line)
		all = append(all, strings.TrimSuffix(found[1]+", "+found[2], ", "))
	}
	return all
}

// A new sign-in with a refresh token alone is no trouble, and does not end it before
// there is a token.
func TestWarningsOfASignInWithoutAnAccessToken(t *testing.T) {
	got := warnings(t, time.Hour, nil, func(t *testing.T, w *world) {
		w.signIn()
		w.issuer.then(fails(&RefreshError{Outcome: Rejected}))
		_ = w.client.Refresh(t.Context())
		if err := w.client.SignIn(t.Context(), Token{RefreshToken: "once"}); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * time.Minute)
	})
	if want := []string{"session ended", "degraded, rejected", "signed in"}; !slices.Equal(got, want) {
		t.Errorf("warned %q, want %q", got, want)
	}
}

// However long it lasts, an outage is a few warnings: that it began, that requests
// fail, that it is over.
func TestWarningsOfAnOutage(t *testing.T) {
	down := fails(&RefreshError{Outcome: Unavailable})
	got := warnings(t, 10*time.Minute, nil, func(_ *testing.T, w *world) {
		w.signIn()
		for range 100 {
			w.issuer.then(down)
		}
		w.pass(time.Hour)
		if w.count(Failed) < 30 || w.client.Status().State != Degraded {
			w.t.Errorf("%d failures, %+v", w.count(Failed), w.client.Status())
		}
		w.pass(2 * time.Hour)
		w.issuer.then(down)
		for range 2 {
			_ = w.client.Refresh(w.t.Context())
			w.pass(time.Minute)
		}
	})
	want := []string{"degraded, unavailable", "degraded, expired", "signed in", "degraded, unavailable", "signed in"}
	if !slices.Equal(got, want) {
		t.Errorf("warned %q, want %q", got, want)
	}
}

// What else deserves a warning, and what does not.
func TestWarnings(t *testing.T) {
	rejected := fails(&RefreshError{Outcome: Rejected})
	refresh := func(w *world, answer func(context.Context, Token) (Token, error)) {
		w.issuer.then(answer)
		_ = w.client.Refresh(w.t.Context())
		synctest.Wait()
	}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		f      func(*testing.T, *world)
		want   []string
	}{
		{"a day without trouble", nil, func(_ *testing.T, w *world) { w.signIn(); w.pass(24 * time.Hour) }, nil},
		{"a sign-out here", nil, func(_ *testing.T, w *world) { w.signIn(); _ = w.client.SignOut(w.t.Context()) }, nil},
		{"a sign-out elsewhere", nil, func(_ *testing.T, w *world) {
			w.signIn()
			item, _ := w.store.Load(w.t.Context(), "default")
			_ = w.store.Delete(w.t.Context(), "default", item.Version)
			w.pass(time.Minute)
		}, []string{"signed out"}},
		{"a sign-out elsewhere after one here", nil, func(_ *testing.T, w *world) {
			w.signIn()
			_ = w.client.SignOut(w.t.Context())
			w.signIn()
			item, _ := w.store.Load(w.t.Context(), "default")
			_ = w.store.Delete(w.t.Context(), "default", item.Version)
			w.pass(time.Minute)
		}, []string{"signed out"}},
		{"a sign-out in an outage", nil, func(_ *testing.T, w *world) {
			w.signIn()
			refresh(w, fails(&RefreshError{Outcome: NotSent}))
			_ = w.client.SignOut(w.t.Context())
		}, []string{"degraded, not sent"}},
		{"a verdict", nil, func(_ *testing.T, w *world) {
			w.signIn()
			refresh(w, rejected)
			w.pass(2 * time.Hour)
		}, []string{"session ended", "degraded, rejected", "signed out, expired"}},
		{"a verdict that another process heard", nil, func(_ *testing.T, w *world) {
			w.signIn()
			w.change(record.Record.Ended)
			w.pass(time.Minute)
		}, []string{"degraded, rejected"}},
		{"a verdict that Login mends", func(c *Config) {
			c.Login = func(context.Context) (Token, error) { return c.Issuer.(*farIssuer).mint(), nil }
		}, func(_ *testing.T, w *world) {
			w.pass(time.Minute)
			w.pass(2 * time.Minute)
			refresh(w, rejected)
		}, []string{"session ended"}},
		{"a password that is wrong", func(c *Config) {
			c.Login = func(context.Context) (Token, error) { return Token{}, &RefreshError{Outcome: Rejected} }
		}, func(_ *testing.T, w *world) { w.pass(24 * time.Hour) }, []string{"signed out, rejected"}},
		{"trouble of several kinds, again and again", nil, func(_ *testing.T, w *world) {
			w.signIn()
			for range 5 {
				for _, o := range []Outcome{NotSent, Unavailable} {
					refresh(w, fails(&RefreshError{Outcome: o}))
					w.pass(time.Minute)
				}
			}
			refresh(w, fails(&RefreshError{Outcome: Misconfigured}))
		}, []string{"degraded, not sent", "degraded, unavailable", "degraded, misconfigured"}},
		{"a token that ended overnight", nil, func(_ *testing.T, w *world) {
			w.leave(signedInElsewhere(epoch.Add(-2*time.Hour), time.Hour))
			w.restart()
			synctest.Wait()
		}, nil},
		{"an attempt that another process left open", nil, func(_ *testing.T, w *world) {
			w.signIn()
			w.change(func(r record.Record) record.Record { return r.Announced("killed", causeDue, wall(w.clock)) })
			w.pass(time.Minute)
			done := w.refreshing()
			w.pass(time.Minute)
			if err := <-done; err == nil {
				w.t.Error("renewed, although another process may be at it")
			}
		}, []string{"degraded, another process"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := warnings(t, time.Hour, tt.change, tt.f); !slices.Equal(got, tt.want) {
				t.Errorf("warned %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTroubleOf(t *testing.T) {
	good, over, none := told("a", 1, false), told("a", 1, true), &snapshot{err: ErrSignedOut}
	for _, tt := range []struct {
		k     *snapshot
		alive bool
		err   error
		want  string
	}{
		{good, true, nil, ""},
		{good, false, nil, ""},
		{good, false, errDisk, "expired"},
		{over, true, nil, "rejected"},
		{good, true, &storeError{"load", errDisk}, "store"},
		{none, false, storage.ErrCorrupt, "store"},
		{none, false, &RefreshError{Outcome: Misconfigured}, "misconfigured"},
		{good, true, errForeignNote, "another process"},
		{good, true, &storeError{"lease", context.DeadlineExceeded}, "another process"},
		{good, true, errors.New("boom"), "other"},
	} {
		if got := troubleOf(tt.k, tt.alive, tt.err); got != tt.want {
			t.Errorf("%v, alive %t: %q, want %q", tt.err, tt.alive, got, tt.want)
		}
	}
}

// The page has every message that there is, and no other.
func TestEveryLogLineIsDocumented(t *testing.T) {
	page, err := os.ReadFile("docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(evertoken: [^`]*)`").FindAllSubmatch(page, -1) {
		listed = append(listed, string(row[1]))
	}
	slices.Sort(listed)
	if want := messages(t); !slices.Equal(slices.Compact(listed), want) {
		t.Errorf("docs/logs.md lists\n%s\nthe source has\n%s", strings.Join(listed, "\n"), strings.Join(want, "\n"))
	}
}

// messages reads from the source what the package can log.
func messages(t *testing.T) (all []string) {
	t.Helper()
	files, _ := filepath.Glob("*.go")
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				all = append(all, logged(n)...)
			case *ast.ValueSpec: // of the constants of an Event and a Status
				if kind, ok := n.Type.(*ast.Ident); ok && (kind.Name == "Kind" || kind.Name == "State") {
					all = append(all, "evertoken: "+text(n.Values[0]))
				}
			}
			return true
		})
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// logged returns the literal messages in a call of the board's log, or of what
// hands one on.
func logged(call *ast.CallExpr) (all []string) {
	if f, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"logAt", "debug", "troubled"}, f.Sel.Name) {
		for _, arg := range call.Args {
			if s := text(arg); strings.HasPrefix(s, "evertoken: ") {
				all = append(all, s)
			}
		}
	}
	return all
}

func text(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok {
		s, _ := strconv.Unquote(lit.Value)
		return s
	}
	return ""
}
