package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/evertoken/evertoken"
)

const (
	audience   = "https://login.example.com"
	longSecret = "s3cret-0123456789-0123456789-0123456789"
)

// ask makes one refresh as the client and returns what the server saw.
func ask(t *testing.T, c ClientAuth) sight {
	t.Helper()
	far := newFarEnd(t, reply("200 OK", typeJSON, grantedBody))
	if _, err := (&Issuer{TokenURL: testToken, Client: c, Transport: far.transport()}).Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh}); err != nil {
		t.Fatal(err)
	}
	return far.only()
}

func TestSecrets(t *testing.T) {
	basic := ask(t, must(ClientSecretBasic(clientName, clientWord))(t))
	// RFC 6749, section 2.3.1: form-encoded first, then joined, then base64.
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("the+client:s3cret%3A%2B+%25%26word"))
	if basic.header.Get("Authorization") != want || basic.form.Has("client_id") || basic.form.Has("client_secret") {
		t.Errorf("basic: %q, form %v", basic.header.Get("Authorization"), basic.form)
	}
	post := ask(t, must(ClientSecretPost(clientName, clientWord))(t))
	if post.form.Get("client_id") != clientName || post.form.Get("client_secret") != clientWord || post.header.Get("Authorization") != "" {
		t.Errorf("post: %v", post.form)
	}
	none := ask(t, must(Public(clientName))(t))
	if none.form.Get("client_id") != clientName || len(none.form) != 3 || none.header.Get("Authorization") != "" {
		t.Errorf("none: %v", none.form)
	}
	key := ask(t, must(APIKey("apikey", "s3cret-key"))(t))
	if key.header.Get("apikey") != "s3cret-key" || len(key.form) != 2 {
		t.Errorf("api key: %v %v", key.header, key.form)
	}
}

// A server that quotes what it refuses puts no secret of the client into an error.
func TestSecretsInAnAnswer(t *testing.T) {
	const signed = "s3cret.client.assertion"
	statement := func(context.Context) (string, error) { return signed, nil }
	basic := base64.StdEncoding.EncodeToString([]byte("the+client:s3cret%3A%2B+%25%26word"))
	for name, tt := range map[string]struct {
		client ClientAuth
		quotes []string
	}{
		"post":      {must(ClientSecretPost(clientName, clientWord))(t), []string{clientWord, "client_secret=s3cret%3A%2B+%25%26word"}},
		"basic":     {must(ClientSecretBasic(clientName, clientWord))(t), []string{clientWord, "s3cret%3A%2B+%25%26word", basic, "Basic " + basic}},
		"assertion": {must(ClientAssertion(clientName, statement))(t), []string{signed}},
		"api key":   {must(APIKey("apikey", "s3cret-key"))(t), []string{"s3cret-key"}},
	} {
		for _, quote := range tt.quotes {
			body := `{"error":"invalid_client","error_description":"the client shows ` + quote + ` of ` + oldRefresh + `"}`
			far := newFarEnd(t, reply("401 Unauthorized", typeJSON, body))
			_, err := (&Issuer{TokenURL: testToken, Client: tt.client, Transport: far.transport()}).Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh})
			got := failure(t, err).Description
			if strings.Contains(got, basic) || !strings.HasPrefix(got, "the client shows ") || !strings.HasSuffix(got, "[secret] of [secret]") || strings.Contains(got, "word") {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
}

func TestBadClients(t *testing.T) {
	k := must(NewKey("EdDSA", edKey(t), ""))(t)
	for name, err := range map[string]error{
		"basic: the client id":      errOf(ClientSecretBasic("", "s3cret")),
		"basic: the secret":         errOf(ClientSecretBasic("c", "")),
		"post: the client id":       errOf(ClientSecretPost("", "s3cret")),
		"post: the secret":          errOf(ClientSecretPost("c", "")),
		"none: the client id":       errOf(Public("")),
		"tls_client_auth: the":      errOf(MutualTLS("")),
		"api key: this is no name":  errOf(APIKey("a b", "s3cret")),
		"api key: the key":          errOf(APIKey("apikey", "")),
		"_jwt: the audience":        errOf(PrivateKeyJWT("c", k, "")),
		"_jwt: the client id":       errOf(PrivateKeyJWT("", k, audience)),
		"_jwt: the key":             errOf(PrivateKeyJWT("c", nil, audience)),
		"secret_jwt: the client id": errOf(ClientSecretJWT("", longSecret, audience)),
		"secret_jwt: the audience":  errOf(ClientSecretJWT("c", longSecret, "")),
		"secret_jwt: the secret":    errOf(ClientSecretJWT("c", "s3cret", audience)),
		"assertion: the client id":  errOf(ClientAssertion("", nil)),
		"assertion: there is no":    errOf(ClientAssertion("c", nil)),
	} {
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func errOf(c ClientAuth, err error) error {
	if err != nil && c != nil {
		return errors.New("a client beside an error")
	}
	return err
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	return must(rsa.GenerateKey(rand.Reader, bits))(t)
}

func ecKey(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	return must(ecdsa.GenerateKey(c, rand.Reader))(t)
}

func edKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return must(private, err)(t)
}

func TestBadKeys(t *testing.T) {
	r, e, d := rsaKey(t, 2048), ecKey(t, elliptic.P256()), edKey(t)
	for _, tt := range []struct {
		algorithm string
		key       crypto.PrivateKey
		says      string
	}{
		{"RS256", e, "RS256 wants an *rsa.PrivateKey, not *ecdsa.PrivateKey"},
		{"PS256", d, "PS256 wants an *rsa.PrivateKey, not ed25519.PrivateKey"},
		{"RS256", &r.PublicKey, "not *rsa.PublicKey"},
		{"RS256", rsaKey(t, 1024), "at least 2048 bits"},
		{"RS256", (*rsa.PrivateKey)(nil), "wants an *rsa.PrivateKey"},
		{"RS256", nil, "not <nil>"},
		{"ES256", r, "ES256 wants an *ecdsa.PrivateKey, not *rsa.PrivateKey"},
		{"ES256", ecKey(t, elliptic.P384()), "on the curve P-256"},
		{"EdDSA", e, "EdDSA wants an ed25519.PrivateKey, not *ecdsa.PrivateKey"},
		{"EdDSA", ed25519.PrivateKey{}, "EdDSA wants"},
		{"HS256", []byte("s3cret"), `algorithm "HS256" is none of`},
		{"none", r, `algorithm "none" is none of`},
	} {
		k, err := NewKey(tt.algorithm, tt.key, "")
		if k != nil || err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s with %T: %v, want %q", tt.algorithm, tt.key, err, tt.says)
		}
	}
}

// statement verifies the assertion that a request carries.
func statement(t *testing.T, got sight, algorithm string, public any) (jwt.MapClaims, *jwt.Token) {
	t.Helper()
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(got.form.Get("client_assertion"), claims, func(*jwt.Token) (any, error) { return public, nil },
		jwt.WithValidMethods([]string{algorithm}), jwt.WithAudience(audience), jwt.WithIssuer("c"), jwt.WithSubject("c"),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil {
		t.Fatal(err)
	}
	if got.form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || got.form.Get("client_id") != "c" || got.form.Has("client_secret") {
		t.Errorf("%s: form %v", algorithm, got.form)
	}
	return claims, parsed
}

func TestAssertions(t *testing.T) {
	r, e, d := rsaKey(t, 2048), ecKey(t, elliptic.P256()), edKey(t)
	for algorithm, pair := range map[string][2]any{
		"RS256": {r, &r.PublicKey}, "PS256": {r, &r.PublicKey}, "ES256": {e, &e.PublicKey}, "EdDSA": {d, d.Public()},
	} {
		k := must(NewKey(algorithm, pair[0], "kid-1"))(t)
		claims, parsed := statement(t, ask(t, must(PrivateKeyJWT("c", k, audience))(t)), algorithm, pair[1])
		exp, err := claims.GetExpirationTime()
		if err != nil || time.Until(exp.Time) > time.Minute || parsed.Header["kid"] != "kid-1" || claims["jti"] == "" {
			t.Errorf("%s: header %v, claims %v", algorithm, parsed.Header, claims)
		}
	}
	_, parsed := statement(t, ask(t, must(ClientSecretJWT("c", longSecret, audience))(t)), "HS256", []byte(longSecret))
	if _, has := parsed.Header["kid"]; has {
		t.Errorf("header %v", parsed.Header)
	}
}

// Each attempt on the wire carries a statement of its own, those included that
// are repeated because the one before did not get there.
func TestAssertionIsNewForEachAttempt(t *testing.T) {
	made := 0
	auth := must(ClientAssertion("c", func(context.Context) (string, error) {
		made++
		return "statement " + string(rune('0'+made)), nil
	}))(t)
	far := newFarEnd(t, reply("200 OK", typeJSON, grantedBody))
	refused := errors.New("refused")
	far.dialErr = refused
	i := &Issuer{TokenURL: testToken, Client: auth, Transport: far.transport()}
	if _, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh}); err != nil {
		t.Fatal(err)
	}
	if got := far.only(); got.form.Get("client_assertion") != "statement 2" || far.dials != 2 {
		t.Errorf("statement %q after %d dials, want the second", got.form.Get("client_assertion"), far.dials)
	}

	k := must(NewKey("EdDSA", edKey(t), ""))(t)
	sign := Assertion{Issuer: "c", Audience: audience}.Signed(k)
	if one, two := must(sign(t.Context()))(t), must(sign(t.Context()))(t); one == two {
		t.Error("two statements are the same")
	}
}

// What proves the client fails before anything is sent: that is no verdict.
func TestNoAssertion(t *testing.T) {
	gone := errors.New("the file is gone")
	auth := must(ClientAssertion("c", func(context.Context) (string, error) { return "", gone }))(t)
	far := newFarEnd(t, "")
	_, err := (&Issuer{TokenURL: testToken, Client: auth, Transport: far.transport()}).Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh})
	if failed := failure(t, err); failed.Outcome != evertoken.NotSent || !errors.Is(err, gone) || far.dials != 0 {
		t.Errorf("%v after %d dials, want NotSent after none", err, far.dials)
	}
}

// The certificate of the transport reaches the server, beside the client_id.
func TestMutualTLS(t *testing.T) {
	d := edKey(t)
	certificate := selfSigned(t, d)
	var subject, id string
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject, id = r.TLS.PeerCertificates[0].Subject.CommonName, r.FormValue("client_id")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(grantedBody))
	}))
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	i := &Issuer{TokenURL: srv.URL, Client: must(MutualTLS("c"))(t), Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}}
	if _, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh}); err != nil {
		t.Fatal(err)
	}
	if subject != "me" || id != "c" {
		t.Errorf("the server saw certificate %q and client %q", subject, id)
	}
}
