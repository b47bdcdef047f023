package identity

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The names of .NET's claim types, as they stand in a LightNap token.
const (
	claimID    = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"
	claimEmail = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"
	claimName  = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
	claimRole  = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"
)

// reservedClaims lists the names that no custom claim may have: a JSON object
// with a name twice means different things to different readers.
func reservedClaims() []string {
	return []string{"aud", "iss", "exp", "iat", "nbf", "sub", "jti", claimID, claimEmail, claimName, claimRole}
}

// A subject is who a token speaks for: an account, or an OAuth client.
type subject struct {
	identityClaims
	custom map[string][]string
}

// subject shares a's roles and claims, which nobody changes once a is in use.
func (a *account) subject() subject {
	return subject{identityClaims{a.ID, a.Email, a.UserName, a.Roles}, a.Claims}
}

// identityClaims say who the subject is. Roles are an array even for one, and
// absent for none; an OAuth client has no e-mail address.
type identityClaims struct {
	ID    string   `json:"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"`
	Email string   `json:"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress,omitempty"`
	Name  string   `json:"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"`
	Roles []string `json:"http://schemas.microsoft.com/ws/2008/06/identity/claims/role,omitempty"`
}

// claims are what an access token says.
type claims struct {
	jwt.RegisteredClaims
	identityClaims
	ExpiresAt exact `json:"exp"` // in place of the registered one
	custom    map[string][]string
}

// GetExpirationTime implements jwt.Claims; nil is for a token without.
func (c claims) GetExpirationTime() (*jwt.NumericDate, error) {
	if c.ExpiresAt.IsZero() {
		return nil, nil
	}
	return &jwt.NumericDate{Time: c.ExpiresAt.Time}, nil
}

// exact is a NumericDate (RFC 7519, section 2) with its fraction, which
// golang-jwt cuts off: a token of less than a second would be dead on arrival.
type exact struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (e *exact) UnmarshalJSON(data []byte) error {
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return err
	}
	e.Time = time.UnixMilli(int64(math.Round(seconds * 1000)))
	return nil
}

// numeric writes a NumericDate, with a fraction if t has one.
func numeric(t time.Time) json.Number {
	if t.Nanosecond() == 0 {
		return json.Number(strconv.FormatInt(t.Unix(), 10))
	}
	return json.Number(strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64))
}

// MarshalJSON writes the claims in LightNap's order, in which the custom ones
// stand before iat and nbf.
func (c claims) MarshalJSON() ([]byte, error) {
	head := struct {
		Audience string      `json:"aud"`
		Issuer   string      `json:"iss"`
		Expires  json.Number `json:"exp"`
		identityClaims
	}{c.Audience[0], c.Issuer, numeric(c.ExpiresAt.Time), c.identityClaims}
	tail := struct {
		IssuedAt  json.Number `json:"iat"`
		NotBefore json.Number `json:"nbf"`
	}{numeric(c.IssuedAt.Time), numeric(c.NotBefore.Time)}
	if len(c.custom) == 0 {
		return splice(head, tail)
	}
	return splice(head, c.custom, tail)
}

// splice returns one JSON object with the members of all objects, in their
// order. None of them may be empty.
func splice(objects ...any) ([]byte, error) {
	var members [][]byte
	for _, o := range objects {
		data, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		members = append(members, data[1:len(data)-1])
	}
	return slices.Concat([]byte{'{'}, bytes.Join(members, []byte{','}), []byte{'}'}), nil
}

// sign returns an access token for who. Its times are whole seconds, cut off, as
// every LightNap token's are: two tokens of one second are the same bytes. A
// lifetime that is none, which no LightNap server has, is told in milliseconds.
// s.mu is held.
func (s *Server) sign(who subject) (string, error) {
	unit := time.Second
	if s.cfg.AccessLifetime%time.Second != 0 {
		unit = time.Millisecond
	}
	now := s.cfg.Now().Truncate(unit)
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Audience:  jwt.ClaimStrings{s.cfg.Audience},
			Issuer:    s.cfg.Issuer,
			IssuedAt:  &jwt.NumericDate{Time: now},
			NotBefore: &jwt.NumericDate{Time: now},
		},
		ExpiresAt:      exact{now.Add(s.cfg.AccessLifetime)},
		identityClaims: who.identityClaims,
		custom:         who.custom,
	})
	signed, err := token.SignedString(s.signingKey())
	if err != nil {
		return "", fmt.Errorf("evertoken: sign an access token: %w", err)
	}
	return signed, nil
}

// verify returns the claims of a token that this server signed for this
// audience and that has not expired. There is no leeway, where ASP.NET grants
// five minutes: a client must not lean on it.
func (s *Server) verify(token string) (claims, error) {
	var c claims
	_, err := s.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.signingKey(), nil
	})
	return c, err
}

// signingKey returns the key of the present epoch. The first is Config.Key
// itself, so that others who know it can verify. s.mu is held.
func (s *Server) signingKey() []byte {
	if s.epoch == 0 {
		return []byte(s.cfg.Key)
	}
	mac := hmac.New(sha256.New, []byte(s.cfg.Key))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(s.epoch)))
	return mac.Sum(nil)
}
