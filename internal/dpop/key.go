package dpop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/evertoken/evertoken"
)

// ExtraKey is where a session keeps its key, in [evertoken.Token.Extra].
const ExtraKey = "dpop_key"

// A Key signs the proofs of one session, with ES256: the algorithm that servers
// have in common. It is never changed and safe for concurrent use.
type Key struct {
	private *ecdsa.PrivateKey
	x, y    string // the public key's coordinates, as a JWK writes them
}

// NewKey makes a key.
func NewKey() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("dpop: new key: %w", err)
	}
	return newKey(private)
}

func newKey(private *ecdsa.PrivateKey) (*Key, error) {
	if private.Curve != elliptic.P256() {
		return nil, errors.New("dpop: key: its curve is not P-256")
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("dpop: key: %w", err)
	}
	const size = 32 // after the byte that says that both coordinates follow
	return &Key{private, encode(point[1 : 1+size]), encode(point[1+size:])}, nil
}

// ParseKey reads what Text wrote. Its errors do not quote it.
func ParseKey(text string) (*Key, error) {
	der, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("dpop: key: not base64")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("dpop: key: not PKCS #8")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("dpop: key: %T, want one for ES256", parsed)
	}
	return newKey(private)
}

// KeyOf returns the key that t's session keeps, or nil if it keeps none.
func KeyOf(t evertoken.Token) (*Key, error) {
	text, ok := t.Extra[ExtraKey]
	if !ok {
		return nil, nil
	}
	return ParseKey(text)
}

// Text returns the key as a string to be kept: PKCS #8 in base64. Secret.
func (k *Key) Text() (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return "", fmt.Errorf("dpop: key: %w", err)
	}
	return base64.RawStdEncoding.EncodeToString(der), nil
}

// Thumbprint names the public key, as dpop_jkt does (RFC 7638; RFC 9449, section 10).
func (k *Key) Thumbprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, k.x, k.y))
	return encode(sum[:])
}

// Format writes the public part, for every verb.
func (k *Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "dpop.Key "+k.Thumbprint()) }

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Bound says that a token is of no use without a proof, and so must never be
// sent as a bearer's.
func Bound(t evertoken.Token) bool { return strings.EqualFold(t.TokenType, scheme) }
