package dpop

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/dpop/dpoptest"
)

func mustKey(t testing.TB) *Key {
	t.Helper()
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// held is a token that is bound to k, as a session keeps it.
func held(t testing.TB, access string, k *Key) evertoken.Token {
	t.Helper()
	text, err := k.Text()
	if err != nil {
		t.Fatal(err)
	}
	return evertoken.Token{AccessToken: access, TokenType: "DPoP", RefreshToken: "r-" + access, Extra: map[string]string{ExtraKey: text}}
}

func TestKeyIsKeptAsText(t *testing.T) {
	k := mustKey(t)
	again, err := KeyOf(held(t, "a", k))
	if err != nil {
		t.Fatal(err)
	}
	if !again.private.Equal(k.private) || again.Thumbprint() != k.Thumbprint() || len(k.Thumbprint()) != 43 {
		t.Errorf("the key came back as %v, was %v", again, k)
	}
	if none, err := KeyOf(evertoken.Token{}); none != nil || err != nil {
		t.Errorf("KeyOf without a key = %v, %v", none, err)
	}
}

// The example key of RFC 9449, and its thumbprint there (sections 4.1 and 6.1).
func TestThumbprint(t *testing.T) {
	k := &Key{x: "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", y: "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}
	if got := k.Thumbprint(); got != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" {
		t.Errorf("Thumbprint = %s", got)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	pkcs8 := func(private any) string {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawStdEncoding.EncodeToString(der)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edward, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":            "PKCS #8",
		"s3cret!":     "base64",
		"s3cret":      "",
		pkcs8(p384):   "P-256",
		pkcs8(edward): "ES256",
	} {
		k, err := ParseKey(text)
		if err == nil || k != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("ParseKey of %d bytes = %v, %v, want %q", len(text), k, err, want)
		}
	}
}

// Whatever prints a key prints its name.
func TestKeyIsNotPrinted(t *testing.T) {
	k := mustKey(t)
	text, err := k.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, k); got != "dpop.Key "+k.Thumbprint() || strings.Contains(got, text) {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

func TestSign(t *testing.T) {
	k, v := mustKey(t), new(dpoptest.Verifier)
	v.Demand()
	p := Proof{URI: "http://api.example.com/a%2Fb", Access: "access", Nonce: v.Nonce(), At: time.Now()}
	var last string
	for range 3 {
		proof, err := k.Sign(p)
		if err != nil || proof == last {
			t.Fatalf("Sign = %v; the same as before: %v", err, proof == last)
		}
		last = proof
		r := httptest.NewRequest(http.MethodGet, "http://api.example.com/a%2Fb?q=1", nil)
		r.Header.Set("DPoP", proof)
		if got, err := v.Verify(r, "access"); err != nil || got != k.Thumbprint() {
			t.Errorf("Verify = %q, %v", got, err)
		}
	}
}

// The path goes into the proof as it goes onto the wire, whatever it is.
func TestTarget(t *testing.T) {
	for raw, want := range map[string]string{
		"https://api.example.com":                         "https://api.example.com/",
		"https://api.example.com/":                        "https://api.example.com/",
		"https://api.example.com/a?q=1#f":                 "https://api.example.com/a",
		"https://api.example.com/?":                       "https://api.example.com/",
		"https://api.example.com:8443/a/":                 "https://api.example.com:8443/a/",
		"https://user:pw@api.example.com/a":               "https://api.example.com/a",
		"https://api.example.com/a%2Fb%3Fc/%C3%A9":        "https://api.example.com/a%2Fb%3Fc/%C3%A9",
		"https://api.example.com/%7euser/%7Euser/~user":   "https://api.example.com/%7euser/%7Euser/~user",
		"https://api.example.com/a;b=c/(d)!'*":            "https://api.example.com/a;b=c/(d)!'*",
		"https://api.example.com//double/../dots/./a":     "https://api.example.com//double/../dots/./a",
		"https://[2001:db8::1]:8443/a":                    "https://[2001:db8::1]:8443/a",
		"https://api.example.com/a b\u00e9":               "https://api.example.com/a%20b%C3%A9",
		"https://api.example.com/a?x=https://other.org/?": "https://api.example.com/a",
	} {
		r, err := http.NewRequest(http.MethodGet, raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := Target(r); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
	r, err := http.NewRequest(http.MethodGet, "https://10.0.0.7/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "api.example.com"
	if got := Target(r); got != "https://api.example.com/a" {
		t.Errorf("with a Host header of its own: %s", got)
	}
	r.URL.Opaque = "//10.0.0.7/%61?q"
	if got := Target(r); got != "https://10.0.0.7/%61" {
		t.Errorf("opaque: %s", got)
	}
}
