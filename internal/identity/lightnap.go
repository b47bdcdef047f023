package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// UnmarshalJSON takes a name in any case, as .NET does for an enum, and null.
func (t *LoginType) UnmarshalJSON(data []byte) error {
	var name *string
	if err := json.Unmarshal(data, &name); err != nil {
		return err
	}
	if name == nil {
		return nil
	}
	for _, known := range []LoginType{Unknown, Email, UserName, MagicLink} {
		if strings.EqualFold(*name, string(known)) {
			*t = known
			return nil
		}
	}
	return errors.New("evertoken: unknown login type")
}

// LightNap's limits on what a user may type.
const (
	maxLogin    = 256
	maxPassword = 256
	maxUserName = 32
	maxDetails  = 512
	maxCode     = 512
)

// A loginRequest signs in. With type MagicLink the password is the code that
// request-magic-link had sent.
type loginRequest struct {
	Type          LoginType
	Login         string
	Password      string
	RememberMe    bool
	DeviceDetails string
}

// check does not look at Type: its names were checked as it was read.
func (q *loginRequest) check(f faults) {
	f.text("Login", q.Login, maxLogin)
	f.text("Password", q.Password, maxPassword)
	f.text("DeviceDetails", q.DeviceDetails, maxDetails)
}

// A loginResult says what a correct login has led to.
type loginResult struct {
	Type        string `json:"type"`
	AccessToken string `json:"accessToken,omitempty"`
}

// logIn answers 200 whatever the password: a wrong one is an envelope of type
// Error, and a client that looks at the status alone takes it for a success.
func (s *Server) logIn(w http.ResponseWriter, r *http.Request) (any, error) {
	var req loginRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.Type == MagicLink {
		return s.logInByLink(w, r, req)
	}
	a, err := s.authenticate(req.Type, req.Login, req.Password)
	if err != nil {
		return nil, refuseLogin(err)
	}
	return s.complete(w, r, a, req.RememberMe, req.DeviceDetails)
}

// logInByLink takes the code in the password's place. A locked account does not
// spend its code, so that the link still works when the lock-out has ended.
func (s *Server) logInByLink(w http.ResponseWriter, r *http.Request, req loginRequest) (any, error) {
	s.mu.Lock()
	a := s.find(MagicLink, req.Login)
	locked := a != nil && s.cfg.Now().Before(a.lockedUntil)
	right := a != nil && !locked && s.useCode(a, ForMagicLink, req.Password)
	s.mu.Unlock()
	switch {
	case locked:
		return nil, refuseLogin(errLocked)
	case !right:
		return nil, refusal{"Invalid email/token combination."}
	}
	return s.complete(w, r, a, req.RememberMe, req.DeviceDetails)
}

// refuseLogin puts a failed authentication into LightNap's words. LightNap's
// words for an unknown login vary with its type; these do not, and so do not
// tell who has an account.
func refuseLogin(err error) error {
	switch {
	case errors.Is(err, errLocked):
		return refusal{"This account is locked."}
	case errors.Is(err, errCredentials):
		return refusal{"Invalid login/password combination."}
	}
	return err
}

// complete goes on from a proven identity: to a session, or to the step that is
// still missing.
func (s *Server) complete(
	w http.ResponseWriter, r *http.Request, a *account, remember bool, details string,
) (any, error) {
	s.mu.Lock()
	unverified, value := a.Unverified, ""
	if !unverified && a.TwoFactor {
		value = s.newCode(a, ForTwoFactor)
	}
	s.mu.Unlock()
	switch {
	case unverified:
		return loginResult{Type: "EmailVerificationRequired"}, nil
	case value != "":
		s.mail(a.Email, ForTwoFactor, value)
		return loginResult{Type: "TwoFactorRequired"}, nil
	}
	access, err := s.openSession(w, r, a, remember, details)
	return loginResult{Type: "AccessToken", AccessToken: access}, err
}

// openSession begins a session, sets its cookie and returns its access token.
func (s *Server) openSession(
	w http.ResponseWriter, r *http.Request, a *account, remember bool, details string,
) (string, error) {
	g, err := s.begin(signIn{who: a.subject(), device: details, addr: remote(r), remember: remember})
	if err != nil {
		return "", err
	}
	setCookie(w, g)
	return g.access, nil
}

// A registerRequest makes an account and signs in to it.
type registerRequest struct {
	Email           string
	Password        string
	ConfirmPassword string
	UserName        string
	RememberMe      bool
	DeviceDetails   string
}

// check looks at an address as .NET's EmailAddress attribute does: one @, not at
// an end. Whether the password is strong is asked later, and answered with 200.
func (q *registerRequest) check(f faults) {
	f.text("Email", q.Email, maxLogin)
	if at := strings.IndexByte(q.Email, '@'); q.Email != "" &&
		(at < 1 || at == len(q.Email)-1 || at != strings.LastIndexByte(q.Email, '@')) {
		f.add("Email", "The Email field is not a valid e-mail address.")
	}
	f.text("Password", q.Password, maxPassword)
	f.text("ConfirmPassword", q.ConfirmPassword, maxPassword)
	if q.Password != q.ConfirmPassword {
		f.add("ConfirmPassword", "The password and confirmation password do not match.")
	}
	f.text("UserName", q.UserName, maxUserName)
	f.text("DeviceDetails", q.DeviceDetails, maxDetails)
}

// register makes an account and goes on as login does.
func (s *Server) register(w http.ResponseWriter, r *http.Request) (any, error) {
	var req registerRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if found := weaknesses(req.Password); len(found) > 0 {
		return nil, refusal(found)
	}
	err := s.AddAccount(Account{
		Email: req.Email, UserName: req.UserName, Password: req.Password,
		TwoFactor: s.cfg.TwoFactor, Unverified: s.cfg.VerifyEmail,
	})
	var taken *takenError
	if errors.As(err, &taken) {
		return nil, refusal{taken.lightnap()}
	}
	if err != nil {
		return nil, err
	}
	a, value := s.welcome(req.Email)
	if value != "" {
		s.mail(a.Email, ForVerifyEmail, value)
	}
	return s.complete(w, r, a, req.RememberMe, req.DeviceDetails)
}

// lightnap returns the error in LightNap's words.
func (e *takenError) lightnap() string {
	names := map[string]string{"UserName": "Username", "Email": "Email"}
	return fmt.Sprintf("%s '%s' is already taken.", names[e.field], e.value)
}

// welcome returns the new account of email, and a code if its address has to be
// confirmed.
func (s *Server) welcome(email string) (*account, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(Email, email)
	if !a.Unverified {
		return a, ""
	}
	return a, s.newCode(a, ForVerifyEmail)
}

// A verifyCodeRequest repeats rememberMe and deviceDetails: the server keeps
// nothing between the two steps but the code.
type verifyCodeRequest struct {
	Login         string
	Code          string
	RememberMe    bool
	DeviceDetails string
}

// check lets any code through that could be one; whether it is right is no matter of form.
func (q *verifyCodeRequest) check(f faults) {
	f.text("Login", q.Login, maxLogin)
	f.text("Code", q.Code, maxCode)
	f.text("DeviceDetails", q.DeviceDetails, maxDetails)
}

// verifyCode ends a two-factor login. The result is the bare access token. The
// code came by e-mail, so it proves the address as well.
func (s *Server) verifyCode(w http.ResponseWriter, r *http.Request) (any, error) {
	var req verifyCodeRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	a := s.redeem(Unknown, req.Login, ForTwoFactor, req.Code)
	if a == nil {
		return nil, refusal{"Unable to verify code. Please try again or log in again to resend a new code."}
	}
	return s.openSession(w, r, a, req.RememberMe, req.DeviceDetails)
}

// A verifyEmailRequest brings back the code that registration had sent.
type verifyEmailRequest struct{ Email, Code string }

// check has no rule for the address: one that has no account is refused anyway.
func (q *verifyEmailRequest) check(f faults) {
	f.text("Email", q.Email, maxLogin)
	f.text("Code", q.Code, maxCode)
}

// verifyEmail confirms an address. It signs nobody in: the login is sent again.
func (s *Server) verifyEmail(_ http.ResponseWriter, r *http.Request) (any, error) {
	var req verifyEmailRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if s.redeem(Email, req.Email, ForVerifyEmail, req.Code) == nil {
		return nil, refusal{"Invalid token."}
	}
	return true, nil
}

// redeem spends a code and returns the account that it was sent to, whose
// address is confirmed by it. It returns nil for a wrong code or login.
func (s *Server) redeem(by LoginType, login string, p Purpose, value string) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(by, login)
	if a == nil || !s.useCode(a, p, value) {
		return nil
	}
	a.Unverified = false
	return a
}

// A magicLinkRequest asks for a code by e-mail, the only proof it will need.
type magicLinkRequest struct{ Email string }

// check has no rule for the address: one that has no account is refused anyway.
func (q *magicLinkRequest) check(f faults) { f.text("Email", q.Email, maxLogin) }

// requestMagicLink sends a code that signs in by itself.
func (s *Server) requestMagicLink(_ http.ResponseWriter, r *http.Request) (any, error) {
	var req magicLinkRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	s.mu.Lock()
	a := s.find(Email, req.Email)
	value := ""
	if a != nil {
		value = s.newCode(a, ForMagicLink)
	}
	s.mu.Unlock()
	if a == nil {
		return nil, refusal{"An account with this email was not found."}
	}
	s.mail(a.Email, ForMagicLink, value)
	return true, nil
}

// accessToken renews. A dead cookie is not an HTTP error: the two generations
// differ in how they say it. Every success sets the cookie, rotated or not.
func (s *Server) accessToken(w http.ResponseWriter, r *http.Request) (any, error) {
	if s.failRefresh() {
		return nil, errors.New("evertoken: told to fail")
	}
	g, err := s.refresh(cookie(r), "", remote(r))
	switch {
	case errors.Is(err, errSession) && s.cfg.Generation == Older:
		return nil, refusal{"This account needs to sign in."}
	case errors.Is(err, errSession):
		return "", nil
	case err != nil:
		return nil, err
	}
	setCookie(w, g)
	return g.access, nil
}

// logOut ends the session of the cookie and asks for no access token: one that
// has expired must not keep anybody from signing out.
func (s *Server) logOut(w http.ResponseWriter, r *http.Request) (any, error) {
	if !s.end(cookie(r), "") {
		return nil, refusal{"You are not logged in"}
	}
	removeCookie(w)
	return true, nil
}

// listDevices needs the access token, not the cookie: it says whose devices.
func (s *Server) listDevices(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.devices(Caller(r.Context())), nil
}

// deleteDevice ends one session of the caller's. Somebody else's is not found
// rather than forbidden, so that ids cannot be tried.
func (s *Server) deleteDevice(_ http.ResponseWriter, r *http.Request) (any, error) {
	if !s.endDevice(Caller(r.Context()), r.PathValue("id")) {
		return nil, refusal{"Device not found."}
	}
	return true, nil
}

// profile shows what the access token says of its bearer.
func (s *Server) profile(_ http.ResponseWriter, r *http.Request) (any, error) {
	c := caller(r.Context())
	return struct {
		ID       string `json:"id"`
		Email    string `json:"email"`
		UserName string `json:"userName"`
	}{c.ID, c.Email, c.Name}, nil
}
