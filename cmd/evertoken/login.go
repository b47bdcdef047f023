package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/issuer/lightnap"
	"github.com/evertoken/evertoken/issuer/oauth"
	"github.com/evertoken/evertoken/storage"
)

const loginHelp = `Signs in and keeps the session. An OAuth issuer is asked about itself; you sign
in with a browser on this machine or, if there is none, with a code that you
type into one anywhere. At LightNap you type your password, and the code that it
sends if your account needs one. Without an issuer it signs in as the last time.

The secret of a confidential client comes from $EVERTOKEN_CLIENT_SECRET or from
a file. It is not kept, so the other commands need it, too.
`

// A login is the command line of one.
type login struct {
	*session
	asked   profile // as far as the flags tell
	device  bool
	browser bool
	stdin   bool
}

func loginCommand(flags *flag.FlagSet) action {
	l := &login{session: sessionFlags(flags)}
	p := &l.asked
	flags.StringVar(&p.LightNap, "lightnap", "", "`URL` of a LightNap server, without /api")
	flags.StringVar(&p.ClientID, "client-id", "", "`ID` under which the issuer knows this program")
	flags.Func("secret-file", "`FILE` with the secret of that program, if it has one", p.setSecretFile)
	flags.Func("scope", "`SCOPES` to ask for, as one word with blanks (default:\nopenid offline_access, if the issuer has them)", p.addScope)
	flags.Func("param", "`NAME=VALUE` that the issuer wants besides, such as\naudience=https://api.example.com; may be repeated", p.addParam)
	flags.StringVar(&p.Preset, "preset", "", "`NAME` of a server with ways of its own, such as dex\nor zitadel-oidc: see the presets of issuer/oauth")
	flags.Func("redirect", "`URL` for the browser to come back to, where issuers\nwant to know the port: http://127.0.0.1:8400/callback", p.setRedirect)
	flags.Func("api", "`ORIGIN` of an API that the proxy may be used for, such\nas https://api.example.com; may be repeated", p.addAPI)
	flags.BoolVar(&p.DPoP, "dpop", false, "bind the tokens to a key (RFC 9449), for the proxy")
	flags.BoolVar(&l.device, "device", false, "sign in with a code and a browser anywhere")
	flags.BoolVar(&l.browser, "browser", false, "sign in with a browser on this machine")
	flags.BoolVar(&l.stdin, "password-stdin", false, "read the password, and the code after it, from stdin,\na line each, and not from the terminal")
	return func(ctx context.Context, args []string) error {
		if len(args) > 1 {
			return misused("unexpected argument %q", args[1])
		}
		return l.run(ctx, append(args, "")[0])
	}
}

// run signs in. arg is the URL of an OAuth issuer or, with --lightnap, a login.
func (l *login) run(ctx context.Context, arg string) error {
	last, version, err := l.profile(ctx)
	if err != nil && !errors.Is(err, evertoken.ErrSignedOut) {
		return err
	}
	p, err := l.plan(arg, last)
	if err != nil {
		return err
	}
	var token evertoken.Token
	if p.LightNap != "" {
		token, err = l.withPassword(ctx, &p)
	} else {
		token, err = l.withOAuth(ctx, &p)
	}
	if err != nil {
		return err
	}
	return l.begin(context.WithoutCancel(ctx), p, token, last, version) // it has been paid for
}

// plan says where to sign in, and how. Nothing that could be told before is left
// for after the person has signed in.
func (l *login) plan(arg string, last profile) (profile, error) {
	p := l.asked
	switch {
	case p.LightNap != "" && (l.device || l.browser || !reflect.DeepEqual(p, profile{LightNap: p.LightNap})):
		return p, misused("%s is a LightNap server: the flags for OAuth make no sense there", p.LightNap)
	case p.LightNap != "":
		p.LightNap, p.Login = strings.TrimRight(p.LightNap, "/"), arg
		return p, p.lightnapIssuer().Validate()
	case arg != "":
		p.Server = &oauth.Metadata{IssuerURL: arg}
		p.SecretEnv = p.SecretFile == "" && os.Getenv(envSecret) != ""
	case !last.exists() || !reflect.DeepEqual(p, profile{}):
		return p, misused("which issuer? evertoken help login")
	default:
		p = last
	}
	switch {
	case p.LightNap == "" && p.ClientID == "":
		return p, misused("--client-id is missing: the issuer has to know which program asks")
	case l.device && l.browser:
		return p, misused("--device and --browser are two ways: choose one")
	}
	_, err := preset(p.Preset)
	return p, err
}

// lasting picks the scopes that make a session outlive its first token.
func lasting(offered []string) (scope []string) {
	for _, s := range []string{"openid", "offline_access"} {
		if slices.Contains(offered, s) {
			scope = append(scope, s)
		}
	}
	return scope
}

// withOAuth lets the person sign in with a browser, here or elsewhere. The server
// is asked about itself, also if it has been asked before.
func (l *login) withOAuth(ctx context.Context, p *profile) (evertoken.Token, error) {
	server, err := oauth.Discover(ctx, p.Server.IssuerURL, nil)
	if err != nil {
		return evertoken.Token{}, err
	}
	p.Server = server
	if p.Scope == nil {
		p.Scope = lasting(server.Scopes)
	}
	issuer, err := p.oauthIssuer()
	if err != nil {
		return evertoken.Token{}, err
	}
	p.Way = l.way(p.Way, issuer)
	if p.Way == "device" {
		return issuer.Device(ctx, showCode)
	}
	b := oauth.Browser{Open: openBrowser}
	if u, err := url.Parse(p.Redirect); err == nil {
		b.Listen, b.Path = u.Host, u.Path
	}
	return issuer.Authorize(ctx, b)
}

// way is the one that was asked for, that of the last time, or what will do here.
func (l *login) way(last string, i *oauth.Issuer) string {
	switch {
	case l.device:
		return "device"
	case l.browser:
		return "browser"
	case last != "":
		return last
	case i.DeviceURL != "" && (i.AuthURL == "" || !hasBrowser()):
		return "device"
	}
	return "browser"
}

// withPassword asks for what LightNap wants to know.
func (l *login) withPassword(ctx context.Context, p *profile) (evertoken.Token, error) {
	ask, err := l.terminal()
	if err != nil {
		return evertoken.Token{}, err
	}
	defer ask.close()
	if p.Login == "" {
		if p.Login, err = ask.line(ctx, "E-mail address or user name: "); err != nil {
			return evertoken.Token{}, err
		}
	}
	password, err := ask.secret(ctx, fmt.Sprintf("Password of %s at %s: ", p.Login, p.LightNap))
	if err != nil {
		return evertoken.Token{}, err
	}
	issuer := p.lightnapIssuer()
	t, err := issuer.Login(ctx, lightnap.Credentials{Login: p.Login, Password: password, RememberMe: true})
	if !errors.Is(err, lightnap.ErrTwoFactorRequired) {
		return t, err
	}
	code, err := ask.secret(ctx, "Code that was sent to you: ")
	if err != nil {
		return evertoken.Token{}, err
	}
	return issuer.VerifyCode(ctx, lightnap.Verification{Login: p.Login, Code: code, RememberMe: true})
}

func (l *login) terminal() (*terminal, error) {
	if l.stdin {
		return &terminal{in: os.Stdin, written: true}, nil
	}
	t, err := openTerminal()
	if err != nil {
		return nil, fmt.Errorf("there is no terminal to ask for the password, and no --password-stdin: %w", err)
	}
	return t, nil
}

// begin puts a new session in place of last, if there was one: first the tokens,
// then the profile that leads to them. Whoever is killed in between leaves last as
// it was.
func (l *login) begin(ctx context.Context, p profile, t evertoken.Token, last profile, version storage.Version) error {
	var s evertoken.Status
	err := l.use(ctx, p, func(c *evertoken.Client) error {
		err := c.SignIn(ctx, t)
		s = c.Status()
		return err
	})
	if err != nil {
		return err
	}
	data, err := p.encode()
	if err != nil {
		return err
	}
	if _, err := l.folder().Save(ctx, l.profileKey(), data, version); err != nil {
		return fmt.Errorf("the profile: %w", err)
	}
	if last.exists() && last.authority() != p.authority() {
		if err := l.use(ctx, last, func(c *evertoken.Client) error { return c.SignOut(ctx) }); err != nil {
			fmt.Fprintf(os.Stderr, "evertoken: login: the session at %s before this one could not be ended: %v\n", last, err)
		}
	}
	l.welcome(p, t, s)
	return nil
}

// welcome tells what the person has now.
func (l *login) welcome(p profile, t evertoken.Token, s evertoken.Status) {
	fmt.Fprintf(os.Stderr, "Signed in at %s", p)
	if !s.Expiry.IsZero() {
		fmt.Fprintf(os.Stderr, "; the token is good for %s", span(time.Until(s.Expiry)))
	}
	fmt.Fprintln(os.Stderr, ".")
	if t.RefreshToken == "" {
		fmt.Fprintln(os.Stderr, "There is no refresh token, so the session ends with it: --scope offline_access may help.")
	}
}
