package oauth

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/dpop"
	"github.com/evertoken/evertoken/internal/exchange"
)

// A recording is one exchange with a real server, whose answer is kept byte for
// byte. The servers are gone, and their secrets with them.
type recording struct {
	Server         string      `json:"server"`
	Case           string      `json:"case"`
	Index          int         `json:"index"` // of several requests at once
	Method         string      `json:"method"`
	URL            string      `json:"url"`
	RequestHeaders [][2]string `json:"request_headers"`
	RequestBody    string      `json:"request_body"`
	Status         int         `json:"status"`
	Headers        [][2]string `json:"response_headers"`
	Body           string      `json:"response_body"`
}

func recordings(t *testing.T) []recording {
	t.Helper()
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) != 5 {
		t.Fatalf("recordings of %d servers, %v; want 5", len(files), err)
	}
	var list []recording
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r recording
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			list = append(list, r)
		}
		_ = f.Close()
		if lines.Err() != nil {
			t.Fatal(lines.Err())
		}
	}
	return list
}

const (
	granted     = evertoken.Outcome(-1)
	rejected    = evertoken.Rejected
	wrongSetup  = evertoken.Misconfigured
	unavailable = evertoken.Unavailable
	ambiguous   = evertoken.Ambiguous
)

// A ruling is what a recorded answer must mean to the client, and why.
type ruling struct {
	outcome evertoken.Outcome
	reason  string
}

// rulings has an entry for each recorded case and status, but for the discovery
// documents, which have a test of their own.
var rulings = map[string]map[string]ruling{
	"hydra": {
		"refresh-ok 200":                         {granted, "the plain case: a new pair"},
		"refresh-reuse 400":                      {rejected, "invalid_grant: the token was used before, and there is no grace"},
		"refresh-after-reuse 400":                {rejected, "invalid_grant: the reuse ended the whole family"},
		"refresh-concurrent-2 200":               {granted, "both of two at once get a pair; that only one will live is not said yet"},
		"refresh-after-concurrent-2-winner1 400": {rejected, "invalid_grant: the other winner made this pair count as used"},
		"refresh-after-concurrent-2-winner2 400": {rejected, "invalid_grant: the family has ended by now"},
		"refresh-concurrent-5 200":               {granted, "four of five at once get a pair"},
		"refresh-concurrent-5 400":               {rejected, "invalid_grant for the fifth: already used"},
		"refresh-after-concurrent-5-winner1 400": {rejected, "invalid_grant: nobody survives a race of five"},
		"refresh-after-concurrent-5-winner3 400": {rejected, "invalid_grant: nobody survives a race of five"},
		"refresh-after-concurrent-5-winner4 400": {rejected, "invalid_grant: nobody survives a race of five"},
		"refresh-after-concurrent-5-winner5 400": {rejected, "invalid_grant: nobody survives a race of five"},
		"refresh-garbage 400":                    {rejected, "invalid_grant: a token that never was"},
		"refresh-missing-param 400":              {rejected, "invalid_grant for a request without a token, which is not sent"},
		"refresh-empty-param 400":                {rejected, "invalid_grant for an empty token, which is not sent"},
		"unsupported-grant 400":                  {wrongSetup, "invalid_request: the request is at fault, not the session"},
		"client-bad-secret 401":                  {wrongSetup, "invalid_client: a wrong secret costs no session"},
		"client-bad-secret-post 401":             {wrongSetup, "invalid_client: wrong way to prove the client"},
		"client-unknown 401":                     {wrongSetup, "invalid_client: no such client"},
		"client-none 400":                        {wrongSetup, "invalid_request: no proof of the client"},
		"scope-broader 200":                      {granted, "more scope than granted is ignored"},
		"scope-narrower 200":                     {granted, "less scope is granted"},
		"token-get 405":                          {ambiguous, "no OAuth error: some page that is not the endpoint; nothing is known"},
		"token-json 400":                         {wrongSetup, "invalid_request: it does not read JSON"},
		"client-credentials 200":                 {granted, "no refresh token, and an empty scope"},
		"revoke-rt 200":                          {granted, "revoked"},
		"refresh-after-revoke 400":               {rejected, "invalid_grant: revoked"},
		"revoke-garbage 200":                     {granted, "RFC 7009, section 2.2: an unknown token is as good as revoked"},
		"revoke-noauth 400":                      {wrongSetup, "invalid_request: no proof of the client"},
		"refresh-after-at-expiry 200":            {granted, "a dead access token does not matter to the refresh token"},
		"refresh-expired 400":                    {rejected, "invalid_grant: the refresh token's time is over"},
	},
	"oidc-provider": {
		"refresh-ok 200":                         {granted, "the plain case: a new pair"},
		"refresh-reuse 400":                      {rejected, "invalid_grant: used before"},
		"refresh-after-reuse 400":                {rejected, "invalid_grant: the reuse ended the grant"},
		"refresh-concurrent-2 200":               {granted, "the first of two at once"},
		"refresh-concurrent-2 400":               {rejected, "invalid_grant: the second counts as a reuse"},
		"refresh-after-concurrent-2-winner1 400": {rejected, "invalid_grant: and so the winner has lost too"},
		"refresh-concurrent-5 200":               {granted, "the first of five at once"},
		"refresh-concurrent-5 400":               {rejected, "invalid_grant: the others count as reuses"},
		"refresh-after-concurrent-5-winner1 400": {rejected, "invalid_grant: and so the winner has lost too"},
		"refresh-garbage 400":                    {rejected, "invalid_grant: a token that never was"},
		"refresh-missing-param 400":              {wrongSetup, "invalid_request: no token in the request"},
		"refresh-empty-param 400":                {wrongSetup, "invalid_request: an empty token"},
		"unsupported-grant 400":                  {wrongSetup, "unsupported_grant_type"},
		"client-bad-secret 401":                  {wrongSetup, "invalid_client: a wrong secret costs no session"},
		"client-bad-secret-post 401":             {wrongSetup, "invalid_client"},
		"client-unknown 401":                     {wrongSetup, "invalid_client: no such client"},
		"client-none 400":                        {wrongSetup, "invalid_request: no proof of the client"},
		"scope-broader 400":                      {wrongSetup, "invalid_scope: the token is not spent by it"},
		"scope-narrower 200":                     {granted, "less scope is granted"},
		"token-get 404":                          {ambiguous, "no OAuth error: not the endpoint; nothing is known"},
		"token-json 400":                         {wrongSetup, "invalid_request: it does not read JSON"},
		"client-credentials 400":                 {wrongSetup, "invalid_request: this client may not"},
		"client-credentials-ok 200":              {granted, "no refresh token"},
		"client-credentials-bad-scope 200":       {granted, "an unknown scope is left out, and scope with it"},
		"revoke-rt 200":                          {granted, "revoked"},
		"refresh-after-revoke 400":               {rejected, "invalid_grant: revoked"},
		"revoke-garbage 200":                     {granted, "an unknown token is as good as revoked"},
		"revoke-noauth 400":                      {wrongSetup, "invalid_request: no proof of the client"},
		"error-html 400":                         {unavailable, "a page for people is no verdict, though this one is the server's own"},
		"refresh-after-at-expiry 200":            {granted, "a dead access token does not matter"},
		"refresh-expired 400":                    {rejected, "invalid_grant: the refresh token's time is over"},
		"public-refresh 200":                     {granted, "a client without a secret"},
		"post-refresh 200":                       {granted, "the secret among the parameters"},
		"wrong-auth-method 200":                  {granted, "this server is lenient about where the secret stands"},
		"device-authorization 200":               {granted, "a code, and no interval"},
		"device-pending 400":                     {ambiguous, "authorization_pending: means something to the poll alone"},
		"device-pending-2 400":                   {ambiguous, "authorization_pending, though asked too soon"},
		"device-granted-5s-late 200":             {granted, "the person has confirmed"},
		"device-code-reused 400":                 {rejected, "invalid_grant: a code is good for once"},
		"device-bad-code 400":                    {rejected, "invalid_grant: a code that never was"},
		"dpop-missing 400":                       {rejected, "invalid_grant: the code is gone with the wrong attempt"},
		"dpop-code 200":                          {granted, "a token of type DPoP"},
		"dpop-refresh-wrong-key 400":             {rejected, "invalid_grant: to the server, a stranger's token"},
		"dpop-refresh-no-proof 400":              {rejected, "invalid_grant: to the server, a stranger's token"},
		"dpop-refresh-bad-htu 400":               {wrongSetup, "invalid_dpop_proof: the token is not spent by it"},
		"dpop-refresh-stale-iat 400":             {wrongSetup, "use_dpop_nonce: the token is not spent by it"},
		"dpop-refresh-future-iat 400":            {wrongSetup, "use_dpop_nonce: the token is not spent by it"},
		"dpop-refresh-ok 200":                    {granted, "a new pair of type DPoP"},
		"dpop-refresh-bad-nonce 400":             {wrongSetup, "use_dpop_nonce: the token is not spent by it"},
		"dpop-nonce-required-code 400":           {wrongSetup, "use_dpop_nonce: the code is not spent by it"},
		"dpop-nonce-code-retry 200":              {granted, "the code was not spent before"},
		"dpop-nonce-required-refresh 400":        {wrongSetup, "use_dpop_nonce: the token is not spent by it"},
		"dpop-nonce-refresh-retry 200":           {granted, "the token was not spent before"},
		"norotate-1 200":                         {granted, "the same refresh token again"},
		"default-rotation-early 200":             {granted, "the same refresh token again, early in its life"},
		"default-rotation-late 200":              {granted, "a new refresh token late in the life of the old"},
	},
	"zitadel-oidc": {
		"refresh-ok 200":                         {granted, "the plain case; the lifetime is a second short"},
		"refresh-reuse 400":                      {rejected, "invalid_grant: used before"},
		"refresh-after-reuse 200":                {granted, "a reuse does not end the family here"},
		"refresh-concurrent-2 200":               {granted, "the first of two at once"},
		"refresh-concurrent-2 400":               {rejected, "invalid_grant: the second; whoever lost finds the winner's pair in the store"},
		"refresh-after-concurrent-2-winner1 200": {granted, "the winner lives"},
		"refresh-concurrent-5 200":               {granted, "one of five at once"},
		"refresh-concurrent-5 400":               {rejected, "invalid_grant: the other four"},
		"refresh-after-concurrent-5-winner5 200": {granted, "the winner lives"},
		"refresh-garbage 400":                    {rejected, "invalid_grant: a token that never was"},
		"refresh-missing-param 400":              {wrongSetup, "invalid_request: no token in the request"},
		"refresh-empty-param 400":                {wrongSetup, "invalid_request: an empty token"},
		"unsupported-grant 400":                  {wrongSetup, "unsupported_grant_type"},
		"client-bad-secret 401":                  {wrongSetup, "invalid_client: a wrong secret costs no session"},
		"client-bad-secret-post 401":             {wrongSetup, "invalid_client"},
		"client-unknown 500":                     {wrongSetup, "server_error, but the text says that there is no such client: no waiting helps"},
		"client-none 500":                        {wrongSetup, "server_error, likewise"},
		"scope-broader 400":                      {wrongSetup, "invalid_scope"},
		"scope-narrower 200":                     {granted, "less scope is granted"},
		"token-get 500":                          {wrongSetup, "server_error, likewise: a request without a client"},
		"token-json 400":                         {wrongSetup, "invalid_request: it does not read JSON"},
		"client-credentials 401":                 {wrongSetup, "invalid_client: this client may not"},
		"client-credentials-ok 200":              {granted, "no refresh token"},
		"revoke-rt 200":                          {granted, "revoked"},
		"refresh-after-revoke 400":               {rejected, "invalid_grant: revoked"},
		"revoke-garbage 200":                     {granted, "an unknown token is as good as revoked"},
		"revoke-noauth 401":                      {wrongSetup, "invalid_client: no proof of the client"},
	},
	"pocketbase": {
		"login-ok 200":                      {granted, "a token, in its own member; its end stands in the JWT"},
		"login-bad-password 400":            {rejected, "the text is all that tells"},
		"refresh-ok 200":                    {granted, "the token has renewed itself"},
		"refresh-reuse 200":                 {granted, "nothing is spent by it"},
		"refresh-concurrent-2 200":          {granted, "nothing is spent by it"},
		"refresh-none 401":                  {rejected, "no token in the request, which is not sent"},
		"refresh-garbage 401":               {rejected, "a token that never was"},
		"refresh-get 404":                   {ambiguous, "not the endpoint; nothing is known"},
		"refresh-expired 401":               {rejected, "the token's time is over, and there is no other"},
		"refresh-after-password-change 401": {rejected, "a new password ends all sessions"},
	},
	"supabase-auth": {
		"alg0-refresh-ok 200":             {granted, "the plain case: a new pair, and a user that is left out"},
		"alg0-reuse-within-interval 200":  {granted, "within the reuse interval the spent token brings the active one"},
		"alg0-refresh-2 200":              {granted, "a new pair"},
		"alg0-reuse-parent-of-active 200": {granted, "the parent of the active token is accepted after the interval too"},
		"alg0-reuse-grandparent 400":      {rejected, "refresh_token_already_used"},
		"alg0-after-reuse 200":            {granted, "the family has outlived that"},
		"alg0-concurrent-2 200":           {granted, "both get the same pair"},
		"alg0-concurrent-5 200":           {granted, "all get the same pair"},
		"alg2-refresh-ok 200":             {granted, "the same with tokens of the newer form"},
		"alg2-reuse-within-interval 200":  {granted, "within the reuse interval"},
		"alg2-refresh-2 200":              {granted, "a new pair"},
		"alg2-reuse-parent-of-active 200": {granted, "the parent of the active token"},
		"alg2-reuse-grandparent 200":      {granted, "the newer form is more forgiving"},
		"alg2-after-reuse 200":            {granted, "the session lives"},
		"alg2-concurrent-2 200":           {granted, "both get the same pair"},
		"alg2-concurrent-5 200":           {granted, "all get the same pair"},
		"norotate-1 200":                  {granted, "a new pair, though rotation is off"},
		"norotate-old-after-interval 200": {granted, "with rotation off a spent token is as good as new"},
		"family-r1 200":                   {granted, "a new pair"},
		"family-r2 200":                   {granted, "a new pair"},
		"family-replay-r1 400":            {rejected, "refresh_token_already_used: beyond the interval"},
		"family-r3-after-replay 400":      {rejected, "refresh_token_already_used: the replay ended the family"},
		"refresh-garbage 400":             {rejected, "validation_failed, and the text says that it is about the refresh token"},
		"refresh-garbage-api-version 400": {rejected, "the same, in the words of a newer version"},
		"refresh-empty 400":               {rejected, "validation_failed for an empty token, which is not sent"},
		"refresh-no-body 400":             {wrongSetup, "bad_json: the request is at fault"},
		"refresh-form-encoded 400":        {wrongSetup, "bad_json: it does not read forms"},
		"grant-in-form 400":               {wrongSetup, "bad_json: it does not read forms"},
		"token-get 405":                   {ambiguous, "no error code, no body; nothing is known"},
		"login-bad-password 400":          {rejected, "invalid_credentials"},
		"logout 204":                      {granted, "signed out by the access token"},
		"refresh-after-logout 400":        {rejected, "refresh_token_not_found"},
		"refresh-session-timebox 400":     {rejected, "session_expired: a session lives only so long"},
		"refresh-session-inactive 400":    {rejected, "session_expired: nobody used it"},
		"rate-limit 200":                  {granted, "one of thirty within the limit"},
		"rate-limit-31 429":               {unavailable, "over_request_rate_limit: later"},
	},
}

// key names the entry of a recording.
func (r recording) key() string {
	if strings.HasPrefix(r.Case, "rate-limit-") && r.Status == http.StatusOK {
		return "rate-limit 200"
	}
	return fmt.Sprintf("%s %d", r.Case, r.Status)
}

// raw is the recorded answer as bytes. Of its headers only those are made anew
// that belong to the connection.
func (r recording) raw() string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", r.Status, http.StatusText(r.Status))
	for _, h := range r.Headers {
		switch strings.ToLower(h[0]) {
		case "connection", "keep-alive", "content-length", "transfer-encoding":
		default:
			fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
		}
	}
	if r.Status != http.StatusNoContent {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
	}
	b.WriteString("Connection: close\r\n\r\n" + r.Body)
	return b.String()
}

func (r recording) header(name string) string {
	for _, h := range r.RequestHeaders {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

// params are the parameters that were recorded, wherever they stood.
func (r recording) params(t *testing.T) url.Values {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	all := u.Query()
	var object map[string]string
	switch {
	case strings.HasPrefix(r.RequestBody, "{"):
		if err := json.Unmarshal([]byte(r.RequestBody), &object); err != nil {
			t.Fatal(err)
		}
		for name, v := range object {
			all.Set(name, v)
		}
	default:
		form, err := url.ParseQuery(r.RequestBody)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(all, form)
	}
	return all
}

// client is who the recorded request says that it is.
func (r recording) client(t *testing.T) ClientAuth {
	t.Helper()
	form := r.params(t)
	if basic, ok := strings.CutPrefix(r.header("Authorization"), "Basic "); ok {
		both, err := base64.StdEncoding.DecodeString(basic)
		id, secret, found := strings.Cut(string(both), ":")
		if err != nil || !found {
			t.Fatalf("recorded Authorization %q", basic)
		}
		return must(ClientSecretBasic(id, secret))(t)
	}
	switch {
	case form.Get("client_secret") != "":
		return must(ClientSecretPost(form.Get("client_id"), form.Get("client_secret")))(t)
	case form.Get("client_id") != "":
		return must(Public(form.Get("client_id")))(t)
	}
	return nil
}

func preset(t *testing.T, name string) Dialect {
	t.Helper()
	for _, d := range Presets() {
		if d.Name == name {
			return d
		}
	}
	t.Fatalf("there is no preset %q", name)
	return Dialect{}
}

// replay has the issuer ask again what was recorded, of a server that answers
// again what was recorded.
func (r recording) replay(t *testing.T, far *farEnd) (evertoken.Token, error) {
	mock, _ := at()
	endpoint, _, _ := strings.Cut(r.URL, "?")
	i := &Issuer{TokenURL: endpoint, RevocationURL: endpoint, DeviceURL: endpoint, Transport: far.transport(),
		Clock: mock, Client: r.client(t), Dialect: preset(t, r.Server),
		DPoP: strings.HasPrefix(r.Case, "dpop-") && r.Status == 200} // refusals that a nonce mends: see dpop_test.go
	form := r.params(t)
	token := evertoken.Token{AccessToken: "unknown", RefreshToken: or(form.Get("refresh_token"), "unknown")}
	if raw := r.header("Authorization"); i.Dialect.RenewByBearer && raw != "" {
		token = evertoken.Token{AccessToken: raw}
	}
	switch {
	case strings.Contains(r.Case, "revoke-"), r.Case == "logout":
		return evertoken.Token{}, i.Revoke(t.Context(), evertoken.Token{AccessToken: "unknown", RefreshToken: form.Get("token")})
	case r.Case == "device-authorization":
		_, err := i.deviceCode(t.Context())
		return evertoken.Token{}, err
	case form.Get("grant_type") == "refresh_token", strings.HasSuffix(endpoint, "/auth-refresh"):
		return i.Refresh(t.Context(), token)
	}
	for _, name := range []string{"client_id", "client_secret"} {
		form.Del(name) // the client adds them
	}
	return i.Obtain(t.Context(), func(context.Context) (url.Values, error) { return form, nil })
}

func TestRecordedAnswers(t *testing.T) {
	used := map[string]bool{}
	for _, r := range recordings(t) {
		if r.Case == "discovery" {
			continue
		}
		t.Run(fmt.Sprintf("%s/%s#%d", r.Server, r.Case, r.Index), func(t *testing.T) {
			want, ok := rulings[r.Server][r.key()]
			if !ok {
				t.Fatalf("no ruling for %q", r.key())
			}
			used[r.Server+r.key()] = true
			far := newFarEnd(t, r.raw())
			got, err := r.replay(t, far)
			far.only()
			if err == nil {
				if want.outcome != granted {
					t.Fatalf("granted, want %v: %s", want.outcome, want.reason)
				}
				r.checkToken(t, got)
				return
			}
			failed := r.failure(t, err)
			if failed.Outcome != want.outcome || failed.StatusCode != r.Status {
				t.Fatalf("%v, want %v: %s", err, want.outcome, want.reason)
			}
		})
	}
	for server, cases := range rulings {
		for key := range cases {
			if !used[server+key] {
				t.Errorf("%s: nothing is recorded for %q", server, key)
			}
		}
	}
}

// failure checks that an error holds facts, and none of the secrets.
func (r recording) failure(t *testing.T, err error) *evertoken.RefreshError {
	t.Helper()
	var failed *evertoken.RefreshError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a *RefreshError", err)
	}
	for _, name := range []string{"refresh_token", "token", "client_secret", "device_code", "code", "password"} {
		if secret := r.params(t).Get(name); len(secret) > 5 && strings.Contains(err.Error(), secret) {
			t.Fatalf("the error holds %s: %v", name, err)
		}
	}
	return failed
}

// checkToken compares with what stands in the body, read in another way.
func (r recording) checkToken(t *testing.T, got evertoken.Token) {
	t.Helper()
	var body struct {
		AccessToken  string  `json:"access_token"`
		Token        string  `json:"token"`
		RefreshToken string  `json:"refresh_token"`
		IDToken      string  `json:"id_token"`
		Scope        string  `json:"scope"`
		Type         string  `json:"token_type"`
		ExpiresIn    float64 `json:"expires_in"`
	}
	if strings.Contains(r.Case, "revoke-") || r.Case == "logout" || r.Case == "device-authorization" {
		return
	}
	if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
		t.Fatal(err)
	}
	_, sent := at()
	want := evertoken.Token{AccessToken: body.AccessToken + body.Token, RefreshToken: body.RefreshToken, Scope: body.Scope, IssuedAt: sent}
	if body.ExpiresIn > 0 {
		want.Expiry = sent.Add(time.Duration(body.ExpiresIn) * time.Second)
	}
	switch strings.ToLower(body.Type) {
	case "bearer":
		want.TokenType = "Bearer"
	case "dpop":
		want.TokenType = "DPoP"
	}
	if body.IDToken != "" {
		want.Extra = map[string]string{"id_token": body.IDToken}
	}
	if want.TokenType == "DPoP" {
		want.Extra[dpop.ExtraKey] = got.Extra[dpop.ExtraKey] // made here; it must be there
	}
	if !reflect.DeepEqual(got, want) || got.AccessToken == "" {
		t.Errorf("token %v, want %v", got, want)
	}
}

// What goes out is, parameter for parameter, what the servers were asked when
// they were recorded.
func TestRecordedRequests(t *testing.T) {
	compared := 0
	for _, r := range recordings(t) {
		form := r.params(t)
		form.Del("client_id")
		form.Del("client_secret")
		plain := r.Method == http.MethodPost && form.Get("grant_type") == "refresh_token" && form.Get("refresh_token") != "" && len(form) == 2
		kind := r.header("Content-Type")
		switch {
		case r.Case == "revoke-rt", r.Case == "device-pending", r.Case == "client-credentials-ok":
		case !plain, (kind == "application/json") != preset(t, r.Server).JSON, r.Case == "grant-in-form":
			continue // asked wrongly, on purpose
		}
		compared++
		far := newFarEnd(t, r.raw())
		_, _ = r.replay(t, far)
		got := far.only()
		again := recording{URL: "http://localhost" + got.path, RequestBody: got.body}
		if !reflect.DeepEqual(again.params(t), r.params(t)) || got.header.Get("Authorization") != r.header("Authorization") ||
			got.header.Get("Content-Type") != kind || !strings.HasSuffix(r.URL, got.path) {
			t.Errorf("%s %s: sent %s %s, recorded %s %s", r.Server, r.Case, got.path, got.body, r.URL, r.RequestBody)
		}
	}
	if compared < 100 {
		t.Errorf("only %d requests compared", compared)
	}
}

func TestRecordedMetadata(t *testing.T) {
	seen := 0
	for _, r := range recordings(t) {
		if r.Case != "discovery" {
			continue
		}
		seen++
		issuer := strings.TrimSuffix(r.URL, "/.well-known/openid-configuration")
		if r.Server == "zitadel-oidc" {
			issuer += "/" // it names itself so
		}
		a := &exchange.Answer{StatusCode: r.Status, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(r.Body)}
		m, err := readMetadata(a, issuer)
		if err != nil {
			t.Errorf("%s: %v", r.Server, err)
			continue
		}
		if !strings.HasPrefix(m.TokenURL, issuer) || !strings.HasPrefix(m.AuthURL, issuer) || !strings.HasPrefix(m.RevocationURL, issuer) || len(m.ClientAuths) == 0 {
			t.Errorf("%s: %+v", r.Server, m)
		}
		if hasDevice := r.Server != "hydra"; (m.DeviceURL != "") != hasDevice || m.IssuerInAnswers != (r.Server == "oidc-provider") {
			t.Errorf("%s: DeviceURL %q, IssuerInAnswers %v", r.Server, m.DeviceURL, m.IssuerInAnswers)
		}
	}
	if seen != 3 {
		t.Errorf("%d documents, want 3", seen)
	}
}
