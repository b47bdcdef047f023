package evertoken

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken/storage"
)

// recordFormat is the version of the stored record's layout.
const recordFormat = 1

// A record is what the store keeps of a session. Which of two is newer is
// decided by {sid, gen, att} and never by a time: clocks of hosts differ.
type record struct {
	Format   int           `json:"evertoken"`
	SID      string        `json:"sid"` // random, one per sign-in
	Gen      uint64        `json:"gen"` // one more with each new set of tokens
	Att      uint64        `json:"att"` // one more with each attempt
	Tokens   tokens        `json:"tokens"`
	Lifetime time.Duration `json:"lifetime"` // of the access token, in nanoseconds; 0: unknown
	Cause    string        `json:"cause"`    // why this generation was made
	Note     note          `json:"note"`
	Over     bool          `json:"over,omitempty"` // the issuer's verdict: the refresh token is dead
}

// tokens is the only form in which a Token's secrets are encoded.
type tokens struct {
	AccessToken   string            `json:"access"`
	TokenType     string            `json:"type"`
	RefreshToken  string            `json:"refresh,omitempty"`
	Scope         string            `json:"scope,omitempty"`
	IssuedAt      time.Time         `json:"issued"`
	Expiry        time.Time         `json:"expiry"`
	RefreshExpiry time.Time         `json:"refreshExpiry"`
	Extra         map[string]string `json:"extra,omitempty"`
}

// A note is written before each sending of a refresh token. It proves that the
// store takes writes, moves the version on, so that whoever else is about to
// send has to look again, and tells those who come later that the token may
// have been spent.
type note struct {
	Owner  string    `json:"owner,omitempty"` // random, one per Client; empty: nothing is open
	N      int       `json:"n"`               // how often this refresh token was sent; never falls within a gen
	Digest string    `json:"digest,omitempty"`
	Began  time.Time `json:"began,omitzero"`
	Cause  string    `json:"cause,omitempty"`
}

func (n note) open() bool { return n.Owner != "" }

func (r *record) token() Token { return Token(r.Tokens) }

// newerThan orders two records of one sid.
func (r *record) newerThan(o *record) bool {
	if r.Gen != o.Gen {
		return r.Gen > o.Gen
	}
	return r.Att > o.Att
}

// firstRecord starts a session; nextRecord carries it on with a new token.
func firstRecord(t Token) record {
	return record{Format: recordFormat, SID: rand.Text(), Gen: 1, Tokens: tokens(t), Lifetime: lifetimeOf(t), Cause: causeSignIn}
}

func (r *record) next(t Token, cause string) record {
	n := *r
	n.Gen, n.Tokens, n.Lifetime, n.Cause, n.Note, n.Over = r.Gen+1, tokens(t), lifetimeOf(t), cause, note{}, false
	return n
}

func lifetimeOf(t Token) time.Duration { return newLife(t, 0).lifetime() }

func (r *record) encode() ([]byte, error) { return json.Marshal(r) }

// decode reads a stored record. Its errors name what is wrong and never quote.
func decode(key string, data []byte) (record, error) {
	var r record
	err := json.Unmarshal(data, &r)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return record{}, fmt.Errorf("evertoken: session %q: %w: not JSON from byte %d of %d", key, storage.ErrCorrupt, syntax.Offset, len(data))
	case r.Format > recordFormat:
		return record{}, fmt.Errorf("evertoken: session %q: its record has format %d, written by a newer release; this one reads up to %d", key, r.Format, recordFormat)
	case err != nil || r.Format < 1 || r.SID == "" || r.Gen == 0:
		return record{}, fmt.Errorf("evertoken: session %q: %w: JSON of %d bytes, but no session record", key, storage.ErrCorrupt, len(data))
	}
	return r, nil
}

// A snapshot is all that a request needs, made once per token and never changed.
type snapshot struct {
	record
	life   life
	header []string // the value of the Authorization header
	err    error    // why there is no session; nil if there is one
}

func newSnapshot(r record, roundTrip time.Duration) *snapshot {
	scheme := r.Tokens.TokenType
	if strings.EqualFold(scheme, "Bearer") {
		scheme = "Bearer" // RFC 6749, section 7.1: token types are case insensitive; not every server knows
	}
	return &snapshot{record: r, life: newLife(r.token(), roundTrip), header: []string{scheme + " " + r.Tokens.AccessToken}}
}

// with carries a snapshot's life over to a record that holds the same tokens.
func (s *snapshot) with(r record) *snapshot {
	return &snapshot{record: r, life: s.life, header: s.header}
}

// exists says that there is a session, even if it is over.
func (s *snapshot) exists() bool { return s.err == nil }

// alive says that the access token can be sent.
func (s *snapshot) alive(now time.Time) bool {
	return s.err == nil && s.Tokens.AccessToken != "" && !s.life.isDead(now)
}

// sameToken says that two snapshots send the same access token of one sign-in.
func (s *snapshot) sameToken(o *snapshot) bool {
	return s.SID == o.SID && s.Tokens.AccessToken == o.Tokens.AccessToken
}

// A storeError is a store that could not do what was asked of it.
type storeError struct {
	step string // "load", "save", "delete" or "lease"
	err  error
}

func (e *storeError) Error() string { return fmt.Sprintf("evertoken: store: %s: %v", e.step, e.err) }
func (e *storeError) Unwrap() error { return e.err }

// errChanged says that somebody else wrote the record first.
var errChanged = errors.New("evertoken: store: the record was changed meanwhile")

// A session is the client's side of the record in the store.
//
// Steps that touch the store are taken one at a time: whoever does so holds the
// turn, and known, version and the fields below change in a turn only.
// What is in memory therefore always follows from the last store step, and a
// load that was under way when SignIn wrote cannot bring the old session back.
// No turn lasts through an exchange with the issuer. What is atomic may be read
// at any time.
type session struct {
	store storage.Store
	key   string
	clock Clock

	turn    chan struct{} // holds one element while a step is under way
	known   atomic.Pointer[snapshot]
	served  atomic.Pointer[snapshot] // what requests use; falls behind known while that is not saved
	version storage.Version          // of the record that known was read from or written as
	saved   atomic.Bool              // known is in the store
	dropped string                   // the sid that SignOut ended; its record is deleted wherever it turns up
	quiet   atomic.Int64             // when the record was last seen without an open note, in ns; 0: never
	damaged []byte                   // bytes that are no record, at version; kept aside when they are replaced
}

func newSession(cfg *Config) *session {
	s := &session{store: cfg.Store, key: cfg.Session, clock: cfg.Clock, turn: make(chan struct{}, 1)}
	s.forget(ErrSignedOut)
	return s
}

// do takes one step in a turn of its own.
func (s *session) do(ctx context.Context, step func(context.Context) error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return &storeError{"wait", context.Cause(ctx)}
	}
	defer func() { <-s.turn }()
	return step(ctx)
}

// forget leaves no session in memory, and says why. In a turn.
func (s *session) forget(why error) {
	none := &snapshot{err: why}
	s.known.Store(none)
	s.served.Store(none)
	s.saved.Store(true)
}

// settled says that the newest known is in the store.
func (s *session) settled() bool { return s.saved.Load() }

// adopt takes what is in the store for the truth. In a turn.
func (s *session) adopt(n *snapshot, v storage.Version) {
	s.known.Store(n)
	s.served.Store(n)
	s.version, s.damaged = v, nil
	s.saved.Store(true)
}

// read loads the record and brings the older of store and memory up to the
// newer. In a turn.
func (s *session) read(ctx context.Context) error {
	for {
		if err := s.load(ctx); err != nil {
			return err
		}
		if err := s.write(ctx); !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
}

// put makes n the newest known and writes it; until that has succeeded only
// known changes. In a turn.
func (s *session) put(ctx context.Context, n *snapshot) error {
	s.known.Store(n)
	s.saved.Store(false)
	if err := s.write(ctx); !errors.Is(err, storage.ErrConflict) {
		return err
	}
	return s.read(ctx)
}

// write saves known, unless it is saved, and publishes it then. If that fails
// it is published all the same once there is nothing else left to serve: losing
// it would cost as much as losing it later. In a turn.
func (s *session) write(ctx context.Context) error {
	if s.saved.Load() {
		return nil
	}
	known := s.known.Load()
	err := s.save(ctx, &known.record)
	if err == nil {
		s.saved.Store(true)
	}
	if err == nil || !s.served.Load().alive(wall(s.clock)) {
		s.served.Store(known)
	}
	return err
}

// save writes one record over the version that is known. In a turn.
func (s *session) save(ctx context.Context, r *record) error {
	data, err := r.encode()
	if err != nil {
		return &storeError{"save", err}
	}
	if s.damaged != nil {
		if err := s.keepAside(ctx); err != nil {
			return err
		}
	}
	v, err := s.store.Save(ctx, s.key, data, s.version)
	if err != nil {
		return &storeError{"save", err}
	}
	s.version, s.damaged = v, nil
	return nil
}

// keepAside copies damaged bytes to a key of their own before they are
// overwritten, for a person to look at. In a turn.
func (s *session) keepAside(ctx context.Context) error {
	aside := s.key + ".corrupt"
	var prev storage.Version
	switch item, err := s.store.Load(ctx, aside); {
	case err == nil:
		prev = item.Version
	case !errors.Is(err, storage.ErrNotFound):
		return &storeError{"load", err}
	}
	if _, err := s.store.Save(ctx, aside, s.damaged, prev); err != nil {
		return &storeError{"save", err}
	}
	return nil
}

// load reads the record and decides which of the two is newer; saved is false
// afterwards if it is the one in memory. In a turn.
func (s *session) load(ctx context.Context) error {
	item, err := s.store.Load(ctx, s.key)
	if errors.Is(err, storage.ErrNotFound) {
		s.vanish()
		return nil
	}
	if err != nil {
		return &storeError{"load", err}
	}
	r, err := decode(s.key, item.Data)
	if err != nil {
		if errors.Is(err, storage.ErrCorrupt) && !s.known.Load().exists() {
			s.version, s.damaged = item.Version, item.Data
			s.forget(err)
		}
		return err
	}
	if r.SID == s.dropped {
		s.vanish()
		return s.remove(ctx, item.Version)
	}
	s.compare(r, item.Version)
	return nil
}

// vanish follows a record that is gone: somebody signed out. A session that has
// never been in the store is still to be created. In a turn.
func (s *session) vanish() {
	if s.version == "" && !s.saved.Load() {
		return
	}
	s.version, s.damaged = "", nil
	s.forget(ErrSignedOut)
}

// compare applies the order of records: of another sign-in the stored one
// counts, of the same one the newer. In a turn.
func (s *session) compare(r record, v storage.Version) {
	known, now := s.known.Load(), wall(s.clock)
	quiet := s.lastQuiet()
	if !r.Note.open() {
		s.quiet.Store(now.UnixNano())
	}
	switch {
	case !known.exists() || r.SID != known.SID:
		s.adopt(newSnapshot(r.clamped(time.Time{}, now), 0), v)
	case r.newerThan(&known.record) && r.Gen == known.Gen:
		s.adopt(known.with(r), v)
	case r.newerThan(&known.record):
		s.adopt(newSnapshot(r.clamped(quiet, now), 0), v)
	default:
		s.version, s.damaged = v, nil
		s.saved.Store(!known.newerThan(&r))
		if s.saved.Load() {
			s.served.Store(known)
		}
	}
}

// lastQuiet is when the record was last seen without an open note; zero: never.
func (s *session) lastQuiet() time.Time {
	if ns := s.quiet.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// clamped allows for the other host's clock: a token that was not there when
// the record was last seen quiet, and is there now, was made in between.
func (r record) clamped(quiet, now time.Time) record {
	if r.Lifetime <= 0 || r.Tokens.Expiry.IsZero() {
		return r
	}
	expiry := earliest(r.Tokens.Expiry, now.Add(r.Lifetime))
	if !quiet.IsZero() {
		expiry = latest(expiry, quiet.Add(r.Lifetime))
	}
	r.Tokens.Expiry = expiry
	r.Tokens.IssuedAt = expiry.Add(-r.Lifetime)
	return r
}

// announce writes the note of an attempt. Without it nothing is sent. A record
// that somebody else has changed meanwhile is [errChanged]. In a turn.
func (s *session) announce(ctx context.Context, n note) error {
	known := s.known.Load()
	r := known.record
	n.N, n.Digest = r.Note.N+1, digest(r.Tokens.RefreshToken)
	r.Att, r.Note = r.Att+1, n
	err := s.save(ctx, &r)
	if errors.Is(err, storage.ErrConflict) {
		return errChanged
	}
	if err == nil {
		s.adopt(known.with(r), s.version)
	}
	return err
}

// retract closes the note: nothing was spent. n stays, it never falls. In a turn.
func (s *session) retract(ctx context.Context) error {
	return s.amend(ctx, func(r *record) { r.Note = note{N: r.Note.N} })
}

// condemn marks the session as ended by the issuer. The refresh token stays: a
// holder that was frozen may still save the one that replaced it. In a turn.
func (s *session) condemn(ctx context.Context) error {
	return s.amend(ctx, func(r *record) { r.Over, r.Note = true, note{N: r.Note.N} })
}

// amend changes the record, unless somebody else has: then theirs counts. In a
// turn.
func (s *session) amend(ctx context.Context, change func(*record)) error {
	known := s.known.Load()
	r := known.record
	r.Att++
	change(&r)
	err := s.save(ctx, &r)
	if errors.Is(err, storage.ErrConflict) {
		return s.read(ctx)
	}
	if err == nil {
		s.adopt(known.with(r), s.version)
	}
	return err
}

// start writes a new session over whatever the store holds. Nothing changes
// unless that succeeds. In a turn.
func (s *session) start(ctx context.Context, n *snapshot) error {
	for {
		err := s.save(ctx, &n.record)
		if err == nil {
			s.adopt(n, s.version)
			return nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return err
		}
		if _, err := s.locate(ctx); err != nil {
			return err
		}
	}
}

// begin is start for a Login, which gives way to a session that somebody else
// started meanwhile. What Login brought is served even if it cannot be saved. In
// a turn.
func (s *session) begin(ctx context.Context, n *snapshot) error {
	err := s.save(ctx, &n.record)
	if err == nil {
		s.adopt(n, s.version)
		return nil
	}
	if errors.Is(err, storage.ErrConflict) {
		return s.read(ctx)
	}
	s.known.Store(n)
	s.saved.Store(false)
	s.served.Store(n)
	return err
}

// locate learns what the store holds, without taking it into memory. In a turn.
func (s *session) locate(ctx context.Context) (record, error) {
	item, err := s.store.Load(ctx, s.key)
	if errors.Is(err, storage.ErrNotFound) {
		s.version, s.damaged = "", nil
		return record{}, nil
	}
	if err != nil {
		return record{}, &storeError{"load", err}
	}
	s.version, s.damaged = item.Version, nil
	r, err := decode(s.key, item.Data)
	if errors.Is(err, storage.ErrCorrupt) {
		s.damaged, err = item.Data, nil
	}
	return r, err
}

// end deletes the session and returns its newest token. Memory is signed out
// whatever the store says; a record that could not be deleted will be as soon
// as it can be read. A session that somebody else starts meanwhile is theirs to
// keep. In a turn.
func (s *session) end(ctx context.Context) (Token, error) {
	last := s.known.Load().record
	err := s.read(ctx)
	if k := s.known.Load(); k.exists() {
		last = k.record
	}
	s.forget(ErrSignedOut)
	s.dropped = last.SID
	for err == nil && s.version != "" {
		if err = s.remove(ctx, s.version); !errors.Is(err, storage.ErrConflict) {
			break
		}
		var r record
		if r, err = s.locate(ctx); r.SID != last.SID {
			break
		}
		last = r
	}
	return last.token(), err
}

// remove deletes the record at v. In a turn.
func (s *session) remove(ctx context.Context, v storage.Version) error {
	if err := s.store.Delete(ctx, s.key, v); err != nil {
		return &storeError{"delete", err}
	}
	s.version, s.damaged = "", nil
	return nil
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:8])
}
