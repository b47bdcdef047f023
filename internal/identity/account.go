package identity

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// An Account is somebody who can sign in.
type Account struct {
	ID       string // the nameidentifier claim; empty means a new GUID
	Email    string // required, unique whatever its case
	UserName string // empty means Email; unique whatever its case
	Password string // required; only its hash is kept

	Roles  []string            // the role claim; none means no such claim
	Claims map[string][]string // custom claims; each becomes an array

	TwoFactor  bool // signing in takes a code as well
	Unverified bool // the e-mail address must be confirmed before signing in
}

// An account is an Account in use. Server.mu guards it; ID, Email, UserName,
// Roles, Claims and password never change.
type account struct {
	Account
	password    password
	failures    int       // wrong passwords since the last right one
	lockedUntil time.Time // zero, or when the last lock-out ends
	codes       map[Purpose]code
}

// Five wrong passwords lock an account for five minutes, as in ASP.NET Identity.
const (
	maxFailures = 5
	lockOut     = 5 * time.Minute
)

var (
	errCredentials = errors.New("evertoken: wrong login or password")
	errLocked      = errors.New("evertoken: account is locked")
)

// A takenError names what another account has already.
type takenError struct{ field, value string }

// Error names the field and the value, which is no secret to whoever sent it.
func (e *takenError) Error() string {
	return fmt.Sprintf("evertoken: %s %q is already taken", e.field, e.value)
}

// AddAccount adds an account. It fails if Email or Password is empty, if
// another account has the Email or UserName, or if Claims has a name that
// access tokens use themselves.
func (s *Server) AddAccount(a Account) error {
	if a.Email == "" || a.Password == "" {
		return errors.New("evertoken: Email and Password must not be empty")
	}
	for name := range a.Claims {
		if slices.Contains(reservedClaims(), name) {
			return fmt.Errorf("evertoken: Claims has the reserved name %q", name)
		}
	}
	if a.ID == "" {
		a.ID = guid()
	}
	if a.UserName == "" {
		a.UserName = a.Email
	}
	hashed, err := hashPassword(a.Password, s.cfg.PasswordIterations)
	if err != nil {
		return err
	}
	a.Password = ""
	a.Roles, a.Claims = slices.Clone(a.Roles), maps.Clone(a.Claims)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.insert(&account{Account: a, password: hashed, codes: make(map[Purpose]code)})
}

// insert adds a with the uniqueness checked under the same lock. s.mu is held.
func (s *Server) insert(a *account) error {
	if s.find(UserName, a.UserName) != nil {
		return &takenError{"UserName", a.UserName}
	}
	if s.find(Email, a.Email) != nil {
		return &takenError{"Email", a.Email}
	}
	s.accounts = append(s.accounts, a)
	return nil
}

// A LoginType says how a login names its account, and what it proves it with.
type LoginType string

// The login types.
const (
	Unknown   LoginType = "Unknown"   // an e-mail address or else a user name, and a password
	Email     LoginType = "Email"     // an e-mail address and a password
	UserName  LoginType = "UserName"  // a user name and a password
	MagicLink LoginType = "MagicLink" // an e-mail address, and a code from it in the password's place
)

// find returns the account that login names, or nil. s.mu is held.
func (s *Server) find(by LoginType, login string) *account {
	named := func(field func(*account) string) *account {
		i := slices.IndexFunc(s.accounts, func(a *account) bool { return strings.EqualFold(field(a), login) })
		if i < 0 {
			return nil
		}
		return s.accounts[i]
	}
	var found *account
	if by != UserName {
		found = named(func(a *account) string { return a.Email })
	}
	if found == nil && by != Email && by != MagicLink {
		found = named(func(a *account) string { return a.UserName })
	}
	return found
}

// authenticate returns the account whose password this is. An unknown login
// costs as much as a wrong password and gets the same error.
func (s *Server) authenticate(by LoginType, login, plain string) (*account, error) {
	s.mu.Lock()
	a := s.find(by, login)
	locked := a != nil && s.cfg.Now().Before(a.lockedUntil)
	s.mu.Unlock()
	if locked {
		return nil, errLocked
	}
	expected := s.decoy
	if a != nil {
		expected = a.password
	}
	right := expected.matches(plain)
	if a == nil {
		return nil, errCredentials
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return a, a.record(right, s.cfg.Now())
}

// record counts the outcome of one password check. The lock-out is asked for
// again here, after the check: of any number of guesses made at the same time,
// only the first five learn anything.
func (a *account) record(right bool, now time.Time) error {
	switch {
	case now.Before(a.lockedUntil):
		return errLocked
	case right:
		a.failures = 0
		return nil
	}
	if a.failures++; a.failures == maxFailures {
		a.failures, a.lockedUntil = 0, now.Add(lockOut)
	}
	return errCredentials
}
