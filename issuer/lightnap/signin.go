package lightnap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/exchange"
)

var (
	// ErrTwoFactorRequired means that the server has sent its user a code, with
	// which [Issuer.VerifyCode] completes the sign-in.
	ErrTwoFactorRequired = errors.New("lightnap: sign-in needs a two-factor code")

	// ErrEmailVerificationRequired means that the user has to confirm the e-mail
	// address before the first sign-in.
	ErrEmailVerificationRequired = errors.New("lightnap: the e-mail address is not verified yet")
)

// Credentials prove who signs in.
type Credentials struct {
	Login      string // e-mail address or user name
	Password   string // for a magic link: the code that was sent
	MagicLink  bool   // Password is the code of a magic link
	RememberMe bool   // the session outlives the access token: 30 days at LightNap
}

// Login signs in. A wrong password is an [*evertoken.RefreshError] whose outcome
// is Rejected and whose description is the server's; the other refusals are
// [ErrTwoFactorRequired] and [ErrEmailVerificationRequired].
func (i *Issuer) Login(ctx context.Context, c Credentials) (evertoken.Token, error) {
	in := struct {
		Type          string `json:"type,omitempty"`
		Login         string `json:"login"`
		Password      string `json:"password"`
		RememberMe    bool   `json:"rememberMe"`
		DeviceDetails string `json:"deviceDetails"`
	}{Login: c.Login, Password: c.Password, RememberMe: c.RememberMe, DeviceDetails: i.device()}
	if c.MagicLink {
		in.Type = "MagicLink"
	}
	return i.signIn(ctx, "login", in)
}

// RequestMagicLink has the server send a code by e-mail, with which Login signs
// in: see [Credentials.MagicLink].
func (i *Issuer) RequestMagicLink(ctx context.Context, email string) error {
	_, _, err := i.call(ctx, http.MethodPost, "request-magic-link", struct {
		Email string `json:"email"`
	}{email})
	return err
}

// A Registration is a new account.
type Registration struct {
	Email      string
	UserName   string
	Password   string
	RememberMe bool // as in Credentials
}

// Register makes an account and signs in, with the results of [Issuer.Login]. A
// name that is taken or a password that is too weak is Rejected, with the
// server's words as the description.
func (i *Issuer) Register(ctx context.Context, r Registration) (evertoken.Token, error) {
	return i.signIn(ctx, "register", struct {
		Email           string `json:"email"`
		Password        string `json:"password"`
		ConfirmPassword string `json:"confirmPassword"`
		DeviceDetails   string `json:"deviceDetails"`
		UserName        string `json:"userName"`
		RememberMe      bool   `json:"rememberMe"`
	}{r.Email, r.Password, r.Password, i.device(), r.UserName, r.RememberMe})
}

// signIn reads the result of a login or a registration.
func (i *Issuer) signIn(ctx context.Context, path string, in any) (evertoken.Token, error) {
	result, answer, err := i.call(ctx, http.MethodPost, path, in)
	if err != nil {
		return evertoken.Token{}, err
	}
	var out struct {
		Type        string `json:"type"`
		AccessToken string `json:"accessToken"`
	}
	if json.Unmarshal(result, &out) != nil {
		return evertoken.Token{}, &evertoken.RefreshError{StatusCode: answer.StatusCode, Err: fmt.Errorf("lightnap: %s: member result of the answer is no object", path)}
	}
	switch out.Type {
	case "AccessToken":
		if out.AccessToken == "" {
			return evertoken.Token{}, &evertoken.RefreshError{StatusCode: answer.StatusCode, Err: fmt.Errorf("lightnap: %s: member result.accessToken is empty", path)}
		}
		t := evertoken.Token{AccessToken: out.AccessToken}
		t.RefreshToken, t.RefreshExpiry = newestCookie(answer.Header)
		return t, nil
	case "TwoFactorRequired":
		return evertoken.Token{}, waiting(ErrTwoFactorRequired)
	case "EmailVerificationRequired":
		return evertoken.Token{}, waiting(ErrEmailVerificationRequired)
	}
	return evertoken.Token{}, &evertoken.RefreshError{StatusCode: answer.StatusCode, Err: fmt.Errorf("lightnap: %s: member result.type is %q", path, exchange.Clean(out.Type))}
}

// waiting is for a person to resolve: an unattended sign-in that meets it must
// not come again at every check.
func waiting(err error) error {
	return &evertoken.RefreshError{Outcome: evertoken.Misconfigured, StatusCode: http.StatusOK, Err: err}
}

// A Verification completes a sign-in that needed a second factor.
type Verification struct {
	Login      string // as in Credentials
	Code       string // as the server sent it to its user
	RememberMe bool   // as in Credentials: the server does not remember it from there
}

// VerifyCode completes a sign-in after [ErrTwoFactorRequired]. A wrong code, or
// one that is too old, is Rejected.
func (i *Issuer) VerifyCode(ctx context.Context, v Verification) (evertoken.Token, error) {
	return i.tokenFrom(i.call(ctx, http.MethodPost, "verify-code", struct {
		Code          string `json:"code"`
		Login         string `json:"login"`
		RememberMe    bool   `json:"rememberMe"`
		DeviceDetails string `json:"deviceDetails"`
	}{v.Code, v.Login, v.RememberMe, i.device()}))
}
