package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Key signs assertions.
type Key struct {
	method jwt.SigningMethod
	key    any
	id     string
}

// NewKey returns the key that signs with an algorithm of RFC 7518: RS256 or
// PS256 (*rsa.PrivateKey of at least 2,048 bits), ES256 (*ecdsa.PrivateKey on
// P-256) or EdDSA (ed25519.PrivateKey). id is its "kid" at the server; it may be
// empty. A key of another kind is an error. x509.ParsePKCS8PrivateKey reads one
// from a file.
func NewKey(algorithm string, private crypto.PrivateKey, id string) (*Key, error) {
	k := &Key{jwt.GetSigningMethod(algorithm), private, id}
	var fault error
	switch algorithm {
	case "RS256", "PS256":
		fault = checkRSA(private)
	case "ES256":
		fault = checkECDSA(private)
	case "EdDSA":
		if p, ok := private.(ed25519.PrivateKey); !ok || len(p) != ed25519.PrivateKeySize {
			fault = fmt.Errorf("wants an ed25519.PrivateKey, not %T", private)
		}
	default:
		return nil, fmt.Errorf("oauth: key: algorithm %q is none of RS256, PS256, ES256, EdDSA", algorithm)
	}
	if fault != nil {
		return nil, fmt.Errorf("oauth: key: %s %w", algorithm, fault)
	}
	return k, nil
}

func checkRSA(private crypto.PrivateKey) error {
	const least = 2048 // RFC 7518, sections 3.3 and 3.5
	p, ok := private.(*rsa.PrivateKey)
	switch {
	case !ok || p == nil:
		return fmt.Errorf("wants an *rsa.PrivateKey, not %T", private)
	case p.N == nil || p.N.BitLen() < least:
		return fmt.Errorf("wants a key of at least %d bits", least)
	}
	return nil
}

func checkECDSA(private crypto.PrivateKey) error {
	p, ok := private.(*ecdsa.PrivateKey)
	switch {
	case !ok || p == nil:
		return fmt.Errorf("wants an *ecdsa.PrivateKey, not %T", private)
	case p.Curve != elliptic.P256():
		return errors.New("wants a key on the curve P-256")
	}
	return nil
}

// An Assertion is what a signed statement says (RFC 7523, section 3). "jti",
// "iat" and "exp" are added when it is signed.
type Assertion struct {
	Issuer   string         // who says it; required
	Subject  string         // of whom; empty: of nobody in particular
	Audience string         // to whom: the server's issuer URL or its token endpoint; required
	Lifetime time.Duration  // zero means one minute
	Claims   map[string]any // what else is said; never modified
}

// Signed returns a function that makes a new statement each time: one that is
// never the same twice, for servers accept each only once.
func (a Assertion) Signed(k *Key) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return a.sign(k, time.Now()) }
}

func (a Assertion) sign(k *Key, now time.Time) (string, error) {
	if a.Issuer == "" || a.Audience == "" {
		return "", errors.New("oauth: assertion: Issuer or Audience is empty")
	}
	lifetime := a.Lifetime
	if lifetime == 0 {
		lifetime = time.Minute
	}
	claims := jwt.MapClaims{}
	for name, v := range a.Claims {
		claims[name] = v
	}
	claims["iss"], claims["aud"], claims["jti"] = a.Issuer, a.Audience, rand.Text()
	claims["iat"], claims["exp"] = now.Unix(), now.Add(lifetime).Unix()
	if a.Subject != "" {
		claims["sub"] = a.Subject
	}
	t := jwt.NewWithClaims(k.method, claims)
	if k.id != "" {
		t.Header["kid"] = k.id
	}
	return t.SignedString(k.key)
}

type assertedClient struct {
	clientID
	assertion func(context.Context) (string, error)
}

// PrivateKeyJWT proves the client with statements signed by key
// (private_key_jwt; RFC 7523, section 2.2), one for each attempt. The audience is
// the server's issuer URL or, at servers that want it so, the token endpoint.
func PrivateKeyJWT(id string, key *Key, audience string) (ClientAuth, error) {
	if err := checkClient("private_key_jwt", id, audience, "audience for"); err != nil {
		return nil, err
	}
	if key == nil {
		return nil, fmt.Errorf("oauth: private_key_jwt: the key of client %q is missing", id)
	}
	a := Assertion{Issuer: id, Subject: id, Audience: audience}
	return assertedClient{clientID(id), a.Signed(key)}, nil
}

// ClientSecretJWT is PrivateKeyJWT with a secret that both sides know
// (client_secret_jwt), by HS256. The secret has at least 32 bytes (RFC 7518,
// section 3.2).
func ClientSecretJWT(id, secret, audience string) (ClientAuth, error) {
	const least = 32
	if err := checkClient("client_secret_jwt", id, audience, "audience for"); err != nil {
		return nil, err
	}
	if len(secret) < least {
		return nil, fmt.Errorf("oauth: client_secret_jwt: the secret of client %q has %d bytes, fewer than %d", id, len(secret), least)
	}
	a := Assertion{Issuer: id, Subject: id, Audience: audience}
	return assertedClient{clientID(id), a.Signed(&Key{jwt.SigningMethodHS256, []byte(secret), ""})}, nil
}

// ClientAssertion proves the client with statements that somebody else signs,
// such as the platform that a program runs on. The function is called for each
// attempt on the wire.
func ClientAssertion(id string, assertion func(context.Context) (string, error)) (ClientAuth, error) {
	if err := checkClient("client assertion", id, id, "id"); err != nil {
		return nil, err
	}
	if assertion == nil {
		return nil, fmt.Errorf("oauth: client assertion: there is no function for client %q", id)
	}
	return assertedClient{clientID(id), assertion}, nil
}

func (c assertedClient) Authenticate(r *http.Request, form url.Values) error {
	jwt, err := c.assertion(r.Context())
	if err != nil {
		return fmt.Errorf("oauth: client assertion: %w", err)
	}
	form.Set("client_id", string(c.clientID))
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", jwt)
	return nil
}
