package dpop

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Proof is what one request proves (RFC 9449, section 4.2). It must be signed
// anew for each sending: a server may take the same proof only once.
type Proof struct {
	Method string // empty means GET
	URI    string // see [Target]
	Access string // the access token that is sent along; empty at a token endpoint
	Nonce  string // the server's newest; empty if it has given none
	At     time.Time
}

// Sign returns the value of the DPoP header.
func (k *Key) Sign(p Proof) (string, error) {
	if p.Method == "" {
		p.Method = http.MethodGet
	}
	claims := jwt.MapClaims{"jti": rand.Text(), "htm": p.Method, "htu": p.URI, "iat": p.At.Unix()}
	if p.Access != "" {
		sum := sha256.Sum256([]byte(p.Access))
		claims["ath"] = encode(sum[:])
	}
	if p.Nonce != "" {
		claims["nonce"] = p.Nonce
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	t.Header["typ"] = "dpop+jwt"
	t.Header["jwk"] = map[string]string{"kty": "EC", "crv": "P-256", "x": k.x, "y": k.y}
	signed, err := t.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("dpop: sign: %w", err)
	}
	return signed, nil
}

// Target is the URI of a request as its server sees it, without query and
// fragment: the host by the name in the Host header, the path escaped as it is
// sent. An escape that was resolved and made anew could come out another.
func Target(r *http.Request) string {
	path, _, _ := strings.Cut(r.URL.RequestURI(), "?")
	if !strings.HasPrefix(path, "/") {
		return path // absolute, by URL.Opaque
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	return r.URL.Scheme + "://" + host + path
}
