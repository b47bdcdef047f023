package identity

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
)

// A password is a salted PBKDF2 hash (RFC 8018). It is immutable.
type password struct {
	salt, hash []byte
	iterations int
}

// hashPassword draws a salt for each password, so that equal ones differ. The cost
// is kept with the hash: it may be raised for new passwords and old ones still match.
func hashPassword(plain string, iterations int) (password, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	hash, err := pbkdf2.Key(sha256.New, plain, salt, iterations, sha256.Size)
	if err != nil {
		return password{}, fmt.Errorf("evertoken: hash a password: %w", err)
	}
	return password{salt: salt, hash: hash, iterations: iterations}, nil
}

// newDecoy returns a password that nothing matches, at the cost of any other.
func newDecoy(iterations int) password {
	p := password{salt: make([]byte, 16), hash: make([]byte, sha256.Size), iterations: iterations}
	rand.Read(p.salt)
	rand.Read(p.hash)
	return p
}

// matches reports whether plain is the password. It takes as long for a wrong
// one as for the right one.
func (p password) matches(plain string) bool {
	hash, err := pbkdf2.Key(sha256.New, plain, p.salt, p.iterations, len(p.hash))
	return err == nil && subtle.ConstantTimeCompare(hash, p.hash) == 1
}

// weaknesses lists the rules of ASP.NET Identity that plain breaks, in its
// words and order.
func weaknesses(plain string) []string {
	const (
		lower  = "abcdefghijklmnopqrstuvwxyz"
		upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		digits = "0123456789"
	)
	var found []string
	if len(plain) < 6 {
		found = append(found, "Passwords must be at least 6 characters.")
	}
	if strings.Trim(plain, lower+upper+digits) == "" {
		found = append(found, "Passwords must have at least one non alphanumeric character.")
	}
	if !strings.ContainsAny(plain, digits) {
		found = append(found, "Passwords must have at least one digit ('0'-'9').")
	}
	if !strings.ContainsAny(plain, lower) {
		found = append(found, "Passwords must have at least one lowercase ('a'-'z').")
	}
	if !strings.ContainsAny(plain, upper) {
		found = append(found, "Passwords must have at least one uppercase ('A'-'Z').")
	}
	return found
}
