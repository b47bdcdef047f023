package identity

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"math/big"
	"time"
)

// A Purpose says what a code sent by e-mail is good for.
type Purpose string

// The purposes of a code. A two-factor code has six digits and lives five
// minutes; the others are GUIDs and live a day.
const (
	ForTwoFactor   Purpose = "two-factor"
	ForMagicLink   Purpose = "magic link"
	ForVerifyEmail Purpose = "e-mail verification"
)

// A code is good once, until it ends, and for as many guesses as a password:
// six digits would not stand up to more.
type code struct {
	value    string
	ends     time.Time
	failures int
}

// newCode returns a fresh code. The last one for the same purpose is void.
// s.mu is held.
func (s *Server) newCode(a *account, p Purpose) string {
	c := code{value: guid(), ends: s.cfg.Now().Add(24 * time.Hour)}
	if p == ForTwoFactor {
		n, _ := rand.Int(rand.Reader, big.NewInt(1_000_000)) // crypto/rand.Reader never fails
		c.value, c.ends = fmt.Sprintf("%06d", n), s.cfg.Now().Add(5*time.Minute)
	}
	a.codes[p] = c
	return c.value
}

// useCode reports whether value is a's code for p, and spends it. s.mu is held.
func (s *Server) useCode(a *account, p Purpose, value string) bool {
	c, ok := a.codes[p]
	if !ok || !s.cfg.Now().Before(c.ends) {
		return false
	}
	if subtle.ConstantTimeCompare([]byte(c.value), []byte(value)) == 1 {
		delete(a.codes, p)
		return true
	}
	if c.failures++; c.failures == maxFailures {
		delete(a.codes, p)
		return false
	}
	a.codes[p] = c
	return false
}

// mail hands a code to Config.Mail. s.mu is not held.
func (s *Server) mail(email string, p Purpose, value string) {
	if s.cfg.Mail != nil {
		s.cfg.Mail(email, p, value)
	}
}

// Code returns the code that was last sent to the account of login (an e-mail
// address or user name) for purpose, or "" if there is none to use.
func (s *Server) Code(login string, purpose Purpose) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(Unknown, login)
	if a == nil || !s.cfg.Now().Before(a.codes[purpose].ends) {
		return ""
	}
	return a.codes[purpose].value
}
