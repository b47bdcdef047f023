package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evertoken/evertoken/internal/identity"
)

const goodKey = "0123456789abcdef0123456789abcdef"

// file is a settings file with these values for the Jwt section and more sections.
func file(jwt, more string) []byte { return []byte(`{"Jwt":{` + jwt + `}` + more + `}`) }

const goodJwt = `"Key":"` + goodKey + `","Issuer":"i","Audience":"a"`

func TestShippedSettings(t *testing.T) {
	s, err := load(nil, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.expiration != 120*time.Minute || s.inactive != 30*24*time.Hour || s.loginLimit != 30 || !s.demo {
		t.Errorf("%+v", s)
	}
	u := s.users[0]
	if u.Email != "demo@evertoken.dev" || u.UserName != "demo" || !slices.Equal(u.Roles, []string{"Administrator"}) {
		t.Errorf("%+v", u)
	}
}

func TestEverySetting(t *testing.T) {
	s, err := load([]byte(`{
		"jwt": {"KEY": "`+goodKey+`", "Issuer": "i", "Audience": "a", "ExpirationMinutes": "5"},
		"Authentication": {"LogOutInactiveDeviceDays": 7, "RequireEmailVerification": true, "PasswordIterations": 1000,
			"RequireTwoFactorForNewUsers": "True"},
		"Sessions": {"Rotate": true, "ReuseGraceSeconds": 10, "DetectReuse": true, "Sliding": true, "Older": true},
		"RateLimiting": {"AuthPermitLimit": 3},
		"SeededUsers": {
			"A": [{"Email": "x@y.z", "UserName": "x", "Password": "p"}],
			"": [{"Email": "v@y.z", "UserName": "v", "Password": "p"}],
			"B": [{"Email": "X@y.z", "UserName": "x", "Password": "p"}]
		}
	}`), "f", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Config{
		Key: goodKey, Issuer: "i", Audience: "a",
		AccessLifetime: 5 * time.Minute, SessionLifetime: 5 * time.Minute, RememberLifetime: 7 * 24 * time.Hour,
		Rotate: true, ReuseGrace: 10 * time.Second, DetectReuse: true, Sliding: true, Generation: identity.Older,
		TwoFactor: true, VerifyEmail: true, LoginLimit: 3, PasswordIterations: 1000,
		Accounts: []identity.Account{
			{Email: "v@y.z", UserName: "v", Password: "p"},
			{Email: "x@y.z", UserName: "x", Password: "p", Roles: []string{"A", "B"}},
		},
	}
	if got := s.identity(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestFaults pins each error: the setting, the bad value, and all of them at once.
func TestFaults(t *testing.T) {
	const good = goodJwt
	for _, c := range []struct {
		name string
		file []byte
		env  []string
		want string // lines, without their prefix
	}{
		{"good", file(good, ""), nil, ""},
		{"nothing", []byte(`{}`), nil, "setting Jwt.Key is missing: must have 32 to 100 characters\n" +
			"setting Jwt.Issuer is missing\nsetting Jwt.Audience is missing"},
		{"key of 31", file(`"Key":"`+goodKey[1:]+`","Issuer":"i","Audience":"a"`, ""), nil,
			"setting Jwt.Key has 31 characters (from f): must have 32 to 100"},
		{"key of 100", file(`"Key":"`+strings.Repeat("é", 100)+`","Issuer":"i","Audience":"a"`, ""), nil, ""},
		{"key of 101", file(`"Key":"`+strings.Repeat("k", 101)+`","Issuer":"i","Audience":"a"`, ""), nil,
			"setting Jwt.Key has 101 characters (from f): must have 32 to 100"},
		{"null and blank", file(`"Key":"`+goodKey+`","Issuer":null,"Audience":" "`, ""), nil,
			"setting Jwt.Issuer is \"\" (from f): must not be empty\n" +
				"setting Jwt.Audience is \" \" (from f): must not be empty"},
		{"four minutes", file(good+`,"ExpirationMinutes":4`, ""), nil,
			`setting Jwt.ExpirationMinutes is "4" (from f): must be a whole number from 5 to 1440`},
		{"five minutes", file(good+`,"ExpirationMinutes":5`, ""), nil, ""},
		{"a day", file(good+`,"ExpirationMinutes":1440`, ""), nil, ""},
		{"more than a day", file(good+`,"ExpirationMinutes":1441`, ""), nil,
			`setting Jwt.ExpirationMinutes is "1441" (from f): must be a whole number from 5 to 1440`},
		{"not whole", file(good+`,"ExpirationMinutes":7.5`, ""), nil,
			`setting Jwt.ExpirationMinutes is "7.5" (from f): must be a whole number from 5 to 1440`},
		{"huge", file(good+`,"ExpirationMinutes":1e999`, ""), nil,
			`setting Jwt.ExpirationMinutes is "1e999" (from f): must be a whole number from 5 to 1440`},
		{"empty", file(good+`,"ExpirationMinutes":""`, ""), nil,
			`setting Jwt.ExpirationMinutes is "" (from f): must be a whole number from 5 to 1440`},
		{"not a switch", file(good, `,"Sessions":{"Rotate":1}`), nil,
			`setting Sessions.Rotate is "1" (from f): must be true or false`},
		{"unknown", file(good+`,"Expiration":5`, `,"Logging":{"Level":[1]}`), nil,
			"setting Jwt.Expiration (from f) is unknown"},
		{"other sections of ASP.NET", file(good, `,"Logging":{"LogLevel":{"Default":"Information"}},"AllowedHosts":"*"`), nil, ""},
		{"not a section", []byte(`{"Jwt":5}`), []string{"Jwt__Key=" + goodKey, "Jwt__Issuer=i", "Jwt__Audience=a"},
			"setting Jwt (from f) is unknown"},
		{"byte order mark", append([]byte("\xef\xbb\xbf"), file(good, "")...), nil, ""},
		{"environment wins", file(good+`,"ExpirationMinutes":4`, ""), []string{"JWT__EXPIRATIONMINUTES=6"}, ""},
		{"environment is checked", file(good, ""), []string{"Jwt__ExpirationMinutes=soon"},
			`setting Jwt.ExpirationMinutes is "soon" (from environment variable Jwt__ExpirationMinutes): ` +
				`must be a whole number from 5 to 1440`},
		{"environment is known", file(good, ""), []string{"Jwt__Kye=x", "Other__Thing=x", "JWT=x"},
			"setting Jwt.Kye (from environment variable Jwt__Kye) is unknown"},
		{"user", file(good, `,"SeededUsers":{"100%d":[{"Email":"x","Pasword":"p"}]}`), nil,
			"setting SeededUsers.100%d.0.UserName is missing\n" +
				"setting SeededUsers.100%d.0.Password is missing: must have 1 to 256 characters\n" +
				"setting SeededUsers.100%d.0.Pasword (from f) is unknown"},
		{"twice", file(good+`,"key":"x"`, ""), nil, "f: Jwt.key is set twice"},
		{"no object", []byte(`[]`), nil, "f: the file is not a JSON object"},
		{"deep", []byte(strings.Repeat(`{"a":`, 9) + `1` + strings.Repeat(`}`, 9)), nil,
			"f: a.a.a.a.a.a.a.a.a is nested too deeply"},
		{"syntax", []byte("{\n  \"Jwt\": {,}\n}"), nil,
			"f: line 2, column 11: invalid character ',' looking for beginning of object key string"},
		{"comment", []byte("{ // none\n}"), nil,
			"f: line 1, column 3: invalid character '/' looking for beginning of object key string"},
		{"cut off", []byte("{\n \"Jwt\": {"), nil, "f: line 2, column 9: unexpected end of JSON input"},
		{"empty file", []byte{}, nil, "f: line 1, column 1: unexpected end of JSON input"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(c.file, "f", c.env)
			if got := faultLines(err); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

// faultLines returns err without the prefix of each line.
func faultLines(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\nevertoken: ", "\n"), "evertoken: ")
}

func TestProduction(t *testing.T) {
	const production = "aspnetcore_environment=PRODUCTION"
	const refused = "setting Jwt.Key is the development default, which everybody knows: set your own for Production"
	_, err := load(nil, "", []string{production})
	if got := faultLines(err); got != refused {
		t.Errorf("default file: %s", got)
	}
	_, err = load(shippedFile, "a copy of it", []string{production})
	if got := faultLines(err); got != refused {
		t.Errorf("copied file: %s", got)
	}
	s, err := load(nil, "", []string{production, "Jwt__Key=" + goodKey})
	if err != nil || len(s.users) != 0 || s.demo || !s.production {
		t.Errorf("own key: %d users, demo %t, error %v", len(s.users), s.demo, err)
	}
	if s, err = load(nil, "", []string{"ASPNETCORE_ENVIRONMENT=Staging"}); err != nil || s.production {
		t.Errorf("another environment: %v", err)
	}
}

// FuzzSettings: whatever the file says, load does not panic, what it accepts is
// within the rules, and no error shows the key.
func FuzzSettings(f *testing.F) {
	f.Add(shippedFile, "Jwt__ExpirationMinutes=5", "short")
	f.Add(file(goodJwt, `,"SeededUsers":{"":[{"Email":"e","UserName":"u","Password":"p"}]}`), "", goodKey)
	f.Add([]byte(`{"Jwt":{"Issuer":"i","ExpirationMinutes":1e3}}`), "Sessions__Rotate=maybe", "")
	f.Add([]byte("{\"a\":[[{}],null"), "=", goodKey+goodKey+goodKey+goodKey)
	f.Fuzz(func(t *testing.T, data []byte, variable, key string) {
		const mark = "s3cret\x00" // no message has it, so that where it shows, it came from the key
		s, err := load(append([]byte{}, data...), "f", []string{variable, "Jwt__Key=" + mark + key})
		if err != nil {
			if strings.Contains(err.Error(), mark) && !strings.Contains(variable, mark) {
				t.Errorf("the key is shown: %v", err)
			}
			return
		}
		if n := utf8.RuneCountInString(s.key); n < 32 || n > 100 || s.issuer == "" || s.audience == "" ||
			s.expiration < 5*time.Minute || s.expiration > 24*time.Hour {
			t.Errorf("accepted %+v", s)
		}
	})
}
