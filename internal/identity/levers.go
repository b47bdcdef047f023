package identity

// Counts is what a server has seen since it was made.
type Counts struct {
	Refreshes   int // attempts to renew, at either door, granted or not
	SpentTwice  int // attempts with a refresh token that was spent before, outside the grace
	ExpiredSent int // requests to a protected endpoint with an access token past its exp
}

// Counts returns the present counts, all of one instant.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Sessions returns how many sessions are live.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live())
}

// RevokeAll ends every session. Access tokens live on until they expire; see
// [Server.ExpireAccessTokens].
func (s *Server) RevokeAll() { s.revoke(func(*session) bool { return true }) }

// RevokeUser ends every session of the account of login, an e-mail address or
// user name, and returns how many there were.
func (s *Server) RevokeUser(login string) int {
	s.mu.Lock()
	a := s.find(Unknown, login)
	s.mu.Unlock()
	if a == nil {
		return 0
	}
	return s.revoke(func(se *session) bool { return se.who.ID == a.ID })
}

// revoke ends the live sessions that match, and returns how many they were.
func (s *Server) revoke(match func(*session) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, se := range s.live() {
		if match(se) {
			se.revoked = true
			n++
		}
	}
	return n
}

// ExpireAccessTokens makes the server refuse every access token that it has
// issued so far, with 401. It changes the signing key, so that tokens issued
// within the same second fall on the right side of the line. Such tokens do not
// count as ExpiredSent: nothing in them tells a client that they are dead.
func (s *Server) ExpireAccessTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
}

// SetRotate switches rotation of refresh tokens, for sessions present and future.
func (s *Server) SetRotate(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotate = on
}

// FailRefreshes makes the next n renewals of the LightNap API answer with an
// UnexpectedError envelope before they have read the cookie: nothing is spent
// and nothing is counted.
func (s *Server) FailRefreshes(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = n
}

// failRefresh reports whether this renewal is one of those.
func (s *Server) failRefresh() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing == 0 {
		return false
	}
	s.failing--
	return true
}
