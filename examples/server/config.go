package main

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/evertoken/evertoken/internal/identity"
)

// The default configuration works out of the box, and for development only: its
// key and its account's password are known to everybody.
//
//go:embed appsettings.json
var shippedFile []byte

const shippedName = "the default appsettings.json"

// settings are a configuration that has been checked.
type settings struct {
	key, issuer, audience string
	expiration            time.Duration // of access tokens, and of sessions without rememberMe
	inactive              time.Duration // of sessions with rememberMe
	verifyEmail           bool
	twoFactor             bool
	iterations            int // cost of a password's hash
	rotate                bool
	grace                 time.Duration
	detectReuse           bool
	sliding               bool
	older                 bool
	loginLimit            int
	users                 []identity.Account
	production            bool
	demo                  bool // users are the default configuration's: no secret
}

// load reads the settings from a file and the environment, which wins. A nil
// file means the default one. The error joins everything that is wrong, each
// with the setting's name and its value; secrets are described, never shown.
func load(file []byte, name string, environ []string) (settings, error) {
	production := strings.EqualFold(lookup(environ, "ASPNETCORE_ENVIRONMENT"), "Production")
	shipped := file == nil
	if shipped {
		file, name = shippedFile, shippedName
	}
	entries, err := fromJSON(file, name)
	if err != nil {
		return settings{}, err
	}
	if shipped && production { // an account that everybody knows is for development
		entries = slices.DeleteFunc(entries, seedsUser)
	}
	r := reader{left: source{}}
	overrides := fromEnvironment(environ)
	r.left.cover(entries)
	r.left.cover(overrides)
	s := r.settings()
	s.production, s.demo = production, shipped && !production && !slices.ContainsFunc(overrides, seedsUser)
	if production && s.key == shippedKey() {
		r.fault("Jwt:Key", "is the development default, which everybody knows: set your own for Production")
	}
	r.unknown()
	return s, errors.Join(r.faults...)
}

// seedsUser tells the entries that make accounts from all others.
func seedsUser(e entry) bool { return strings.HasPrefix(strings.ToLower(e.name), "seededusers:") }

// lookup ignores the case of name, as ASP.NET and Windows do.
func lookup(environ []string, name string) string {
	for _, variable := range environ {
		if n, value, _ := strings.Cut(variable, "="); strings.EqualFold(n, name) {
			return value
		}
	}
	return ""
}

// shippedKey returns the development key, whatever file it was copied to.
func shippedKey() string {
	entries, _ := fromJSON(shippedFile, shippedName) // embedded: the tests read it
	s := source{}
	s.cover(entries)
	return s["jwt:key"].value
}

// A reader takes entries out of a source one by one, so that what is left in the
// end is unknown, and collects what is wrong.
type reader struct {
	left   source
	faults []error
}

// settings reads every setting there is: the one list of their names, limits and
// what they are when missing. It goes on after a fault, to report them all.
func (r *reader) settings() settings {
	s := settings{
		key:         r.secret("Jwt:Key", 32, 100),
		issuer:      r.text("Jwt:Issuer"),
		audience:    r.text("Jwt:Audience"),
		expiration:  time.Duration(r.integer("Jwt:ExpirationMinutes", 5, 1440, 120)) * time.Minute,
		inactive:    time.Duration(r.integer("Authentication:LogOutInactiveDeviceDays", 1, 365, 30)) * 24 * time.Hour,
		verifyEmail: r.boolean("Authentication:RequireEmailVerification"),
		twoFactor:   r.boolean("Authentication:RequireTwoFactorForNewUsers"),
		iterations:  r.integer("Authentication:PasswordIterations", 1000, 10_000_000, 600_000),
		rotate:      r.boolean("Sessions:Rotate"),
		grace:       time.Duration(r.integer("Sessions:ReuseGraceSeconds", 0, 3600, 0)) * time.Second,
		detectReuse: r.boolean("Sessions:DetectReuse"),
		sliding:     r.boolean("Sessions:Sliding"),
		older:       r.boolean("Sessions:Older"),
		loginLimit:  r.integer("RateLimiting:AuthPermitLimit", 0, 1_000_000, 0),
	}
	s.users = r.users()
	return s
}

// take returns an entry and strikes it off the list.
func (r *reader) take(name string) (entry, bool) {
	path := strings.ToLower(name)
	e, ok := r.left[path]
	delete(r.left, path)
	return e, ok
}

// fault notes what is wrong with a setting. The name is an argument, not part of
// the format: a role may be called 100%.
func (r *reader) fault(name, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("evertoken: setting %s %s", dotted(name), fmt.Sprintf(format, args...)))
}

// text reads a value that must not be empty.
func (r *reader) text(name string) string {
	e, ok := r.take(name)
	switch {
	case !ok:
		r.fault(name, "is missing")
	case strings.TrimSpace(e.value) == "":
		r.fault(name, "is %q (from %s): must not be empty", e.value, e.from)
	}
	return e.value
}

// secret reads a value of which an error tells no more than the length.
func (r *reader) secret(name string, shortest, longest int) string {
	e, ok := r.take(name)
	n := utf8.RuneCountInString(e.value)
	switch {
	case !ok:
		r.fault(name, "is missing: must have %d to %d characters", shortest, longest)
	case n < shortest || n > longest:
		r.fault(name, "has %d characters (from %s): must have %d to %d", n, e.from, shortest, longest)
	}
	return e.value
}

// integer reads a whole number within limits. A number written as text counts, as
// in ASP.NET, or the environment could set none.
func (r *reader) integer(name string, least, most, missing int) int {
	e, ok := r.take(name)
	if !ok {
		return missing
	}
	n, err := strconv.Atoi(e.value)
	if err != nil || n < least || n > most {
		r.fault(name, "is %q (from %s): must be a whole number from %d to %d", e.value, e.from, least, most)
	}
	return n
}

// boolean reads a switch; without a value it is off.
func (r *reader) boolean(name string) bool {
	e, ok := r.take(name)
	on := strings.EqualFold(e.value, "true")
	if ok && !on && !strings.EqualFold(e.value, "false") {
		r.fault(name, "is %q (from %s): must be true or false", e.value, e.from)
	}
	return on
}

// users reads SeededUsers: lists of accounts by role, with "" for no role, as in
// LightNap. An account in several lists has all their roles, and the password
// of the first.
func (r *reader) users() []identity.Account {
	var found []identity.Account
	for _, list := range r.userPaths() {
		a := identity.Account{
			Email:    r.text(list + ":Email"),
			UserName: r.text(list + ":UserName"),
			Password: r.secret(list+":Password", 1, 256),
		}
		if role := strings.Split(list, ":")[1]; role != "" {
			a.Roles = []string{role}
		}
		i := slices.IndexFunc(found, func(b identity.Account) bool { return strings.EqualFold(a.Email, b.Email) })
		if i < 0 {
			found = append(found, a)
		} else {
			found[i].Roles = append(found[i].Roles, a.Roles...)
		}
	}
	return found
}

// userPaths returns the path of every seeded user, "SeededUsers:role:number", once.
func (r *reader) userPaths() []string {
	paths := make(map[string]string) // by path in lower case: the environment may write it otherwise
	for _, e := range r.left {
		parts := strings.Split(e.name, ":")
		if len(parts) == 4 && strings.EqualFold(parts[0], "SeededUsers") {
			path := strings.Join(parts[:3], ":")
			key := strings.ToLower(path)
			paths[key] = max(paths[key], path) // any fixed choice will do; the map has no order
		}
	}
	return slices.Sorted(maps.Values(paths))
}

// unknown reports what no setting has taken: a misspelt name would otherwise
// pass for its default. Sections that are none of ours, such as Logging, belong to
// other parts of ASP.NET.
func (r *reader) unknown() {
	names := make([]string, 0, len(r.left))
	for _, e := range r.left {
		if section, _, _ := strings.Cut(strings.ToLower(e.name), ":"); !slices.Contains(sections(), section) {
			continue
		}
		names = append(names, fmt.Sprintf("evertoken: setting %s (from %s) is unknown", dotted(e.name), e.from))
	}
	slices.Sort(names)
	for _, n := range names {
		r.faults = append(r.faults, errors.New(n))
	}
}

// identity returns the configuration of the server's core. Sessions without
// rememberMe keep the configured length when only tokens are made shorter.
func (s settings) identity() identity.Config {
	cfg := identity.Config{
		Key: s.key, Issuer: s.issuer, Audience: s.audience,
		AccessLifetime: s.expiration, SessionLifetime: s.expiration, RememberLifetime: s.inactive,
		Rotate: s.rotate, ReuseGrace: s.grace, DetectReuse: s.detectReuse, Sliding: s.sliding,
		Accounts: s.users, TwoFactor: s.twoFactor, VerifyEmail: s.verifyEmail,
		LoginLimit: s.loginLimit, PasswordIterations: s.iterations,
	}
	if s.older {
		cfg.Generation = identity.Older
	}
	return cfg
}
