package evertoken

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/evertoken/evertoken/internal/record"
)

func TestExpiryFromAJWT(t *testing.T) {
	sign := func(claims jwt.MapClaims) string {
		s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("k"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	at := epoch.Unix()
	for name, tt := range map[string]struct {
		access string
		want   time.Time
	}{
		"exp - iat, whatever the server's clock": {sign(jwt.MapClaims{"exp": at + 7199 + 5000, "iat": at + 5000}), epoch.Add(7199 * time.Second)},
		"exp alone":                              {sign(jwt.MapClaims{"exp": at + 60}), epoch.Add(time.Minute)},
		"milliseconds":                           {sign(jwt.MapClaims{"exp": at * 1000}), time.Time{}},
		"absurd":                                 {sign(jwt.MapClaims{"exp": 1e300}), time.Time{}},
		"for ever":                               {sign(jwt.MapClaims{"exp": 1 << 34, "iat": 1}), epoch.Add(maxLifetime)},
		"no exp":                                 {sign(jwt.MapClaims{"sub": "x"}), time.Time{}},
		"opaque":                                 {"opaque", time.Time{}},
		"three parts of nothing":                 {"a.b.c", time.Time{}},
		"too long":                               {sign(jwt.MapClaims{"exp": at + 60, "x": strings.Repeat("x", 16<<10)}), time.Time{}},
		"iat after exp":                          {sign(jwt.MapClaims{"exp": at + 60, "iat": at + 90}), epoch.Add(time.Minute)},
		"before the epoch":                       {sign(jwt.MapClaims{"exp": -60}), time.Time{}},
		"an unknown algorithm":                   {"eyJhbGciOiJ4In0." + strings.Split(sign(jwt.MapClaims{"exp": at + 60}), ".")[1] + ".", time.Time{}},
	} {
		got, err := Token{AccessToken: tt.access}.normalize(epoch)
		if err != nil || !got.Expiry.Equal(tt.want) || got.TokenType != "Bearer" {
			t.Errorf("%s: %v, %v; want %v", name, got.Expiry, err, tt.want)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	token := Token{AccessToken: "s3cret-a", RefreshToken: "s3cret-r", Extra: map[string]string{"k": "s3cret-x"}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", token)
	if err := json.NewEncoder(&log).Encode(token); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&log, verb, token)
		fmt.Fprintf(&log, verb, &token)
		fmt.Fprintf(&log, verb, struct{ T Token }{token})
	}
	if strings.Contains(log.String(), "s3cret") || strings.Contains(log.String(), "733363726574") {
		t.Fatalf("a secret was printed: %s", log.String())
	}
}

func FuzzJWTExpiry(f *testing.F) {
	issued := epoch
	f.Add("e30.eyJleHAiOjE5MDAwMDAwMDAsImlhdCI6MTg5OTk5OTAwMH0.")
	f.Add("e30.eyJleHAiOjFlMzAwfQ.")
	f.Add("opaque")
	f.Fuzz(func(t *testing.T, access string) {
		token, err := Token{AccessToken: access}.normalize(issued)
		if err != nil || token.Expiry.IsZero() {
			return
		}
		if token.Expiry.After(issued.Add(maxLifetime)) {
			t.Fatalf("expiry %v lies beyond all bounds", token.Expiry)
		}
		newLife(token, time.Second).isDead(issued)
	})
}

// What is no secret is shown.
func TestTokenIsShown(t *testing.T) {
	token := Token{AccessToken: "a", TokenType: "Bearer", Expiry: epoch.In(time.FixedZone("east", 3600))}
	if got := token.String(); got != "Token{Bearer access:set refresh:none expiry:2030-01-01T00:00:00Z}" {
		t.Error(got)
	}
	if got := (Token{RefreshToken: "r"}).String(); got != "Token{ access:none refresh:set expiry:unknown}" {
		t.Error(got)
	}
	data, err := json.Marshal(token)
	if err != nil || !strings.Contains(string(data), `"TokenType":"Bearer"`) {
		t.Errorf("%s, %v", data, err)
	}
}

// An access token must fit into one header, in one piece.
func TestAccessTokenThatFitsNoHeader(t *testing.T) {
	for _, access := range []string{"a b", "a\tb", "a\r\nX: y", "a\x00", "a\x7f", "\u00fc"} {
		if _, err := (Token{AccessToken: access}).normalize(epoch); err == nil || strings.Contains(err.Error(), access) {
			t.Errorf("%q: %v", access, err)
		}
	}
	if _, err := (Token{AccessToken: "a", TokenType: "Bear\ner"}).normalize(epoch); err == nil || !strings.Contains(err.Error(), "byte 4 is 0xa") {
		t.Errorf("a type that cannot stand in a header: %v", err)
	}
	if got, err := (Token{AccessToken: "a", TokenType: "bearer \n"}).normalize(epoch); err != nil || got.authorization() != "Bearer a" {
		t.Errorf("a type with white space around it: %q, %v", got.authorization(), err)
	}
	if _, err := (Token{AccessToken: "!~-._/+="}).normalize(epoch); err != nil {
		t.Error(err)
	}
}

// What the issuer said stands, in UTC and on the wall clock; what it left out is
// filled in.
func TestNormalize(t *testing.T) {
	east := time.FixedZone("east", 3600)
	said := Token{AccessToken: "a", TokenType: "DPoP", IssuedAt: epoch.Add(-time.Hour).In(east), Expiry: epoch.Add(time.Hour).In(east), RefreshExpiry: epoch.In(east)}
	got, err := said.normalize(epoch)
	if err != nil || got.TokenType != "DPoP" || got.IssuedAt != epoch.Add(-time.Hour) || got.Expiry != epoch.Add(time.Hour) || got.RefreshExpiry != epoch {
		t.Errorf("%+v became %v, issued %v, refresh until %v; %v", said, got, got.IssuedAt, got.RefreshExpiry, err)
	}
	got, err = Token{AccessToken: "a", Expiry: epoch.Add(2 * maxLifetime)}.normalize(epoch)
	if err != nil || got.TokenType != "Bearer" || got.IssuedAt != epoch || got.Expiry != epoch.Add(maxLifetime) {
		t.Errorf("filled in: %v, issued %v; %v", got, got.IssuedAt, err)
	}
	at := time.Now() // with its monotonic reading
	if got, err = (Token{AccessToken: "a"}).normalize(at); err != nil || got.IssuedAt != at.Round(0).UTC() {
		t.Errorf("issued at %v, %v", got.IssuedAt, err)
	}
}

// RFC 6749, sections 5.1 and 6: what a renewal does not mention stays.
func TestInherit(t *testing.T) {
	old := Token{RefreshToken: "r", RefreshExpiry: epoch, Scope: "s", Extra: map[string]string{"k": "v"}}
	got := Token{AccessToken: "a"}.inherit(old)
	if got.AccessToken != "a" || got.RefreshToken != "r" || got.RefreshExpiry != epoch || got.Scope != "s" || !maps.Equal(got.Extra, old.Extra) {
		t.Errorf("inherited %+v", bare(got))
	}
	fresh := Token{RefreshToken: "new", Scope: "less", Extra: map[string]string{}}
	got = fresh.inherit(old)
	if got.RefreshToken != "new" || !got.RefreshExpiry.IsZero() || got.Scope != "less" || len(got.Extra) != 0 {
		t.Errorf("inherited %+v", bare(got))
	}
}

// bare shows the secrets of a token, which are none in a test.
func bare(t Token) any {
	type plain Token
	return plain(t)
}

// Milliseconds that are taken for seconds make years that JSON does not know, and
// a record that cannot be written would be lost at the next start.
func TestTokenOfAFarFutureIsSaved(t *testing.T) {
	far := time.Unix(1<<41, 0)
	token, err := Token{AccessToken: "a", Expiry: far, RefreshExpiry: far}.normalize(epoch)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := record.First(record.Tokens(token), causeSignIn).Encode(); err != nil {
		t.Errorf("Encode = %v", err)
	}
}
