package evertoken

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken/internal/flight"
	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

// A snapshot is all that a request needs, made once per token and never changed.
type snapshot struct {
	record.Record
	life   life
	header [1]string // the value of the Authorization header
	err    error     // why there is no session; nil if there is one
	past   *past     // nil: there is nothing to tell
}

// A past is what is known of how a snapshot came about, beside its record.
type past struct {
	replaces string    // the sid of the session that a Login takes the place of
	noteFrom time.Time // the last look that did not find somebody else's open note; zero: none
	noteSeen time.Time // the look that did
}

func newSnapshot(r record.Record, roundTrip time.Duration) *snapshot {
	s := &snapshot{Record: r}
	s.life = newLife(s.token(), roundTrip)
	if r.Tokens.AccessToken == "" {
		s.life.dead = s.life.issued // there is nothing that could be kept alive
	}
	s.setHeader(s.token().authorization())
	return s
}

// with carries a snapshot's life over to a record that holds the same access
// token.
func (s *snapshot) with(r record.Record) *snapshot {
	n := &snapshot{Record: r, life: s.life}
	n.setHeader(s.header[0])
	if replaces := s.before().replaces; replaces != "" {
		n.past = &past{replaces: replaces}
	}
	return n
}

// setHeader keeps the bytes of the access token once: those in the header.
func (s *snapshot) setHeader(h string) {
	s.header[0], s.Tokens.AccessToken = h, h[len(h)-len(s.Tokens.AccessToken):]
}

// bearer says that the header is all that a request needs.
func (s *snapshot) bearer() bool { return strings.HasPrefix(s.header[0], "Bearer ") }

func (s *snapshot) before() past {
	if s.past == nil {
		return past{}
	}
	return *s.past
}

func (s *snapshot) token() Token { return Token(s.Tokens) }

// setBack returns s as it would have been measured by a clock that was set back before.
func (s *snapshot) setBack(by time.Duration) *snapshot {
	n := *s
	t, l := &n.Tokens, &n.life
	for _, at := range []*time.Time{&t.IssuedAt, &t.Expiry, &t.RefreshExpiry, &l.issued, &l.expiry, &l.dead} {
		*at = earlier(*at, by)
	}
	if s.past != nil {
		n.past = &past{replaces: s.past.replaces, noteFrom: earlier(s.past.noteFrom, by), noteSeen: earlier(s.past.noteSeen, by)}
	}
	return &n
}

// earlier leaves a zero time as it is.
func earlier(t time.Time, by time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(-by)
}

// asleep says that memory does not hold the session, if there is one.
func (s *snapshot) asleep() bool { return s.err == errAsleep } //nolint:errorlint // never wrapped

// exists says that there is a session, even if it is over.
func (s *snapshot) exists() bool { return s.err == nil }

// active says that there is a session that can be renewed.
func (s *snapshot) active() bool { return s.err == nil && !s.Over }

// ending says why the session cannot be renewed; nil if it can.
func (s *snapshot) ending() error {
	if s.err == nil && s.Over {
		return fmt.Errorf("%w: the issuer has ended the session", ErrSignedOut)
	}
	return s.err
}

// alive says that the access token can be sent.
func (s *snapshot) alive(now time.Time) bool {
	return s.err == nil && s.Tokens.AccessToken != "" && !s.life.isDead(now)
}

// lingers says that the access token is in its last moments: not to be sent any more,
// but maybe still taken by a server.
func (s *snapshot) lingers(now time.Time) bool {
	return s.err == nil && s.Tokens.AccessToken != "" && now.Before(s.life.expiry.Add(s.life.doubt))
}

// sameToken says that two snapshots send the same access token of one sign-in.
func (s *snapshot) sameToken(o *snapshot) bool {
	return s.SID == o.SID && s.Tokens.AccessToken == o.Tokens.AccessToken
}

// errAsleep stands for a record that is not in memory.
var errAsleep = errors.New("evertoken: the session is not in memory")

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
// turn, and what is not atomic changes in a turn only. What is in memory
// therefore always follows from the last store step, and a load that was under
// way when SignIn wrote cannot bring the old session back. No turn lasts through
// an exchange with the issuer. All methods but do and settled need the turn.
type session struct {
	*common
	key string

	mu      sync.Mutex
	turn    chan struct{}            // holds one element while a step is under way
	known   atomic.Pointer[snapshot] // the newest
	served  atomic.Pointer[snapshot] // what requests use; falls behind known while that is not saved
	saved   atomic.Bool              // known is in the store
	joined  int32                    // how many have a turn or wait for one; without any there is none
	version storage.Version          // of the record that known was read from or written as
	looked  time.Time                // when the record was read last; zero: never
	dropped *dropped                 // what SignOut ended; nil: nothing
	damaged string                   // bytes that are no record, at version; kept aside when they are replaced
}

// A dropped session is over: its record is deleted wherever it turns up.
type dropped struct {
	sid    string
	unread bool      // what it was could not be read then
	found  *snapshot // what it was, once it has turned up; nil: nothing is new
}

// stepTimeout bounds one step with the store, and so the wait for a turn. A
// revocation may take as long.
const stepTimeout = 10 * time.Second

// do takes one bounded step in a turn of its own. Writes that must not be lost
// pass a context that outlives the client.
func (s *session) do(ctx context.Context, step func(context.Context) error) error {
	turn := s.join()
	defer s.part()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return &storeError{"wait", context.Cause(ctx)}
	}
	defer func() { <-turn }()
	return flight.Within(ctx, s.clock, stepTimeout, step)
}

// join is for who wants a turn: the first makes the channel, part of the last
// drops it, so that a session at rest has none.
func (s *session) join() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined == 0 {
		s.turn = make(chan struct{}, 1)
	}
	s.joined++
	return s.turn
}

func (s *session) part() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined--; s.joined == 0 {
		s.turn = nil
	}
}

// settled says that the newest known is in the store.
func (s *session) settled() bool { return s.saved.Load() }

// forget leaves no session in memory, and says why.
func (s *session) forget(why error) { s.clear(&snapshot{err: why}) }

// sleep leaves in memory which session it was, but nothing to use.
func (s *session) sleep(known *snapshot) {
	s.clear(&snapshot{Record: record.Record{SID: known.SID, Cause: known.Cause}, life: known.life, err: errAsleep})
}

func (s *session) clear(none *snapshot) {
	s.known.Store(none)
	s.serve(none)
	s.saved.Store(true)
}

// serve lets requests use n. After Close nothing is served any more, whatever
// was under way then.
func (s *session) serve(n *snapshot) {
	for {
		old := s.served.Load()
		if old != nil && old.err == ErrClosed || s.served.CompareAndSwap(old, n) { //nolint:errorlint // never wrapped here
			return
		}
	}
}

// adopt takes what is in the store for the truth.
func (s *session) adopt(n *snapshot, v storage.Version) {
	s.known.Store(n)
	s.serve(n)
	s.version, s.damaged = v, ""
	s.saved.Store(true)
}

// read loads the record and brings the older of store and memory up to the
// newer.
func (s *session) read(ctx context.Context) error {
	for {
		if err := s.load(ctx); err != nil {
			s.resort()
			return err
		}
		if err := s.write(ctx); !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
}

// put makes n, which came of from, the newest known and writes it. Where another
// session has taken the place of from meanwhile, or none, nothing changes.
func (s *session) put(ctx context.Context, from, n *snapshot) error {
	if k := s.known.Load(); k != from && (!k.exists() || k.SID != from.SID) {
		return nil
	}
	s.known.Store(n)
	s.saved.Store(false)
	return s.flush(ctx)
}

// flush brings known into the store, or what is newer there into memory.
func (s *session) flush(ctx context.Context) error {
	if err := s.write(ctx); !errors.Is(err, storage.ErrConflict) {
		return err
	}
	return s.read(ctx)
}

// setBack takes what was measured by the wall clock back with it. It returns what has
// become of one, if that is in use.
func (s *session) setBack(by time.Duration, one *snapshot) *snapshot {
	known, served := s.known.Load(), s.served.Load()
	s.looked = earlier(s.looked, by)
	n := known.setBack(by)
	s.known.Store(n)
	if served == known {
		s.serve(n)
	} else {
		s.serve(served.setBack(by))
	}
	if one == known {
		return n
	}
	return one
}

// write saves known, unless it is saved, and publishes it then.
func (s *session) write(ctx context.Context) error {
	if s.saved.Load() {
		return nil
	}
	known := s.known.Load()
	err := s.save(ctx, known.Record)
	if err != nil {
		s.resort()
		return err
	}
	s.saved.Store(true)
	s.serve(known)
	return nil
}

// resort publishes what could not be saved once there is nothing else left to
// serve: losing it now would cost as much as losing it later.
func (s *session) resort() {
	if !s.served.Load().alive(wall(s.clock)) {
		s.serve(s.known.Load())
	}
}

// swap replaces from by n, which holds the same tokens, if from is what is known
// and stored. Else what took its place counts, and the error is [errChanged].
func (s *session) swap(ctx context.Context, from, n *snapshot) error {
	if s.known.Load() != from {
		return errChanged
	}
	err := s.save(ctx, n.Record)
	if errors.Is(err, storage.ErrConflict) {
		if err := s.read(ctx); err != nil {
			return err
		}
		return errChanged
	}
	if err == nil {
		s.adopt(n, s.version)
	}
	return err
}

// start writes a new session over whatever the store holds. Nothing changes
// unless that succeeds.
func (s *session) start(ctx context.Context, n *snapshot) error {
	for {
		err := s.save(ctx, n.Record)
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

// end deletes the session and returns the newest of it. Memory is signed out
// whatever the store says; a record that could not be deleted will be as soon
// as it can be read. A session that somebody else starts meanwhile is theirs to
// keep.
func (s *session) end(ctx context.Context) (*snapshot, error) {
	last := s.known.Load()
	err := s.read(ctx)
	if k := s.known.Load(); k.exists() {
		last = k
	}
	s.forget(ErrSignedOut)
	if last.SID != "" { // else what an earlier SignOut dropped may still be there
		s.dropped = &dropped{sid: last.SID, unread: last.asleep()}
	}
	if errors.Is(err, storage.ErrCorrupt) {
		err = s.keepAside(ctx)
	}
	for err == nil && s.version != "" {
		if err = s.remove(ctx, s.version); !errors.Is(err, storage.ErrConflict) {
			break
		}
		var r record.Record
		if r, err = s.locate(ctx); r.SID != last.SID {
			break
		}
		last = last.with(r)
	}
	return last, err
}

// load reads the record and decides which of the two is newer; saved is false
// afterwards if it is the one in memory.
func (s *session) load(ctx context.Context) error {
	asked, last := wall(s.clock), s.looked // before the read: who is frozen after it wakes with an old record
	r, item, err := s.fetch(ctx)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		s.vanish()
		return nil
	case errors.Is(err, storage.ErrCorrupt):
		s.version, s.damaged = item.Version, string(item.Data)
		if !s.saved.Load() {
			return nil // known is the newest there is, and replaces it
		}
		if !s.known.Load().exists() {
			s.forget(err)
		}
		return err
	case err != nil:
		return err
	}
	s.looked = asked
	if d := s.dropped; d != nil && r.SID == d.sid {
		s.vanish()
		if d.unread {
			d.unread, d.found = false, newSnapshot(r, 0)
		}
		return s.remove(ctx, item.Version)
	}
	s.compare(r, item.Version, last)
	return nil
}

// found returns what a dropped session was, once.
func (s *session) found() (f *snapshot) {
	if s.dropped != nil {
		f, s.dropped.found = s.dropped.found, nil
	}
	return f
}

// vanish follows a record that is gone: somebody signed out. A session that has
// never been in the store is still to be created.
func (s *session) vanish() {
	if s.version == "" && !s.saved.Load() {
		return
	}
	s.version, s.damaged = "", ""
	if s.known.Load().err != ErrSignedOut { //nolint:errorlint // put knows by the snapshot whether somebody signed out
		s.forget(ErrSignedOut)
	}
}

// compare applies the order of records: of another sign-in the stored one
// counts, of the same one the newer. last is the look before this one.
func (s *session) compare(r record.Record, v storage.Version, last time.Time) {
	known, now := s.known.Load(), wall(s.clock)
	var n *snapshot
	switch {
	case known.before().replaces == r.SID || known.SID == r.SID && !r.Newer(known.Record):
		s.version, s.damaged = v, ""
		if known.SID == r.SID && !known.Newer(r) {
			s.saved.Store(true)
			s.serve(known)
			return
		}
		s.saved.Store(false)
		s.looked = time.Time{} // a store that fell back may show next what it had before
		return
	case !known.exists() || known.SID != r.SID:
		n = newSnapshot(r.Clamped(time.Time{}, now), 0)
	case r.Tokens.AccessToken == known.Tokens.AccessToken:
		n = known.with(r)
	case known.Note.Open(): // the token may be as old as the attempt that brought it
		n = newSnapshot(r.Clamped(known.before().noteFrom, now), 0)
	case !s.saved.Load(): // both came of one record, whose access token theirs may still have
		n = newSnapshot(r.Clamped(time.Time{}, now), 0)
	default:
		n = newSnapshot(r.Clamped(last, now), 0)
	}
	if r.Note.Open() {
		n.past = &past{noteFrom: last, noteSeen: now}
	}
	s.adopt(n, v)
}

// locate learns what the store holds, without taking it into memory.
func (s *session) locate(ctx context.Context) (record.Record, error) {
	r, item, err := s.fetch(ctx)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		s.version, s.damaged = "", ""
		return record.Record{}, nil
	case errors.Is(err, storage.ErrCorrupt):
		s.version, s.damaged = item.Version, string(item.Data)
		return record.Record{}, nil
	case err == nil:
		s.version, s.damaged = item.Version, ""
	}
	return r, err
}

// fetch reads what the store holds. Both the store, if it seals, and we may find
// that it is damaged; the bytes are there beside that error.
func (s *session) fetch(ctx context.Context) (record.Record, storage.Item, error) {
	item, err := s.store.Load(ctx, s.key)
	if err != nil {
		return record.Record{}, item, &storeError{"load", err}
	}
	r, err := record.Decode(s.key, item.Data)
	return r, item, err
}

// save writes one record over the version that is known. Damaged bytes are
// copied to a key of their own before, for a person to look at.
func (s *session) save(ctx context.Context, r record.Record) error {
	data, err := r.Encode()
	if err == nil && s.damaged != "" {
		err = s.keepAside(ctx)
	}
	var v storage.Version
	if err == nil {
		v, err = s.store.Save(ctx, s.key, data, s.version)
	}
	if err != nil {
		return &storeError{"save", err}
	}
	s.version, s.damaged = v, ""
	return nil
}

// corrupt is what the key for damaged bytes ends in.
const corrupt = ".corrupt"

func (s *session) keepAside(ctx context.Context) error {
	aside := s.key + corrupt
	item, err := s.store.Load(ctx, aside) // without an item its version is empty, and Save creates
	if err != nil && !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	_, err = s.store.Save(ctx, aside, []byte(s.damaged), item.Version)
	return err
}

// remove deletes the record at v.
func (s *session) remove(ctx context.Context, v storage.Version) error {
	if err := s.store.Delete(ctx, s.key, v); err != nil {
		return &storeError{"delete", err}
	}
	s.version, s.damaged = "", ""
	return nil
}
