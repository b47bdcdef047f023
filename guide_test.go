package evertoken_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/storage"
)

// A stage is a program that is signed in, with its issuer, its store and its log,
// all of which can be made to fail.
type stage struct {
	t      *testing.T
	srv    *evertest.Server
	cfg    evertoken.Config
	store  frailStore
	client *evertoken.Client
	states []evertoken.State // as they were seen

	mu    sync.Mutex
	lines []string // of the log, and what callers were told
	dial  error    // of connections to the issuer
	load  error
	save  error
	slept time.Duration
}

// newStage starts a client; change may adapt its configuration.
func newStage(t *testing.T, options evertest.Options, change func(*stage)) *stage {
	s := &stage{t: t}
	s.store = frailStore{storage.NewMemory(), s}
	options.Now = s.Now
	s.srv = evertest.NewServer(t, options)
	s.cfg = s.srv.Config()
	transport := s.srv.Transport().Clone()
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := s.fault(&s.dial); err != nil {
			return nil, err
		}
		return dial(ctx, network, address)
	}
	issuer := &lightnap.Issuer{BaseURL: s.srv.URL, Transport: transport}
	s.cfg.Issuer, s.cfg.Store, s.cfg.Clock, s.cfg.Login = issuer, s.store, s, nil
	s.cfg.Logger = slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	if change != nil {
		change(s)
	}
	client, err := evertoken.New(t.Context(), s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	return s
}

// login is a Config.Login with the right password.
func (s *stage) login(ctx context.Context) (evertoken.Token, error) {
	return s.srv.Issuer().Login(ctx, lightnap.Credentials{Login: evertest.Login, Password: evertest.Password, RememberMe: true})
}

// signIn signs in, and forgets what the log says of it.
func (s *stage) signIn() {
	s.t.Helper()
	token, err := s.login(s.t.Context())
	if err == nil {
		err = s.client.SignIn(s.t.Context(), token)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait() // for the loop to have seen it
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = nil
}

// Now and Timer are the clock of a machine that can sleep.
func (s *stage) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.slept)
}

func (s *stage) Timer(d time.Duration) *clock.Timer { return clock.New().Timer(d) }

// Write takes one line of the log. The guide leaves out checks that find nothing,
// states that are no warning, and the warning that a token has ended meanwhile, which
// depends on the jitter.
func (s *stage) Write(line []byte) (int, error) {
	if !regexp.MustCompile(`msg="evertoken: checked"|trouble=expired|level=INFO msg="evertoken: (signed in|signed out|degraded)"`).Match(line) {
		s.say(strings.TrimSuffix(string(line), "\n"))
	}
	return len(line), nil
}

func (s *stage) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *stage) set(fault *error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*fault = err
}

func (s *stage) fault(fault *error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *fault
}

func (s *stage) sleep(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slept += d
}

// pass lets time go by.
func (s *stage) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// due lets time go by until a token of two hours is renewed, or was to be.
func (s *stage) due() {
	s.pass(116*time.Minute + time.Second)
	s.look()
}

// dead lets time go by until it has ended.
func (s *stage) dead() { s.pass(5 * time.Minute) }

func (s *stage) look() { s.states = append(s.states, s.client.Status().State) }

// visit calls the API, and tells what its caller is told.
func (s *stage) visit() {
	resp, err := s.client.HTTP().Get(s.srv.URL + "/api/users/me/profile")
	if err != nil {
		s.say(err.Error())
		return
	}
	defer resp.Body.Close()
	s.say(resp.Status)
}

// A frailStore fails as its stage says.
type frailStore struct {
	*storage.Memory
	*stage
}

func (f frailStore) Load(ctx context.Context, key string) (storage.Item, error) {
	if err := f.fault(&f.load); err != nil {
		return storage.Item{}, err
	}
	return f.Memory.Load(ctx, key)
}

func (f frailStore) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	if err := f.fault(&f.save); err != nil {
		return "", err
	}
	return f.Memory.Save(ctx, key, data, prev)
}

// A told is what was seen of one section of the guide.
type told struct {
	lines  []string
	states []evertoken.State
}

// plain leaves out of a line what is never the same, and which session it is of.
func plain(line string) string {
	line = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`).ReplaceAllString(line, "TIME")
	line = regexp.MustCompile(`failures=([2-9]|\d\d+)`).ReplaceAllString(line, "failures=N") // depends on the jitter
	line = regexp.MustCompile(` waiting=\d+`).ReplaceAllString(line, "")
	line = strings.TrimSuffix(line, " session=default")
	return strings.ReplaceAll(line, "http://localhost", "https://api.example.com")
}

// distinct returns the plain lines, each once.
func distinct(lines []string) []string {
	var all []string
	for _, line := range lines {
		if line = plain(line); !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	return all
}

// shown are the lines that a section of the guide quotes.
func shown(section string) []string {
	var all []string
	for i, block := range strings.Split(section, "```") {
		if quoted, ok := strings.CutPrefix(block, "text\n"); ok && i%2 == 1 {
			all = append(all, strings.Split(strings.TrimSuffix(quoted, "\n"), "\n")...)
		}
	}
	return distinct(all)
}

// Each section of docs/when-things-fail.md quotes the log, and what callers are
// told, as the product has it: all of it and nothing else, but for the times.
func TestGuideToFailures(t *testing.T) {
	seen := map[string]*told{}
	for _, trouble := range troubles() {
		synctest.Test(t, func(t *testing.T) {
			if seen[trouble.section] == nil {
				seen[trouble.section] = &told{}
			}
			s := trouble.happens(t)
			if s.states == nil {
				s.look()
			}
			_ = s.client.Close()
			here := seen[trouble.section]
			here.lines, here.states = append(here.lines, s.lines...), append(here.states, s.states...)
		})
	}
	page := read(t, "docs/when-things-fail.md")
	for section, here := range seen {
		_, text, found := strings.Cut(page, "\n## "+section+"\n")
		if !found {
			t.Errorf("there is no section %q; it would quote\n%s", section, strings.Join(distinct(here.lines), "\n"))
			continue
		}
		text, _, _ = strings.Cut(text, "\n## ")
		got, want := shown(text), distinct(here.lines)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("section %q quotes\n%s\nwhere it is\n%s", section, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, state := range here.states {
			if !strings.Contains(text, fmt.Sprintf("`%s`", state)) {
				t.Errorf("section %q does not mention the state `%s`", section, state)
			}
		}
	}
}

var errFull = errors.New("storage: file: write /var/lib/app/write.tmp: no space left on device")
