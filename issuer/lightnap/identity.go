package lightnap

import (
	"errors"
	"slices"

	"github.com/golang-jwt/jwt/v5"

	"github.com/evertoken/evertoken"
)

// The claim types that LightNap's access tokens use.
const (
	claimUserID   = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"
	claimEmail    = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"
	claimUserName = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
	claimRole     = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"
)

// A User is whom a token belongs to, as the token says. Its signature is not
// verified: a User is for display, never for deciding what somebody may do.
type User struct {
	ID     string
	Name   string // the user name
	Email  string
	Roles  []string            // nil if there are none
	Claims map[string][]string // the custom claims, each with its values; never nil
}

// InRole says whether the user has the role.
func (u User) InRole(role string) bool { return slices.Contains(u.Roles, role) }

// HasClaim says whether the user has the custom claim.
func (u User) HasClaim(name, value string) bool { return slices.Contains(u.Claims[name], value) }

// Identity reads whom t belongs to. It fails if the access token is no JWT.
func Identity(t evertoken.Token) (User, error) {
	const longest = 16 << 10
	claims := jwt.MapClaims{}
	if len(t.AccessToken) > longest {
		return User{}, errors.New("lightnap: identity: the access token is too long to be a JWT")
	}
	if _, _, err := jwt.NewParser().ParseUnverified(t.AccessToken, claims); err != nil {
		// The cause is not wrapped: it may quote the token.
		return User{}, errors.New("lightnap: identity: the access token is no JWT")
	}
	u := User{Roles: texts(claims[claimRole]), Claims: map[string][]string{}}
	u.ID, u.Email, u.Name = first(claims[claimUserID]), first(claims[claimEmail]), first(claims[claimUserName])
	for name, value := range claims {
		switch name {
		case claimUserID, claimEmail, claimUserName, claimRole, "aud", "iss", "exp", "iat", "nbf":
		default:
			if list := texts(value); list != nil {
				u.Claims[name] = list
			}
		}
	}
	return u, nil
}

func first(claim any) string {
	if list := texts(claim); len(list) > 0 {
		return list[0]
	}
	return ""
}

// texts reads a claim that is one string or a list of them.
func texts(claim any) []string {
	switch c := claim.(type) {
	case string:
		return []string{c}
	case []any:
		var list []string
		for _, v := range c {
			if s, ok := v.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}
