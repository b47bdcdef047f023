// Package record is a session as it lies in a store: what is kept, in which
// form, and which of two records is the newer one.
package record

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unique"

	"github.com/evertoken/evertoken/storage"
)

// Format is the version of the layout that this release writes, and the newest
// that it reads.
const Format = 1

// A Record is what the store keeps of a session. Which of two is newer is
// decided by {SID, Gen, Att} and never by a time: clocks of hosts differ. It is
// a value; its methods return changed copies.
type Record struct {
	Format   int           `json:"evertoken"`
	SID      string        `json:"sid"` // random, one per sign-in
	Gen      uint64        `json:"gen"` // one more with each new set of tokens
	Att      uint64        `json:"att"` // one more with each other change
	Tokens   Tokens        `json:"tokens"`
	Lifetime time.Duration `json:"lifetime"` // of the access token, in nanoseconds; 0: unknown
	Cause    string        `json:"cause"`    // why this generation was made
	Note     Note          `json:"note"`
	Over     bool          `json:"over,omitempty"` // the issuer's verdict: the refresh token is dead
}

// Tokens is the only form in which the secrets of a session are encoded. Its
// fields are those of evertoken.Token, so that one converts into the other.
type Tokens struct {
	AccessToken   string            `json:"access"`
	TokenType     string            `json:"type"`
	RefreshToken  string            `json:"refresh,omitempty"`
	Scope         string            `json:"scope,omitempty"`
	IssuedAt      time.Time         `json:"issued"`
	Expiry        time.Time         `json:"expiry"`
	RefreshExpiry time.Time         `json:"refreshExpiry"`
	Extra         map[string]string `json:"extra,omitempty"`
}

// lifetime is zero if it is unknown.
func (t Tokens) lifetime() time.Duration {
	if t.Expiry.IsZero() {
		return 0
	}
	return max(0, t.Expiry.Sub(t.IssuedAt))
}

// A Note is written before each sending of a refresh token. It proves that the
// store takes writes, moves the version on, so that whoever else is about to
// send has to look again, and tells those who come later that the token may
// have been spent.
type Note struct {
	Owner  string    `json:"owner,omitempty"` // random, one per client; empty: nothing is open
	N      int       `json:"n"`               // how often this refresh token was sent; never falls within a gen
	Digest string    `json:"digest,omitempty"`
	Began  time.Time `json:"began,omitzero"`
	Cause  string    `json:"cause,omitempty"`
}

// Open says that an attempt was begun of which nobody knows the end.
func (n Note) Open() bool { return n.Owner != "" }

// First starts a session.
func First(t Tokens, cause string) Record {
	return Record{Format: Format, SID: rand.Text(), Gen: 1, Tokens: t, Lifetime: t.lifetime(), Cause: cause}
}

// Next carries the session on with new tokens.
func (r Record) Next(t Tokens, cause string) Record {
	r.Gen, r.Tokens, r.Lifetime, r.Cause, r.Note, r.Over = r.Gen+1, t, t.lifetime(), cause, Note{}, false
	return r
}

// Announced opens a note: owner is about to send the refresh token.
func (r Record) Announced(owner, cause string, now time.Time) Record {
	sum := sha256.Sum256([]byte(r.Tokens.RefreshToken))
	r.Att++
	r.Note = Note{Owner: owner, N: r.Note.N + 1, Digest: hex.EncodeToString(sum[:8]), Began: now, Cause: cause}
	return r
}

// Closed closes the note: nothing was spent, or the issuer has spoken.
func (r Record) Closed() Record {
	r.Att++
	r.Note = Note{N: r.Note.N}
	return r
}

// Ended marks the session as over. The refresh token stays: a holder that was
// frozen may still save the one that replaced it.
func (r Record) Ended() Record {
	r = r.Closed()
	r.Over = true
	return r
}

// Newer orders two records of one SID.
func (r Record) Newer(o Record) bool {
	if r.Gen != o.Gen {
		return r.Gen > o.Gen
	}
	return r.Att > o.Att
}

// Clamped allows for the clock of the host that wrote the record: its access
// token was asked for between the last look that found neither it nor the attempt
// that brought it, and now. A zero last is a look of which nothing is known.
func (r Record) Clamped(last, now time.Time) Record {
	if r.Lifetime <= 0 || r.Tokens.Expiry.IsZero() {
		return r
	}
	expiry := r.Tokens.Expiry
	if least := last.Add(r.Lifetime); !last.IsZero() && expiry.Before(least) {
		expiry = least
	}
	if most := now.Add(r.Lifetime); expiry.After(most) {
		expiry = most
	}
	r.Tokens.Expiry, r.Tokens.IssuedAt = expiry, expiry.Add(-r.Lifetime)
	return r
}

// Encode returns the bytes for the store.
func (r Record) Encode() ([]byte, error) { return json.Marshal(r) }

// Decode reads what the store holds under key. An error wraps
// [storage.ErrCorrupt], or says that a newer release wrote the record; it names
// what is wrong and never quotes.
func Decode(key string, data []byte) (Record, error) {
	var r Record
	err := json.Unmarshal(data, &r)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return Record{}, fmt.Errorf("evertoken: session %q: %w: not JSON from byte %d of %d", key, storage.ErrCorrupt, syntax.Offset, len(data))
	case r.Format > Format:
		return Record{}, fmt.Errorf("evertoken: session %q: its record has format %d, written by a newer release; this one reads up to %d", key, r.Format, Format)
	case err != nil || r.Format < 1 || r.SID == "" || r.Gen == 0:
		return Record{}, fmt.Errorf("evertoken: session %q: %w: JSON of %d bytes, but no session record", key, storage.ErrCorrupt, len(data))
	}
	// What many sessions have in common is kept once.
	for _, s := range []*string{&r.Cause, &r.Tokens.TokenType, &r.Tokens.Scope} {
		*s = unique.Make(*s).Value()
	}
	return r, nil
}
