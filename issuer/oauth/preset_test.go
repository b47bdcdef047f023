package oauth

import (
	"slices"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
)

// Words of servers that are not among the recorded ones, as their sources and
// documentation have them. Each preset also knows the common words, and does not
// take a proxy's for its server's.
func TestPresetsThatAreNotRecorded(t *testing.T) {
	const invalid, claimed = `{"error":"invalid_request","error_description":"`, "Refresh token is invalid or has already been claimed by another client."
	json := func(status, body string) string { return reply(status, typeJSON, body) }
	for _, tt := range []struct {
		name    string
		d       Dialect
		raw     string
		outcome evertoken.Outcome
	}{
		{"dex: dead", Dex(), json("400 Bad", invalid+claimed+`"}`), rejected},
		{"dex: expired", Dex(), json("400 Bad", invalid+`Refresh token expired."}`), rejected},
		{"dex: another client's", Dex(), json("400 Bad", `{"error":"invalid_grant","error_description":"`+claimed+`"}`), rejected},
		{"dex: bad request", Dex(), json("400 Bad", invalid+`No refresh token is found in request."}`), wrongSetup},
		{"dex: the words with another status", Dex(), json("403 No", invalid+`Refresh token expired."}`), wrongSetup},
		{"dex: broken", Dex(), json("500 Oops", `{"error":"server_error"}`), unavailable},
		{"gitea: used", Gitea(), json("400 Bad", `{"error":"unauthorized_client","error_description":"token was already used"}`), rejected},
		{"gitea: expired", Gitea(), json("400 Bad", `{"error":"unauthorized_client","error_description":"unable to parse refresh token"}`), rejected},
		{"gitea: grant is gone", Gitea(), json("400 Bad", `{"error":"invalid_grant","error_description":"grant does not exist"}`), rejected},
		{"gitea: wrong client", Gitea(), json("400 Bad", `{"error":"unauthorized_client","error_description":"unexpected redirect URI"}`), wrongSetup},
		{"glewlwyd: dead", Glewlwyd(), reply("400 Bad", "", ""), rejected},
		{"glewlwyd: a proxy's 400", Glewlwyd(), reply("400 Bad", "Content-Type: text/html\r\n", "<html>"), unavailable},
		{"glewlwyd: wrong secret", Glewlwyd(), json("400 Bad", `{"error":"invalid_client"}`), wrongSetup},
		{"directus: dead", Directus(), json("401 No", `{"errors":[{"message":"Invalid user credentials.","extensions":{"code":"INVALID_CREDENTIALS"}}]}`), rejected},
		{"directus: a proxy's 401", Directus(), json("401 No", `{"message":"who are you"}`), unavailable},
		{"directus: bad request", Directus(), json("400 Bad", `{"errors":[{"message":"m","extensions":{"code":"INVALID_PAYLOAD"}}]}`), wrongSetup},
		{"github: dead", GitHub(), json("200 OK", `{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}`), rejected},
		{"github: wrong secret", GitHub(), json("200 OK", `{"error":"incorrect_client_credentials"}`), wrongSetup},
		{"supabase: banned", Supabase(), json("400 Bad", `{"code":"user_banned","message":"m"}`), wrongSetup},
		{"supabase: another parameter", Supabase(), json("400 Bad", `{"code":"validation_failed","message":"email is not valid"}`), wrongSetup},
		{"supabase: an older version", Supabase(), json("400 Bad", `{"error":"invalid_grant","error_description":"Invalid Refresh Token"}`), rejected},
		{"pocketbase: a proxy's 401", PocketBase(), json("401 No", `{"message":"log in to the VPN"}`), unavailable},
	} {
		far := newFarEnd(t, tt.raw)
		i := &Issuer{TokenURL: testToken, Transport: far.transport(), Dialect: tt.d}
		_, err := i.Refresh(t.Context(), evertoken.Token{AccessToken: "s3cret", RefreshToken: oldRefresh})
		if failed := failure(t, err); failed.Outcome != tt.outcome {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.outcome)
		}
	}
}

func TestDirectusGrants(t *testing.T) {
	far := newFarEnd(t, reply("200 OK", typeJSON, `{"data":{"access_token":"a","expires":900000,"refresh_token":"r"}}`))
	mock, now := at()
	got, err := (&Issuer{TokenURL: testToken, Transport: far.transport(), Clock: mock, Dialect: Directus()}).Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh})
	if err != nil || got.AccessToken != "a" || got.RefreshToken != "r" || !got.Expiry.Equal(now.Add(15*time.Minute)) {
		t.Errorf("%v until %v, %v", got, got.Expiry, err)
	}
}

func TestPresetNames(t *testing.T) {
	var names []string
	for _, d := range Presets() {
		if d.Name == "" || slices.Contains(names, d.Name) {
			t.Errorf("preset %q", d.Name)
		}
		names = append(names, d.Name)
	}
}

// Members that a dialect keeps stay with the session.
func TestKeep(t *testing.T) {
	far := newFarEnd(t, reply("200 OK", typeJSON, `{"access_token":"a","instance_url":"https://eu7","n":1}`))
	i := &Issuer{TokenURL: testToken, Transport: far.transport(), Dialect: Dialect{Keep: []string{"instance_url", "n", "none"}}}
	got, err := i.Refresh(t.Context(), evertoken.Token{RefreshToken: oldRefresh})
	if err != nil || len(got.Extra) != 1 || got.Extra["instance_url"] != "https://eu7" {
		t.Errorf("%v, %v", got.Extra, err)
	}
}
