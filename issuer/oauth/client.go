package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// A ClientAuth tells the server which program asks, and proves it (RFC 6749,
// section 2.3). The constructors of this package return one; any type with these
// methods will do. It is safe for concurrent use.
type ClientAuth interface {
	// ClientID is the program's name at the server.
	ClientID() string

	// Authenticate adds the proof to one attempt: a header to r or parameters to
	// form. It is called anew for each attempt on the wire, and must stop when
	// the context of r ends. With an error nothing is sent.
	Authenticate(r *http.Request, form url.Values) error
}

// clientID is the part that all of them have.
type clientID string

func (id clientID) ClientID() string { return string(id) }

// checkClient finds the commonest fault, a setting that is not there.
func checkClient(method, id, proof, what string) error {
	switch {
	case id == "":
		return fmt.Errorf("oauth: %s: the client id is empty", method)
	case proof == "":
		return fmt.Errorf("oauth: %s: the %s of client %q is empty", method, what, id)
	}
	return nil
}

type secretBasic struct {
	clientID
	secret string
}

// ClientSecretBasic sends id and secret in an Authorization header
// (client_secret_basic). It is what most servers expect.
func ClientSecretBasic(id, secret string) (ClientAuth, error) {
	if err := checkClient("client_secret_basic", id, secret, "secret"); err != nil {
		return nil, err
	}
	return secretBasic{clientID(id), secret}, nil
}

// Authenticate encodes both as forms do before they are joined by a colon, which
// they may contain (RFC 6749, section 2.3.1).
func (c secretBasic) Authenticate(r *http.Request, _ url.Values) error {
	r.SetBasicAuth(url.QueryEscape(string(c.clientID)), url.QueryEscape(c.secret))
	return nil
}

type secretPost struct {
	clientID
	secret string
}

// ClientSecretPost sends id and secret among the parameters (client_secret_post).
func ClientSecretPost(id, secret string) (ClientAuth, error) {
	if err := checkClient("client_secret_post", id, secret, "secret"); err != nil {
		return nil, err
	}
	return secretPost{clientID(id), secret}, nil
}

func (c secretPost) Authenticate(_ *http.Request, form url.Values) error {
	form.Set("client_id", string(c.clientID))
	form.Set("client_secret", c.secret)
	return nil
}

type public struct{ clientID }

// Public is a program that can keep no secret, such as one on its user's machine
// (none): it only says its id.
func Public(id string) (ClientAuth, error) {
	if err := checkClient("none", id, id, "id"); err != nil {
		return nil, err
	}
	return public{clientID(id)}, nil
}

func (c public) Authenticate(_ *http.Request, form url.Values) error {
	form.Set("client_id", string(c.clientID))
	return nil
}

type mutualTLS struct{ public }

// MutualTLS is a program that the server knows by the certificate of its
// connection (RFC 8705, section 2): the one in the TLSClientConfig of
// [Issuer.Transport].
func MutualTLS(id string) (ClientAuth, error) {
	if err := checkClient("tls_client_auth", id, id, "id"); err != nil {
		return nil, err
	}
	return mutualTLS{public{clientID(id)}}, nil
}

func (c mutualTLS) hasCertificate(t *http.Transport) bool {
	return t != nil && t.TLSClientConfig != nil &&
		(len(t.TLSClientConfig.Certificates) > 0 || t.TLSClientConfig.GetClientCertificate != nil)
}

type apiKey struct{ header, key string }

// APIKey sends a key in a header, which a gateway in front of the server wants
// in place of a client_id: Supabase's "apikey". The key is for the token endpoint
// alone; whether the API wants it too is a matter of the Base of the Config.
func APIKey(header, key string) (ClientAuth, error) {
	if textproto.TrimString(header) == "" || strings.ContainsAny(header, " :\r\n") {
		return nil, errors.New("oauth: api key: this is no name of a header")
	}
	if key == "" {
		return nil, fmt.Errorf("oauth: api key: the key for header %s is empty", header)
	}
	return apiKey{header, key}, nil
}

func (c apiKey) ClientID() string { return "" }

func (c apiKey) Authenticate(r *http.Request, _ url.Values) error {
	r.Header.Set(c.header, c.key)
	return nil
}
