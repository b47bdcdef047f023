package grpccreds_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/grpccreds"
)

// A source always has the same token.
type source struct {
	token evertoken.Token
	err   error
	asked int
}

func (s *source) Token(context.Context) (evertoken.Token, error) {
	s.asked++
	return s.token, s.err
}

func TestTokenGoesToItsOriginsOnly(t *testing.T) {
	for _, c := range []struct {
		origin, uri string
		plain, want bool
	}{
		{"https://api.example.com", "https://api.example.com/pkg.Service", false, true},
		{"https://api.example.com:443", "https://API.example.com/pkg.Service", false, true},
		{"https://api.example.com:8443", "https://api.example.com:8443/pkg.Service", false, true},
		{"https://api.example.com", "https://api.example.com:8443/pkg.Service", false, false},
		{"https://api.example.com", "https://evil.io/api.example.com", false, false},
		{"https://api.example.com", "https://api.example.com.evil.io/pkg.Service", false, false},
		{"https://api.example.com", "https://api.example.com@evil.io/pkg.Service", false, false},
		{"https://api.example.com", "http://api.example.com/pkg.Service", false, false},
		{"https://api.example.com", "dns:///api.example.com", false, false},
		{"https://api.example.com", ":", false, false},
		{"http://127.0.0.1:5000", "https://127.0.0.1:5000/pkg.Service", true, true},
		{"http://127.0.0.1:443", "https://127.0.0.1/pkg.Service", true, true},
		{"http://127.0.0.1", "https://127.0.0.1/pkg.Service", true, false},
		{"http://[::1]:5000", "https://[::1]:5000/pkg.Service", true, true},
		{"http://127.0.0.1:5000", "https://127.0.0.1:5001/pkg.Service", true, false},
		{"http://localhost:5000", "https://10.0.0.1:5000/pkg.Service", true, false},
	} {
		s := &source{token: evertoken.Token{AccessToken: "a"}}
		creds, err := grpccreds.New(s, grpccreds.Options{Origins: []string{c.origin}, InsecureLoopback: c.plain})
		if err != nil {
			t.Fatal(err)
		}
		if creds.RequireTransportSecurity() == c.plain {
			t.Errorf("%s: RequireTransportSecurity = %v", c.origin, !c.plain)
		}
		got, err := creds.GetRequestMetadata(t.Context(), c.uri)
		switch {
		case c.want && (err != nil || got["authorization"] != "Bearer a"):
			t.Errorf("%s for %s: %v, %v", c.uri, c.origin, got, err)
		case !c.want && (err == nil || got != nil || s.asked != 0):
			t.Errorf("%s for %s: %v, %v; a token was asked for %d times", c.uri, c.origin, got, err, s.asked)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	s := &source{}
	for name, c := range map[string]struct {
		source evertoken.TokenSource
		o      grpccreds.Options
		want   string
	}{
		"no source":          {nil, grpccreds.Options{Origins: []string{"https://api.example.com"}}, "source is nil"},
		"no origins":         {s, grpccreds.Options{}, "Origins is empty"},
		"not an origin":      {s, grpccreds.Options{Origins: []string{"api.example.com:443"}}, "Origins[0]"},
		"in the clear":       {s, grpccreds.Options{Origins: []string{"http://api.example.com"}, InsecureLoopback: true}, "Origins[0]"},
		"loopback, no word":  {s, grpccreds.Options{Origins: []string{"http://127.0.0.1:5000"}}, "InsecureLoopback"},
		"loopback and other": {s, grpccreds.Options{Origins: []string{"http://127.0.0.1:5000", "https://api.example.com"}, InsecureLoopback: true}, "Origins[1]"},
	} {
		if _, err := grpccreds.New(c.source, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if s.asked != 0 {
		t.Error("New asked for a token")
	}
}

// A DPoP token without a proof is worthless, and must not pass for a bearer's.
func TestNoDPoP(t *testing.T) {
	creds, err := grpccreds.New(&source{token: evertoken.Token{AccessToken: "a", TokenType: "dpop"}}, grpccreds.Options{Origins: []string{"https://api.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := creds.GetRequestMetadata(t.Context(), "https://api.example.com/pkg.Service"); err == nil || !strings.Contains(err.Error(), "DPoP") {
		t.Errorf("GetRequestMetadata = %v, %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	s := &source{err: evertoken.ErrSignedOut}
	creds, err := grpccreds.New(s, grpccreds.Options{Origins: []string{"https://api.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := creds.GetRequestMetadata(t.Context(), "https://api.example.com/pkg.Service"); !errors.Is(err, evertoken.ErrSignedOut) {
		t.Errorf("GetRequestMetadata = %v, want ErrSignedOut", err)
	}
	if _, err := creds.GetRequestMetadata(t.Context()); err == nil {
		t.Error("a token was given out for a server that nobody names")
	}
}

// A client brings its origins along.
func TestOriginsOfAClient(t *testing.T) {
	srv := evertest.NewServer(t)
	config := srv.Config()
	config.Origins = []string{"https://api.example.com"}
	client, err := evertoken.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	creds, err := grpccreds.New(client, grpccreds.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := creds.GetRequestMetadata(t.Context(), "https://api.example.com/pkg.Service")
	if err != nil || !strings.HasPrefix(got["authorization"], "Bearer ") {
		t.Errorf("GetRequestMetadata: %d values, %v", len(got), err)
	}
	if _, err := creds.GetRequestMetadata(t.Context(), "https://localhost/pkg.Service"); err == nil {
		t.Error("a token went out of the client's origins")
	}
}
