// Package dpoptest is the server's side of DPoP (RFC 9449), for tests: it checks
// proofs as strictly as the strictest server.
package dpoptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ErrNonce means that a proof is good but for its nonce.
var ErrNonce = errors.New("dpoptest: the nonce is missing or not the newest")

// A Verifier checks the proofs that are sent to one server. Its zero value wants
// no nonce. It is safe for concurrent use.
type Verifier struct {
	Scheme string           // of the server's URLs; empty means http
	Now    func() time.Time // nil means time.Now

	mu     sync.Mutex
	nonces int // how many were made; 0: none is wanted
	seen   map[string]bool
}

// Demand makes another nonce and has every proof hold it from now on.
func (v *Verifier) Demand() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.nonces++
}

// Nonce is the one that proofs must hold; empty for none.
func (v *Verifier) Nonce() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.nonce()
}

func (v *Verifier) nonce() string {
	if v.nonces == 0 {
		return ""
	}
	return fmt.Sprint("nonce-", v.nonces)
}

// Proofs is how many different ones were seen.
func (v *Verifier) Proofs() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.seen)
}

type claims struct {
	Method string `json:"htm"`
	URI    string `json:"htu"`
	Access string `json:"ath"`
	Nonce  string `json:"nonce"`
	jwt.RegisteredClaims
}

// Verify checks the one proof in r and returns the thumbprint of its key. access
// is the token that must go with it; empty at a token endpoint.
func (v *Verifier) Verify(r *http.Request, access string) (thumbprint string, err error) {
	values := r.Header.Values("DPoP")
	if len(values) != 1 {
		return "", fmt.Errorf("dpoptest: %d proofs, want 1", len(values))
	}
	var c claims
	keyfunc := func(t *jwt.Token) (key any, err error) {
		key, thumbprint, err = publicKey(t.Header)
		return key, err
	}
	if _, err := jwt.NewParser(jwt.WithValidMethods([]string{"ES256"})).ParseWithClaims(values[0], &c, keyfunc); err != nil {
		return "", err
	}
	return thumbprint, v.check(r, access, &c)
}

func (v *Verifier) check(r *http.Request, access string, c *claims) error {
	now, kind := time.Now, v.Scheme
	if v.Now != nil {
		now = v.Now
	}
	if kind == "" {
		kind = "http"
	}
	want, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.HasPrefix(want, "/") {
		want = kind + "://" + r.Host + want
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case c.Method != r.Method || c.URI != want:
		return fmt.Errorf("dpoptest: the proof is for %s %s, the request %s %s", c.Method, c.URI, r.Method, want)
	case c.Access != hash(access):
		return errors.New("dpoptest: the proof is for another access token")
	case c.IssuedAt == nil || now().Sub(c.IssuedAt.Time).Abs() > time.Minute:
		return errors.New("dpoptest: the proof is not of this minute")
	case c.ID == "" || v.seen[c.ID]:
		return errors.New("dpoptest: the proof was sent before")
	}
	if v.seen == nil {
		v.seen = map[string]bool{}
	}
	v.seen[c.ID] = true
	if c.Nonce != v.nonce() {
		return ErrNonce
	}
	return nil
}

func hash(access string) string {
	if access == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(access))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// publicKey reads the header of a proof (RFC 9449, section 4.2).
func publicKey(header map[string]any) (key any, thumbprint string, err error) {
	jwk, ok := header["jwk"].(map[string]any)
	switch {
	case header["typ"] != "dpop+jwt":
		return nil, "", fmt.Errorf("dpoptest: typ is %v", header["typ"])
	case !ok || jwk["kty"] != "EC" || jwk["crv"] != "P-256":
		return nil, "", errors.New("dpoptest: there is no P-256 key in the header")
	case jwk["d"] != nil:
		return nil, "", errors.New("dpoptest: the private key is in the header")
	}
	x, y := coordinate(jwk["x"]), coordinate(jwk["y"])
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, "", fmt.Errorf("dpoptest: the key in the header: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, jwk["x"], jwk["y"]))
	return public, base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

func coordinate(v any) []byte {
	s, ok := v.(string)
	b, err := base64.RawURLEncoding.DecodeString(s)
	if !ok || err != nil || len(b) != 32 {
		return nil
	}
	return b
}
