package oauth

import (
	"context"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/evertoken/evertoken"
)

func text(s string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return s, nil }
}

func TestGrants(t *testing.T) {
	const urn = "urn:ietf:params:oauth:"
	for name, tt := range map[string]struct {
		grant Grant
		want  url.Values
	}{
		"client credentials": {ClientCredentials, url.Values{"grant_type": {"client_credentials"}}},
		"JWT bearer":         {JWTBearer(text("j")), url.Values{"grant_type": {urn + "grant-type:jwt-bearer"}, "assertion": {"j"}}},
		"token exchange": {TokenExchange(Exchange{Subject: text("s")}), url.Values{
			"grant_type": {urn + "grant-type:token-exchange"}, "subject_token": {"s"}, "subject_token_type": {urn + "token-type:access_token"}}},
		"token exchange with all": {
			TokenExchange(Exchange{Subject: text("s"), SubjectType: IDTokenType, Actor: text("a"), ActorType: JWTType, RequestedType: AccessTokenType}), url.Values{
				"grant_type": {urn + "grant-type:token-exchange"}, "subject_token": {"s"}, "subject_token_type": {urn + "token-type:id_token"},
				"actor_token": {"a"}, "actor_token_type": {urn + "token-type:jwt"}, "requested_token_type": {urn + "token-type:access_token"}}},
		"one's own": {func(context.Context) (url.Values, error) {
			return url.Values{"grant_type": {"password"}, "scope": {"other"}, "audience": {"other"}}, nil
		}, url.Values{"grant_type": {"password"}, "scope": {"other"}, "audience": {"other"}}},
	} {
		far := newFarEnd(t, reply("200 OK", typeJSON, `{"access_token":"a","issued_token_type":"x"}`))
		i := &Issuer{TokenURL: testToken, Transport: far.transport(), Grant: tt.grant, Scope: []string{"one", "two"},
			Params: url.Values{"audience": {"api"}, "resource": {"https://a", "https://b"}}}
		got, err := i.Mint(t.Context())
		if err != nil || got.AccessToken != "a" || got.Extra["issued_token_type"] != "x" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		for param, values := range map[string][]string{"scope": {"one two"}, "audience": {"api"}, "resource": {"https://a", "https://b"}} {
			if !tt.want.Has(param) {
				tt.want[param] = values
			}
		}
		if sent := far.only().form; !reflect.DeepEqual(sent, tt.want) {
			t.Errorf("%s: sent %v, want %v", name, sent, tt.want)
		}
	}
}

func TestGrantsThatFail(t *testing.T) {
	gone := errors.New("gone")
	fail := func(context.Context) (string, error) { return "", gone }
	verdict := &evertoken.RefreshError{Outcome: evertoken.Rejected, Err: gone}
	for name, tt := range map[string]struct {
		grant   Grant
		outcome evertoken.Outcome
		cause   error
	}{
		"none":              {nil, evertoken.Misconfigured, nil},
		"assertion":         {JWTBearer(fail), evertoken.NotSent, gone},
		"subject":           {TokenExchange(Exchange{Subject: fail}), evertoken.NotSent, gone},
		"actor":             {TokenExchange(Exchange{Subject: text("s"), Actor: fail}), evertoken.NotSent, gone},
		"no subject":        {TokenExchange(Exchange{}), evertoken.Misconfigured, nil},
		"a verdict is kept": {func(context.Context) (url.Values, error) { return nil, verdict }, evertoken.Rejected, gone},
	} {
		far := newFarEnd(t, "")
		_, err := (&Issuer{TokenURL: testToken, Transport: far.transport(), Grant: tt.grant}).Mint(t.Context())
		failed := failure(t, err)
		if failed.Outcome != tt.outcome || tt.cause != nil && !errors.Is(err, tt.cause) || far.dials != 0 {
			t.Errorf("%s: %v after %d dials", name, err, far.dials)
		}
	}
}

// A session without refresh token is renewed by the grant that began it; one
// that has a refresh token is not.
func TestRenewalMintsAnew(t *testing.T) {
	far := newFarEnd(t, reply("200 OK", typeJSON, `{"access_token":"a","id_token":"new"}`))
	i := &Issuer{TokenURL: testToken, Transport: far.transport(), Grant: ClientCredentials}
	old := map[string]string{"id_token": "old", "key": "k"}
	got, err := i.Refresh(t.Context(), evertoken.Token{AccessToken: "old", Extra: old})
	if err != nil || !reflect.DeepEqual(got.Extra, map[string]string{"id_token": "new", "key": "k"}) || old["id_token"] != "old" {
		t.Errorf("got %v with %v, %v", got, got.Extra, err)
	}
	if _, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh}); err != nil {
		t.Error(err)
	}
	seen := far.requests()
	if len(seen) != 2 || seen[0].form.Get("grant_type") != "client_credentials" || seen[1].form.Get("grant_type") != "refresh_token" {
		t.Errorf("requests %v", seen)
	}
}

func TestAssertionSays(t *testing.T) {
	private := edKey(t)
	k := must(NewKey("EdDSA", private, ""))(t)
	a := Assertion{Issuer: "svc@example.com", Subject: "ann", Audience: audience, Claims: map[string]any{"scope": "x", "iss": "overruled"}}
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(must(a.Signed(k)(t.Context()))(t), claims, func(*jwt.Token) (any, error) { return private.Public(), nil }); err != nil {
		t.Fatal(err)
	}
	if claims["iss"] != "svc@example.com" || claims["sub"] != "ann" || claims["aud"] != audience || claims["scope"] != "x" || len(a.Claims) != 2 {
		t.Errorf("claims %v", claims)
	}
	for _, bad := range []Assertion{{Audience: audience}, {Issuer: "i"}} {
		if _, err := bad.Signed(k)(t.Context()); err == nil || !strings.Contains(err.Error(), "is empty") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// JSON bodies and grants in the URL, as Supabase wants them; a second attempt is
// no different from the first.
func TestJSONRequests(t *testing.T) {
	far := newFarEnd(t, reply("200 OK", typeJSON, grantedBody))
	far.dialErr = errors.New("refused")
	i := &Issuer{TokenURL: testToken + "?k=v", Transport: far.transport(), Dialect: Supabase(), Client: must(APIKey("apikey", "s3cret"))(t),
		Grant: func(context.Context) (url.Values, error) {
			return url.Values{"grant_type": {"password"}, "email": {"a@example.com"}, "tags": {"x", "y"}}, nil
		}}
	if _, err := i.Mint(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := far.only()
	if got.path != "/token?grant_type=password&k=v" || got.body != `{"email":"a@example.com","tags":["x","y"]}` ||
		got.header.Get("Content-Type") != "application/json" || got.header.Get("Apikey") != "s3cret" {
		t.Errorf("%s %s %v", got.path, got.body, got.header)
	}
}
