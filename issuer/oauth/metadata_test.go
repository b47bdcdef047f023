package oauth

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/evertoken/evertoken"
)

func metadata(issuer, more string) string {
	return reply("200 OK", typeJSON, `{"issuer":"`+issuer+`","token_endpoint":"http://localhost/token"`+more+`}`)
}

func TestDiscover(t *testing.T) {
	const notFound = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	page := reply("200 OK", "Content-Type: text/html\r\n", "<html>s3cret")
	for _, tt := range []struct {
		name    string
		issuer  string
		answers []string
		paths   string
		says    string // of the error; empty: found
	}{
		{"RFC 8414", "http://localhost", []string{metadata("http://localhost", "")}, "/.well-known/oauth-authorization-server", ""},
		{"with a path", "http://localhost/a/b", []string{metadata("http://localhost/a/b", "")}, "/.well-known/oauth-authorization-server/a/b", ""},
		{"OpenID", "http://localhost/a", []string{notFound, metadata("http://localhost/a", "")},
			"/.well-known/oauth-authorization-server/a /a/.well-known/openid-configuration", ""},
		{"a page in between", "http://localhost", []string{page, metadata("http://localhost", "")},
			"/.well-known/oauth-authorization-server /.well-known/openid-configuration", ""},
		{"a slash at the end", "http://localhost/", []string{metadata("http://localhost/", "")}, "/.well-known/oauth-authorization-server", ""},

		{"another slash", "http://localhost", []string{metadata("http://localhost/", "")}, "/.well-known/oauth-authorization-server", `of issuer "http://localhost/", not of "http://localhost"`},
		{"another issuer", "http://localhost", []string{metadata("https://evil.example.com", "")}, "/.well-known/oauth-authorization-server", `of issuer "https://evil.example.com", not of "http://localhost"`},
		{"no issuer", "http://localhost", []string{reply("200 OK", typeJSON, `{"token_endpoint":"s3cret"}`)}, "/.well-known/oauth-authorization-server", `status 200: answer of type "application/json" has no member issuer`},
		{"no token endpoint", "http://localhost", []string{reply("200 OK", typeJSON, `{"issuer":"http://localhost"}`)}, "/.well-known/oauth-authorization-server", "no member token_endpoint"},
		{"an endpoint in the clear", "http://localhost", []string{metadata("http://localhost", `,"revocation_endpoint":"http://example.com/revoke?s3cret"`)},
			"/.well-known/oauth-authorization-server", "member revocation_endpoint at http://example.com: only https"},
		{"an alias in the clear", "http://localhost", []string{metadata("http://localhost", `,"mtls_endpoint_aliases":{"token_endpoint":"http://example.com/t"}`)},
			"/.well-known/oauth-authorization-server", "member mtls_endpoint_aliases.token_endpoint"},
		{"another kind", "http://localhost", []string{reply("200 OK", typeJSON, `{"issuer":["s3cret"]}`)}, "/.well-known/oauth-authorization-server", "member issuer of the metadata"},
		{"no JSON", "http://localhost", []string{reply("200 OK", typeJSON, `s3cret`)}, "/.well-known/oauth-authorization-server", "6 bytes, is no JSON object"},
		{"nowhere", "http://localhost", []string{notFound}, "/.well-known/oauth-authorization-server /.well-known/openid-configuration", "unavailable, status 404: no metadata at http://localhost/.well-known/openid-configuration"},
		{"busy", "http://localhost", []string{reply("503 Busy", "Retry-After: 5\r\n", "")}, "/.well-known/oauth-authorization-server", "unavailable, status 503"},
		{"cut off", "http://localhost", []string{metadata("http://localhost", "")[:150]}, "/.well-known/oauth-authorization-server", "cut off"},
		{"in the clear", "http://login.example.com", nil, "", "https://host"},
		{"a query", "https://login.example.com?s3cret", nil, "", "https://host"},
		{"no URL", "login", nil, "", "https://host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			far := newFarEnd(t, tt.answers...)
			m, err := Discover(t.Context(), tt.issuer, far.transport())
			var paths []string
			for _, s := range far.requests() {
				paths = append(paths, s.path)
			}
			if got := strings.Join(paths, " "); got != tt.paths {
				t.Errorf("asked at %s, want %s", got, tt.paths)
			}
			if tt.says == "" {
				if err != nil || m.TokenURL != "http://localhost/token" {
					t.Errorf("%+v, %v", m, err)
				}
				return
			}
			_ = failure(t, err)
			if m != nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

func TestNewIssuer(t *testing.T) {
	const all = `,"revocation_endpoint":"https://a/revoke","device_authorization_endpoint":"https://a/device","authorization_endpoint":"https://a/auth",
		"authorization_response_iss_parameter_supported":true,"mtls_endpoint_aliases":{"token_endpoint":"https://mtls.a/token"}`
	far := newFarEnd(t, metadata("http://localhost", all))
	m, err := Discover(t.Context(), "http://localhost", far.transport())
	if err != nil {
		t.Fatal(err)
	}
	i := m.NewIssuer(must(Public("c"))(t))
	if i.TokenURL != "http://localhost/token" || i.RevocationURL != "https://a/revoke" || i.DeviceURL != "https://a/device" ||
		i.AuthURL != "https://a/auth" || i.IssuerURL != "http://localhost" || !i.IssuerInAnswers || i.Client.ClientID() != "c" || i.Transport == nil {
		t.Errorf("issuer %+v", i)
	}
	if err := i.Validate(); err != nil {
		t.Error(err)
	}
	secured := m.NewIssuer(must(MutualTLS("c"))(t))
	if secured.TokenURL != "https://mtls.a/token" || secured.RevocationURL != "https://a/revoke" {
		t.Errorf("issuer for TLS clients %+v", secured)
	}
	secured.Transport = &http.Transport{TLSClientConfig: &tls.Config{Certificates: make([]tls.Certificate, 1), MinVersion: tls.VersionTLS12}}
	if err := secured.Validate(); err != nil {
		t.Error(err)
	}
}

// Nothing was sent: who started the program without a network may try again.
func TestDiscoverOffline(t *testing.T) {
	tr := &http.Transport{Proxy: nil}
	_, err := Discover(t.Context(), "http://127.0.0.1:1", tr)
	if failed := failure(t, err); failed.Outcome != evertoken.NotSent {
		t.Errorf("%v, want NotSent", err)
	}
}
