package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/interop/internal/probe"
	"github.com/evertoken/evertoken/issuer/oauth"
)

const matchingName = "matching server"

// matchingKind is our own server, with rotation and reuse detection on.
func (p programs) matchingKind() kind {
	return kind{
		name: matchingName, issuer: "http://127.0.0.1:%d", resource: "/api/users/me/profile",
		command: func(ctx context.Context, s *server) *exec.Cmd {
			cmd := exec.CommandContext(ctx, p.matching, "-addr", "127.0.0.1:"+strconv.Itoa(s.port), "-rotate", "-lifetime", "3s")
			cmd.Env = append(os.Environ(), "Sessions__DetectReuse=true")
			return cmd
		},
	}
}

// An inquiry is a run of the command of this module on a server as if nobody knew
// it, and what its report has to say.
type inquiry struct {
	tokenURL, clientID, secret string
	token                      evertoken.Token
	want                       map[string]string // part of each line, by label; with -reuse
}

// reportOnReal inquires about a real server, after a person has signed in.
func reportOnReal(ctx context.Context, t *trial) error {
	n, err := t.open(ctx, options{clientID: "web"})
	if err != nil {
		return err
	}
	token, err := n.issuer.Authorize(ctx, t.browser())
	if err = errors.Join(err, n.Close()); err != nil {
		return err
	}
	want := map[string]string{
		"dead token": "400 invalid_grant", "wrong secret": "401 invalid_client", "rotation": "yes",
		"reuse": "refused at once: 400 invalid_grant", "unknown client": "401 invalid_client",
		"preset": "the zero Dialect (so do hydra, oidc-provider,", "family": "reuse ends the session",
		"after renewal": "still honoured", "honoured": "refused with 401 after",
		"lifetime": "5s by the answer; they are opaque",
	}
	if t.fixed {
		want["unknown client"], want["preset"] = "500 server_error (client not found)", "zitadel-oidc"
		want["family"], want["after renewal"] = "reuse does not end the session", "refused: the API says 401"
		want["honoured"], want["lifetime"] = "not watched to the end", "by the answer; they are encrypted JWTs"
	}
	return t.inquire(ctx, inquiry{n.issuer.TokenURL, "web", t.secrets["web"], token, want})
}

// reportOnMatching inquires about the matching server, which needs no browser.
func reportOnMatching(ctx context.Context, t *trial) error {
	i := &oauth.Issuer{TokenURL: t.base() + "/oauth/token"}
	token, err := i.Obtain(ctx, func(context.Context) (url.Values, error) {
		return url.Values{"grant_type": {"password"}, "username": {"demo@evertoken.dev"}, "password": {"Passw0rd!demo"}}, nil
	})
	if err != nil {
		return err
	}
	return t.inquire(ctx, inquiry{i.TokenURL, "", "", token, map[string]string{
		"dead token": "400 invalid_grant", "rotation": "yes", "reuse": "refused at once: 400 invalid_grant",
		"family": "reuse ends the session", "preset": "the zero Dialect (so do", "honoured": "refused with 401 after",
		"lifetime": "3s by the answer; they are JWTs whose exp - iat is 3s",
	}})
}

// inquire runs the command twice: once as it is safe for the session, which the
// second run goes on with, and once to the end.
func (t *trial) inquire(ctx context.Context, q inquiry) error {
	file := filepath.Join(t.dir, "token")
	secrets := []string{q.token.RefreshToken}
	if err := os.WriteFile(file, []byte(q.token.RefreshToken), 0o600); err != nil {
		return err
	}
	var lines map[string]string
	for _, more := range [][]string{nil, {"-reuse", "-resource-url", t.api, "-wait", "9s"}} {
		text, err := t.command(ctx, q, append([]string{"-refresh-token-file", file}, more...))
		if err != nil {
			return err
		}
		newest, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if secrets = append(secrets, strings.TrimSpace(string(newest))); secrets[0] == secrets[len(secrets)-1] {
			return errors.New("the newest refresh token was not kept")
		}
		for _, s := range append(secrets, q.secret) {
			if len(s) >= probe.ShortestSecret && strings.Contains(text, s) {
				return errors.New("the report holds a secret")
			}
		}
		lines = read(text)
	}
	for label, part := range q.want {
		if !strings.Contains(lines[label], part) {
			return fmt.Errorf("the report says of %s: %q, want %q", label, lines[label], part)
		}
	}
	t.say("preset: %s; %d lines as expected; no secret", lines["preset"], len(q.want))
	return nil
}

// command runs it and returns all that it printed.
func (t *trial) command(ctx context.Context, q inquiry, args []string) (string, error) {
	const env = "EVERTOKEN_INTEROP_SECRET"
	args = append(args, "-token-url", q.tokenURL)
	if q.clientID != "" {
		args = append(args, "-client-id", q.clientID, "-client-secret-env", env)
	}
	cmd := exec.CommandContext(ctx, t.programs.probe, args...)
	cmd.Env = append(os.Environ(), env+"="+q.secret)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("interop %s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// read takes a report apart: labels, two blanks or more, texts.
func read(text string) map[string]string {
	lines := map[string]string{}
	for line := range strings.Lines(text) {
		if label, rest, ok := strings.Cut(line, "  "); ok {
			lines[label] = strings.TrimSpace(rest)
		}
	}
	return lines
}
