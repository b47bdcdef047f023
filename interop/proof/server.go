package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evertoken/evertoken/interop/internal/tap"
	"github.com/evertoken/evertoken/issuer/oauth"
)

// A kind of server is what there is to know about it before it runs.
type kind struct {
	name     string
	issuer   string            // its name for itself; %d is the port
	resource string            // path of what its access tokens open; empty: an API of ours does
	asks     string            // path of introspection, for an API of ours
	secrets  map[string]string // of its confidential clients
	path     string            // of the redirect URI
	params   url.Values        // what it wants to give a refresh token
	types    map[string]string // what a person types into its forms
	dialect  oauth.Dialect
	forgets  bool // ends all sessions when it ends itself
	exposed  bool // listens on every interface
	fixed    bool // its tokens live for 5 minutes, its refresh tokens for 5 hours
	command  func(ctx context.Context, s *server) *exec.Cmd
}

// programs are where the servers to start are found.
type programs struct {
	oidcProvider string // folder
	zitadel      string
	matching     string
	probe        string // the command of this module, which is not a server
}

// accessSeconds is how long the access tokens of oidc-provider live.
const accessSeconds = 5

// kinds are the real servers. Each case runs at both.
func (p programs) kinds() []kind { return []kind{p.oidcProviderKind(), p.zitadelKind()} }

// oidcProviderKind is panva's oidc-provider with the settings of our server.mjs.
func (p programs) oidcProviderKind() kind {
	return kind{
		name: "oidc-provider", issuer: "http://127.0.0.1:%d", resource: "/me", path: "/callback",
		secrets: map[string]string{"web": "a secret of the interop tests", "brief": "a secret of the interop tests"},
		params:  url.Values{"prompt": {"consent"}},
		types:   map[string]string{"login": "somebody", "password": "anything"},
		dialect: oauth.OIDCProvider(),
		command: func(ctx context.Context, s *server) *exec.Cmd {
			return exec.CommandContext(ctx, "node", filepath.Join(p.oidcProvider, "server.mjs"),
				strconv.Itoa(s.port), filepath.Join(s.dir, "state.json"), strconv.Itoa(accessSeconds))
		},
	}
}

// zitadelKind is the example server of zitadel/oidc as it comes. Its settings are
// in the environment, and are few.
func (p programs) zitadelKind() kind {
	return kind{
		// Its userinfo says 403 of a token that a renewal has ended, which no
		// client may take for a reason to renew.
		name: "zitadel/oidc", issuer: "http://localhost:%d/", asks: "/oauth/introspect", path: "/auth/callback",
		secrets: map[string]string{"web": "secret"},
		types:   map[string]string{"username": "test-user@localhost", "password": "verysecure"},
		dialect: oauth.Zitadel(),
		forgets: true, exposed: true, fixed: true,
		command: func(ctx context.Context, s *server) *exec.Cmd {
			cmd := exec.CommandContext(ctx, p.zitadel)
			cmd.Env = append(os.Environ(), fmt.Sprintf("PORT=%d", s.port),
				fmt.Sprintf("REDIRECT_URI=http://127.0.0.1:%d%s", s.callback, s.path))
			return cmd
		},
	}
}

// A server is one that runs, or ran, or will run again.
type server struct {
	kind
	dir      string // what it keeps
	port     int
	callback int    // port of the redirect URI, for servers that want it fixed
	api      string // URL of what the access tokens open
	*process
}

// newServer gives a server its ports and its folder. It does not run yet.
func newServer(k kind, dir string, ports *ports) (*server, error) {
	s := &server{kind: k, dir: dir}
	var err error
	if s.port, err = ports.free(); err == nil {
		s.callback, err = ports.free()
	}
	s.api = s.base() + s.resource
	return s, err
}

// serveAPI starts an API of ours for a server that needs one.
func (s *server) serveAPI() (stop func() error, err error) {
	if s.asks == "" {
		return func() error { return nil }, nil
	}
	s.api, stop, err = serveAPI(&api{introspect: s.base() + s.asks, clientID: "web", secret: s.secrets["web"]})
	return stop, err
}

// start runs the server and waits until it takes connections.
func (s *server) start(ctx context.Context) error {
	if s.exposed {
		if err := onlyLoopback(); err != nil {
			return fmt.Errorf("%s listens on every interface: %w", s.name, err)
		}
	}
	var err error
	if s.process, err = launch(s.command(ctx, s)); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	const patience, between = 30 * time.Second, 20 * time.Millisecond
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(limit, "tcp", net.JoinHostPort("localhost", strconv.Itoa(s.port)))
		if err == nil {
			return c.Close()
		}
		if err := s.gone(); err != nil {
			return err
		}
		if pause(limit, between) != nil {
			return errors.Join(fmt.Errorf("%s: no connection after %v: %w", s.name, patience, err), s.stop())
		}
	}
}

// onlyLoopback is an error on a machine that others can reach. A new namespace may
// have further interfaces, of tunnels; they are down.
func onlyLoopback() error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			return fmt.Errorf("not started, because there is %s: it needs a network namespace with nothing but loopback", i.Name)
		}
	}
	return nil
}

// base is the server's URL, without a slash at the end.
func (s *server) base() string { return strings.TrimSuffix(s.issuerURL(), "/") }

// issuerURL is what discovery is asked about, slash and all.
func (s *server) issuerURL() string { return fmt.Sprintf(s.issuer, s.port) }

// newIssuer discovers the server, as one of its clients. t listens in.
func (s *server) newIssuer(ctx context.Context, clientID, secret string, t *tap.Tap) (*oauth.Issuer, error) {
	m, err := oauth.Discover(ctx, s.issuerURL(), t.Transport())
	if err != nil {
		return nil, err
	}
	auth, err := oauth.Public(clientID)
	if secret != "" {
		auth, err = oauth.ClientSecretBasic(clientID, secret)
	}
	if err != nil {
		return nil, err
	}
	i := m.NewIssuer(auth)
	i.Scope, i.Params, i.Dialect = []string{"openid", "offline_access"}, s.params, s.dialect
	i.APIs = []string{originOf(s.api)}
	return i, nil
}

// originOf is a URL without its path.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Scheme + "://" + u.Host
}

// signIn is what a person does: in a browser, with the server's own pages.
func (s *server) browser() oauth.Browser {
	return oauth.Browser{
		Listen: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.callback)),
		Path:   s.path,
		Open: func(ctx context.Context, url string) error {
			b, err := newBrowser(s.types)
			if err != nil {
				return err
			}
			return b.visit(ctx, url)
		},
	}
}

// ports gives away loopback ports, each once. They lie below those that
// connections take by themselves, so that nobody has one before its server has.
type ports struct{ next atomic.Int32 }

// newPorts begins above what well-known services use.
func newPorts() *ports {
	p := &ports{}
	p.next.Store(21000)
	return p
}

// free returns a port that nobody listens on.
func (p *ports) free() (int, error) {
	for {
		n := int(p.next.Add(1))
		if n > 32000 {
			return 0, errors.New("no free port between 21000 and 32000")
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(n)))
		if err == nil {
			return n, l.Close()
		}
	}
}
