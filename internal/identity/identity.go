// Package identity is the core of the matching server: accounts, refresh
// sessions and signed access tokens, all in memory, spoken to through two
// doors. One is the LightNap identity API, whose refresh token is a cookie; the
// other is an OAuth 2.0 token endpoint (RFC 6749).
//
// A [Server] is an [http.Handler]. It starts no goroutine, never sleeps and
// takes the time from [Config].Now, so that it runs under virtual time as well
// as behind a socket.
package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Generation is a release line of LightNap, as far as a client can tell one
// from the other.
type Generation int

const (
	// Current answers a dead cookie with an empty result.
	Current Generation = iota

	// Older answers a dead cookie with an error envelope. It always rotates
	// the refresh token and always slides the session's end.
	Older
)

// Config says what a [Server] serves. The zero value is a working server
// without accounts.
type Config struct {
	Key      string // signs access tokens (HS256); empty means a random one
	Issuer   string // the iss claim, checked on every request; empty means "evertoken"
	Audience string // the aud claim, checked on every request; empty means "evertoken"

	// AccessLifetime is how long an access token lives. Tokens count in whole
	// seconds, as LightNap's do, unless it has a fraction. Zero means 120 minutes.
	AccessLifetime time.Duration

	// SessionLifetime is how long a refresh session lives that was begun
	// without rememberMe. Zero means AccessLifetime.
	SessionLifetime time.Duration

	// RememberLifetime is how long a session lives that was begun with
	// rememberMe, or at the OAuth endpoint. Zero means 30 days.
	RememberLifetime time.Duration

	// Rotate replaces the refresh token at every renewal and spends the old one.
	Rotate bool

	// ReuseGrace is how long the token that was spent last still answers, with
	// the same new one as before: a client whose answer was lost may ask again.
	// Zero means not at all.
	ReuseGrace time.Duration

	// DetectReuse ends a session when one of its spent tokens comes back outside
	// the grace: somebody has a copy (RFC 9700, section 4.14.2).
	DetectReuse bool

	// Sliding begins the session's lifetime anew at every renewal.
	Sliding bool

	Generation Generation // zero means Current

	Accounts []Account
	Clients  []Client // confidential OAuth clients; others are public

	TwoFactor   bool // new accounts need a code at sign-in
	VerifyEmail bool // new accounts must confirm their e-mail address first

	// Mail is handed each code that a real server would send by e-mail. Nil
	// means that [Server.Code] alone knows them. It is called without any lock
	// held, by the goroutine that serves the request.
	Mail func(email string, purpose Purpose, code string)

	LoginLimit         int // sign-in requests a minute and remote address; 0 means no limit
	PasswordIterations int // cost of a password's hash (PBKDF2); 0 means 600,000

	Now func() time.Time // nil means time.Now
}

// withDefaults fills in every zero that means something else.
func (c Config) withDefaults() Config {
	if c.Key == "" {
		c.Key = rand.Text() + rand.Text()
	}
	if c.Issuer == "" {
		c.Issuer = "evertoken"
	}
	if c.Audience == "" {
		c.Audience = "evertoken"
	}
	if c.AccessLifetime == 0 {
		c.AccessLifetime = 120 * time.Minute
	}
	if c.SessionLifetime == 0 {
		c.SessionLifetime = c.AccessLifetime
	}
	if c.RememberLifetime == 0 {
		c.RememberLifetime = 30 * 24 * time.Hour
	}
	if c.PasswordIterations == 0 {
		c.PasswordIterations = 600_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Generation == Older {
		c.Rotate, c.Sliding = true, true
	}
	return c
}

// A Server holds the accounts and their sessions. All its methods are safe for
// concurrent use.
type Server struct {
	cfg    Config // never written after New
	mux    *http.ServeMux
	parser *jwt.Parser
	decoy  password // costs an unknown login what a wrong password costs

	// mu guards everything below, and what the accounts and sessions hold. It
	// is never held over a password's hash, a write to a client, or Mail.
	mu       sync.Mutex
	rotate   bool
	epoch    int // which signing key is in use; see ExpireAccessTokens
	failing  int // LightNap renewals still to be answered with UnexpectedError
	counts   Counts
	window   window
	accounts []*account
	sessions map[string]*session // by every refresh token a session has had
}

// New returns a server for cfg. The error joins everything that is wrong with
// its accounts and clients.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, rotate: cfg.Rotate, sessions: make(map[string]*session)}
	s.parser = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(),
		jwt.WithIssuer(cfg.Issuer), jwt.WithAudience(cfg.Audience), jwt.WithTimeFunc(cfg.Now))
	s.decoy = newDecoy(cfg.PasswordIterations)
	var faults []error
	for i, a := range cfg.Accounts {
		if err := s.AddAccount(a); err != nil {
			faults = append(faults, fmt.Errorf("evertoken: Accounts[%d]: %w", i, err))
		}
	}
	for i, c := range cfg.Clients {
		if c.ID == "" || c.Secret == "" {
			faults = append(faults, fmt.Errorf("evertoken: Clients[%d]: ID and Secret must not be empty", i))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	s.mux = s.routes()
	return s, nil
}

// routes lists the whole API. Paths under /api are in lower case: see ServeHTTP.
func (s *Server) routes() *http.ServeMux {
	const api = "/api/identity/"
	mux := http.NewServeMux()
	mux.Handle("POST "+api+"login", s.limited(action(s.logIn)))
	mux.Handle("POST "+api+"register", s.limited(action(s.register)))
	mux.Handle("POST "+api+"verify-code", s.limited(action(s.verifyCode)))
	mux.Handle("POST "+api+"verify-email", s.limited(action(s.verifyEmail)))
	mux.Handle("POST "+api+"request-magic-link", s.limited(action(s.requestMagicLink)))
	mux.Handle("GET "+api+"access-token", action(s.accessToken))
	mux.Handle("GET "+api+"logout", action(s.logOut))
	mux.Handle("GET "+api+"devices", s.Require(action(s.listDevices)))
	mux.Handle("DELETE "+api+"devices/{id}", s.Require(action(s.deleteDevice)))
	mux.Handle("GET /api/users/me/profile", s.Require(action(s.profile)))
	mux.HandleFunc("POST /oauth/token", s.oauthToken)
	mux.HandleFunc("POST /oauth/revoke", s.oauthRevoke)
	return mux
}

// ServeHTTP serves the LightNap identity API under /api/Identity/, the protected
// profile at /api/users/me/profile, and the OAuth endpoints /oauth/token and
// /oauth/revoke. As at a LightNap server, paths under /api are matched whatever
// their case.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(r.Context()) // a shallow copy: the caller's request is not ours to change
	if path := strings.ToLower(r.URL.Path); strings.HasPrefix(path, "/api/") {
		u := *r.URL
		u.Path, u.RawPath = path, ""
		r.URL = &u
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.mux.ServeHTTP(w, r)
}

// maxBody bounds a request: the longest that is legitimate has a few hundred bytes.
const maxBody = 64 << 10

// guid returns a random identifier in the form of ASP.NET's Guid.NewGuid (RFC
// 9562, version 4): 122 random bits, more than enough for a refresh token.
func guid() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, says crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
