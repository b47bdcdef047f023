package identity

import (
	"errors"
	"slices"
	"time"
)

// errSession means that a refresh token is dead or was never alive.
var errSession = errors.New("evertoken: refresh token is not valid")

// A session is one device that is signed in: a family of refresh tokens of
// which one is current. Server.mu guards it.
type session struct {
	id       string // the device's id; not a secret
	who      subject
	client   string // the OAuth client it was granted to (RFC 6749, section 6); empty if to none
	device   string
	addr     string
	seen     time.Time
	lifetime time.Duration
	ends     time.Time
	remember bool // the cookie outlives the browser
	revoked  bool

	token   string    // current
	spent   []string  // the tokens before it, the newest last
	rotated time.Time // when the newest of spent was spent
}

// maxSpent bounds what a session remembers of its past. A replay of a token
// older than that is refused all the same, as one that never was.
const maxSpent = 4096

// A sign-in is what a new session begins with.
type signIn struct {
	who      subject
	client   string
	device   string
	addr     string
	remember bool
}

// A grant is what a client gets to see of a session: a copy, good without the lock.
type grant struct {
	access   string
	refresh  string
	ends     time.Time
	remember bool
}

// begin starts a session.
func (s *Server) begin(in signIn) (grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	now := s.cfg.Now()
	se := &session{
		id: guid(), who: in.who, client: in.client, device: in.device, addr: in.addr, seen: now,
		lifetime: s.cfg.SessionLifetime, remember: in.remember, token: guid(),
	}
	if in.remember {
		se.lifetime = s.cfg.RememberLifetime
	}
	se.ends = now.Add(se.lifetime)
	s.sessions[se.token] = se
	return s.grant(se)
}

// refresh renews an access token: the one place where a refresh token is spent.
func (s *Server) refresh(token, client, addr string) (grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Refreshes++
	now := s.cfg.Now()
	se := s.sessions[token]
	if se == nil || se.client != client {
		return grant{}, errSession
	}
	if !se.accepts(token, s.cfg.ReuseGrace, now) {
		s.counts.SpentTwice++
		se.revoked = se.revoked || s.cfg.DetectReuse
		return grant{}, errSession
	}
	if !se.live(now) {
		return grant{}, errSession
	}
	if s.rotate && token == se.token {
		s.rotateToken(se, now)
	}
	if s.cfg.Sliding {
		se.ends = now.Add(se.lifetime)
	}
	se.seen, se.addr = now, addr
	return s.grant(se)
}

// rotateToken spends the current token. s.mu is held.
func (s *Server) rotateToken(se *session, now time.Time) {
	if len(se.spent) == maxSpent {
		delete(s.sessions, se.spent[0])
		se.spent = slices.Delete(se.spent, 0, 1)
	}
	se.spent, se.rotated = append(se.spent, se.token), now
	se.token = guid()
	s.sessions[se.token] = se
}

// accepts reports whether token is current, or was spent last and within grace.
// Only the last one has a grace: whoever spent its successor has seen it.
func (se *session) accepts(token string, grace time.Duration, now time.Time) bool {
	if token == se.token {
		return true
	}
	last := len(se.spent) - 1
	return last >= 0 && token == se.spent[last] && now.Before(se.rotated.Add(grace))
}

// live reports whether se still grants anything. A session ends at the instant
// ends, not after it, as tokens do.
func (se *session) live(now time.Time) bool { return !se.revoked && now.Before(se.ends) }

// grant signs an access token for se. s.mu is held.
func (s *Server) grant(se *session) (grant, error) {
	access, err := s.sign(se.who)
	return grant{access: access, refresh: se.token, ends: se.ends, remember: se.remember}, err
}

// end revokes the session that accepts token from client, and reports whether
// there was a live one. Access tokens live on until they expire, as at LightNap.
func (s *Server) end(token, client string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	se := s.sessions[token]
	if se == nil || se.client != client || !se.live(now) || !se.accepts(token, s.cfg.ReuseGrace, now) {
		return false
	}
	se.revoked = true
	return true
}

// sweep forgets the sessions that have run out. Revoked ones stay until then,
// so that a replay of theirs is still seen for what it is. s.mu is held.
func (s *Server) sweep() {
	now := s.cfg.Now()
	for token, se := range s.sessions {
		if !now.Before(se.ends) {
			delete(s.sessions, token)
		}
	}
}

// live returns every live session once, in no order. s.mu is held.
func (s *Server) live() []*session {
	var found []*session
	now := s.cfg.Now()
	for token, se := range s.sessions {
		if token == se.token && se.live(now) {
			found = append(found, se)
		}
	}
	return found
}

// A device is a session as its owner sees it. The fields are LightNap's.
type device struct {
	ID        string    `json:"id"`
	LastSeen  time.Time `json:"lastSeen"`
	IPAddress string    `json:"ipAddress"`
	Details   string    `json:"details"`

	ends time.Time
}

// devices lists the live sessions of a user, the one that ends last first.
func (s *Server) devices(user string) []device {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []device{}
	for _, se := range s.live() {
		if se.who.ID == user {
			list = append(list, device{se.id, tick(se.seen), se.addr, se.device, se.ends})
		}
	}
	slices.SortFunc(list, func(a, b device) int { return b.ends.Compare(a.ends) })
	return list
}

// tick cuts t to what .NET can tell apart: 100 ns, in UTC.
func tick(t time.Time) time.Time { return t.UTC().Truncate(100 * time.Nanosecond) }

// endDevice revokes a session of user by its id, and reports whether there was one.
func (s *Server) endDevice(user, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, se := range s.live() {
		if se.id == id && se.who.ID == user {
			se.revoked = true
			return true
		}
	}
	return false
}
