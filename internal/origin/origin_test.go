package origin

import (
	"net/url"
	"strings"
	"testing"
)

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParse(t *testing.T) {
	for s, want := range map[string]Origin{
		"https://api.example.com":      {"https", "api.example.com", "443", "api.example.com"},
		"https://api.example.com/":     {"https", "api.example.com", "443", "api.example.com"},
		"HTTPS://API.Example.Com:443":  {"https", "api.example.com", "443", "api.example.com"},
		"https://api.example.com:8443": {"https", "api.example.com", "8443", "api.example.com:8443"},
		"http://localhost":             {"http", "localhost", "80", "localhost"},
		"http://LOCALHOST:8080":        {"http", "localhost", "8080", "localhost:8080"},
		"http://127.8.9.1":             {"http", "127.8.9.1", "80", "127.8.9.1"},
		"http://[::1]:1":               {"http", "::1", "1", "[::1]:1"},
		"https://[2001:DB8::1]":        {"https", "2001:db8::1", "443", "[2001:db8::1]"},
	} {
		if got, err := Parse(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for s, want := range map[string]string{
		":":                             "is not a URL",
		"https://me:s3cret@example.com": "holds a user name",
		"https://me@example.com":        "holds a user name",
		"":                              "is not scheme://host[:port]",
		"api.example.com":               "is not scheme://host[:port]",
		"https://":                      "is not scheme://host[:port]",
		"https://:443":                  "is not scheme://host[:port]",
		"https://api.example.com/v1":    "is not scheme://host[:port]",
		"https://api.example.com?x":     "is not scheme://host[:port]",
		"https://api.example.com/?x":    "is not scheme://host[:port]",
		"https://api.example.com#x":     "is not scheme://host[:port]",
		"ftp://api.example.com":         "neither scheme https nor http",
		"http://api.example.com":        "in the clear",
		"http://10.0.0.1":               "in the clear",
		"http://169.254.1.1":            "in the clear",
		"http://localhost.example.com":  "in the clear",
		"http://127.0.0.1.example.com":  "in the clear",
		"http://xn--lcalhost-66a":       "in the clear",
		"http://[::ffff:10.0.0.1]":      "in the clear",
		"http://0.0.0.0":                "in the clear",
	} {
		if o, err := Parse(s); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") || o != (Origin{}) {
			t.Errorf("%s: %+v, %v; want %q", s, o, err, want)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct{ origin, match, differ string }{
		{"https://api.example.com",
			"https://api.example.com/a?b#c https://API.EXAMPLE.COM:443 HTTPS://api.example.com",
			"http://api.example.com:443 https://api.example.com:80 https://api.example.com:8443 https://example.com " +
				"https://xapi.example.com https://api.example.co https://api.example.comm https://api.example.com. https://a\u1e3fi.example.com"},
		{"https://kelvin.example.com", "https://kelvin.example.com", "https://\u212aelvin.example.com"},
		{"http://localhost", "http://localhost:80/ http://LocalHost", "https://localhost https://localhost:80 http://localhost:443 http://127.0.0.1"},
		{"http://[::1]:8080", "http://[::1]:8080/x", "http://[::1] http://[::2]:8080"},
	} {
		o, err := Parse(tt.origin)
		if err != nil {
			t.Fatal(err)
		}
		for u := range strings.FieldsSeq(tt.match) {
			if !o.Matches(parse(t, u)) {
				t.Errorf("%s is not at %s", u, tt.origin)
			}
		}
		for u := range strings.FieldsSeq(tt.differ) {
			if o.Matches(parse(t, u)) {
				t.Errorf("%s is at %s", u, tt.origin)
			}
		}
	}
	if new(Origin).Matches(&url.URL{}) {
		t.Error("the zero value matches")
	}
}

func TestMatchesAllocatesNothing(t *testing.T) {
	o, err := Parse("https://api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	u := parse(t, "https://API.example.com/users")
	if n := testing.AllocsPerRun(100, func() { o.Matches(u) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSecure(t *testing.T) {
	for s, want := range map[string]bool{
		"https://example.com": true, "HTTPS://example.com": true, "http://localhost:1": true, "http://127.0.0.1": true, "http://[::1]": true,
		"http://example.com": false, "ftp://localhost": false, "http://": false, "//localhost": false, "http://[::]": false,
	} {
		if got := Secure(parse(t, s)); got != want {
			t.Errorf("%s: %t", s, got)
		}
	}
}
