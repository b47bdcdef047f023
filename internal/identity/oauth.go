package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// A Client is a confidential OAuth client: it proves itself with its secret, in
// an Authorization header or in the form (RFC 6749, section 2.3.1). Any other
// client is public, and only its client_id, if it sends one, binds its refresh
// tokens.
type Client struct {
	ID     string
	Secret string
}

// An oauthError is an error answer of RFC 6749, section 5.2.
type oauthError struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// Error leaves the description out: the code is what a decision needs.
func (e *oauthError) Error() string { return "evertoken: oauth: " + e.Code }

// oauthFault is the common case: every error but invalid_client is a 400.
func oauthFault(code, description string) *oauthError {
	return &oauthError{http.StatusBadRequest, code, description}
}

// An oauthGrant is an answer of RFC 6749, section 5.1.
type oauthGrant struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in,omitempty"` // in seconds; left out for less than one
	RefreshToken string `json:"refresh_token,omitempty"`
}

// oauthToken is the token endpoint. Passwords are under the sign-in limit;
// renewals are not.
func (s *Server) oauthToken(w http.ResponseWriter, r *http.Request) {
	form, client, err := s.oauthRequest(r)
	if err != nil {
		writeOAuth(w, r, nil, err)
		return
	}
	if form.Get("grant_type") == "password" && !s.admit(w, r) {
		return
	}
	g, err := s.oauthGrant(form, client, remote(r))
	if err != nil {
		writeOAuth(w, r, nil, err)
		return
	}
	writeOAuth(w, r, oauthGrant{g.access, "Bearer", int64(s.cfg.AccessLifetime / time.Second), g.refresh}, nil)
}

// oauthGrant tells the grants apart. The three here are those that need no
// browser; the others would be answered by a page, not by this core.
func (s *Server) oauthGrant(form url.Values, client oauthClient, addr string) (grant, error) {
	if form.Get("scope") != "" { // RFC 6749, section 3.3: this server defines none
		return grant{}, oauthFault("invalid_scope", "this server has no scopes")
	}
	switch form.Get("grant_type") {
	case "refresh_token":
		if form.Get("refresh_token") == "" {
			return grant{}, oauthFault("invalid_request", "refresh_token is missing")
		}
		return s.refresh(form.Get("refresh_token"), client.id, addr)
	case "password":
		return s.passwordGrant(form, client.id, addr)
	case "client_credentials":
		return s.clientGrant(client)
	case "":
		return grant{}, oauthFault("invalid_request", "grant_type is missing")
	}
	return grant{}, oauthFault("unsupported_grant_type", "")
}

// passwordGrant signs in (RFC 6749, section 4.3). What a person would have to
// do first, a program cannot: it is refused.
func (s *Server) passwordGrant(form url.Values, client, addr string) (grant, error) {
	if form.Get("username") == "" || form.Get("password") == "" {
		return grant{}, oauthFault("invalid_request", "username or password is missing")
	}
	a, err := s.authenticate(Unknown, form.Get("username"), form.Get("password"))
	switch {
	case errors.Is(err, errLocked):
		return grant{}, oauthFault("invalid_grant", "account is locked")
	case errors.Is(err, errCredentials):
		return grant{}, oauthFault("invalid_grant", "wrong username or password")
	case err != nil:
		return grant{}, err
	}
	s.mu.Lock()
	incomplete := a.Unverified || a.TwoFactor
	s.mu.Unlock()
	if incomplete {
		return grant{}, oauthFault("invalid_grant", "account needs a further step to sign in")
	}
	return s.begin(signIn{who: a.subject(), client: client, device: "OAuth", addr: addr, remember: true})
}

// clientGrant speaks for the client itself; there is no session and no refresh
// token (RFC 6749, section 4.4.3).
func (s *Server) clientGrant(client oauthClient) (grant, error) {
	if !client.proven {
		return grant{}, oauthFault("unauthorized_client", "a public client has no credentials")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	access, err := s.sign(subject{identityClaims: identityClaims{ID: client.id, Name: client.id}})
	return grant{access: access}, err
}

// oauthRevoke is the revocation endpoint (RFC 7009). A token that is unknown or
// dead is no error, and an access token is left to expire.
func (s *Server) oauthRevoke(w http.ResponseWriter, r *http.Request) {
	form, client, err := s.oauthRequest(r)
	switch {
	case err != nil:
		writeOAuth(w, r, nil, err)
		return
	case form.Get("token") == "":
		writeOAuth(w, r, nil, oauthFault("invalid_request", "token is missing"))
		return
	}
	s.end(form.Get("token"), client.id)
	w.WriteHeader(http.StatusOK)
}

// oauthRequest reads the form and finds out which client sent it. A parameter
// must not be sent twice (RFC 6749, section 3.2).
func (s *Server) oauthRequest(r *http.Request) (url.Values, oauthClient, error) {
	if err := r.ParseForm(); err != nil {
		return nil, oauthClient{}, oauthFault("invalid_request", "the form cannot be read")
	}
	for _, values := range r.PostForm {
		if len(values) > 1 {
			return nil, oauthClient{}, oauthFault("invalid_request", "a parameter is repeated")
		}
	}
	client, err := s.identify(r)
	return r.PostForm, client, err
}

// An oauthClient is who sent a request. Without a proof its id is only a claim.
type oauthClient struct {
	id     string
	proven bool
}

// identify returns the client of a request. One that has a secret must show it,
// and a secret that is shown must be right.
func (s *Server) identify(r *http.Request) (oauthClient, error) {
	id, secret, basic := r.BasicAuth()
	if basic { // both are form-encoded within the header (RFC 6749, section 2.3.1)
		var errID, errSecret error
		id, errID = url.QueryUnescape(id)
		secret, errSecret = url.QueryUnescape(secret)
		if errID != nil || errSecret != nil {
			return oauthClient{}, oauthFault("invalid_request", "client credentials are not form-encoded")
		}
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	for _, c := range s.cfg.Clients {
		if c.ID == id && sameSecret(c.Secret, secret) {
			return oauthClient{id, true}, nil
		} else if c.ID == id {
			return oauthClient{}, &oauthError{http.StatusUnauthorized, "invalid_client", ""}
		}
	}
	if basic || secret != "" {
		return oauthClient{}, &oauthError{http.StatusUnauthorized, "invalid_client", ""}
	}
	return oauthClient{id: id}, nil
}

// sameSecret compares digests, so that the time tells not even the length.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// writeOAuth writes the grant, or the error if there is one. Neither may be
// cached (RFC 6749, section 5.1).
func writeOAuth(w http.ResponseWriter, r *http.Request, answer any, err error) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	status := http.StatusOK
	if err != nil {
		fault := asOAuth(err)
		if _, _, basic := r.BasicAuth(); basic && fault.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Basic")
		}
		status, answer = fault.status, fault
	}
	writeJSON(w, status, "application/json;charset=UTF-8", answer)
}

// asOAuth returns err in the words of RFC 6749, section 5.2.
func asOAuth(err error) *oauthError {
	var fault *oauthError
	switch {
	case errors.As(err, &fault):
		return fault
	case errors.Is(err, errSession):
		return oauthFault("invalid_grant", "refresh token is not valid")
	}
	return &oauthError{http.StatusInternalServerError, "server_error", ""}
}
