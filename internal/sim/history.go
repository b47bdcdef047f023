package sim

import (
	"fmt"
	"time"
)

// A family is one session at the issuer: the refresh tokens that came of one
// sign-in.
type family struct {
	n      int
	ended  string      // by whose will it is over; empty: nobody's
	lost   bool        // it is over, and not by anybody's will
	grants []time.Time // renewals of the last hour
	told   bool        // the issuer's word that it is over has reached a client
}

// A token is one refresh token.
type token struct {
	family  *family
	n       int
	born    time.Time     // when its sender announced the exchange that brought it
	trip    time.Duration // how long that exchange took
	prev    *token        // what it came of; nil: a sign-in
	next    *token        // what it was exchanged for; nil: it is the current one
	spentBy *attempt      // the exchange that did so
	saved   time.Time     // when a record with it was stored first; zero: never
	unsure  bool          // when it was asked for is not known: there was no note
	whole   bool          // that is known, and its access token was stored too
	twin    bool          // its access token has the bytes of another one
	sends   []*attempt
}

func (t *token) String() string { return fmt.Sprintf("token %d.%d", t.family.n, t.n) }

// successorSaved is when the first of the tokens that came of t was stored.
func (t *token) successorSaved() time.Time {
	for n := t.next; n != nil; n = n.next {
		if !n.saved.IsZero() {
			return n.saved
		}
	}
	return time.Time{}
}

// settle notes that a process has closed its note: it knows that what it has sent
// so far was not processed, or that the connection was closed.
func (t *token) settle(p *process) {
	for _, a := range t.sends {
		a.settled = a.settled || a.p == p
	}
}

// An attempt is one request with a refresh token on the wire.
type attempt struct {
	link        *link
	p           *process
	token       *token
	renewal     bool      // and not a revocation
	noted       time.Time // when its note was stored, or the dialling began
	unannounced bool      // there was no note
	at          time.Time
	asleep      time.Duration // what its host's monotonic clock had lost by then
	ended       time.Time     // when the client was done with it: answered, cut off, given up or killed
	gaveUp      bool          // the client hung up by itself
	killed      bool          // the client died first
	granted     time.Time     // when the issuer processed it with success
	refused     bool
	arrived     time.Time // when the client had read the answer
	got         *token
	unproven    bool // it ended without an answer that explains it
	settled     bool // its process has closed a note since
}

// An access is what is known of one access token.
type access struct {
	refresh *token
	ends    time.Time
	shared  bool      // another refresh token brought the same
	saved   time.Time // when it was stored first; zero: never
	hidden  bool      // at that time no note of its exchange stood in the record
}

func (a *access) save(hidden bool) {
	if a.saved.IsZero() {
		a.saved, a.hidden = time.Now(), a.hidden || hidden
	}
}

// stored is what the checker reads of a record. The names are those of the
// product's record format, which is stable.
type stored struct {
	SID    string
	Gen    uint64
	Att    uint64
	Over   bool
	Cause  string
	Tokens struct {
		Access  string
		Refresh string
	}
	Note struct {
		Owner  string
		Digest string
	}
}

// before says that r is older than o, of the same sign-in.
func (r stored) before(o stored) bool {
	return r.SID == o.SID && (r.Gen < o.Gen || r.Gen == o.Gen && r.Att < o.Att)
}
