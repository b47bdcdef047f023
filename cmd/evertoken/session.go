package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/storage"
)

// A session is the one that a command is about: a name in a folder. The folder
// holds its profile, under its name, and its tokens, under a name that tells
// their authority as well.
type session struct {
	dir  string
	name string
}

// sessionFlags registers the flags that every command has.
func sessionFlags(flags *flag.FlagSet) *session {
	s := &session{}
	if dir, err := os.UserConfigDir(); err == nil {
		s.dir = filepath.Join(dir, "evertoken")
	}
	flags.StringVar(&s.name, "session", "default", "`NAME` of the session, if you have several")
	flags.StringVar(&s.dir, "store", s.dir, "`FOLDER` of the sessions (default: evertoken below\n$XDG_CONFIG_HOME, or where the system has that)")
	return s
}

func (s *session) folder() *storage.File { return storage.NewFile(s.dir) }

func (s *session) profileKey() string { return s.name + ".profile" }

// tokenKey differs for each authority, so that no moment in between two writes
// can send the tokens of one issuer to another.
func (s *session) tokenKey(p profile) string { return s.name + " " + p.authority() }

// profile returns what is known of the session, and the version of that; it is
// evertoken.ErrSignedOut if there is none, or none that could be used.
func (s *session) profile(ctx context.Context) (profile, storage.Version, error) {
	switch {
	case s.name == "":
		return profile{}, "", misused("--session is empty")
	case s.dir == "":
		return profile{}, "", misused("--store is missing: this login has no folder for configuration")
	}
	item, err := s.folder().Load(ctx, s.profileKey())
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return profile{}, "", s.hint(fmt.Errorf("%w: there is no session %q", evertoken.ErrSignedOut, s.name))
	case err != nil && !errors.Is(err, storage.ErrCorrupt): // what is damaged is no profile, and login replaces it
		return profile{}, "", err
	}
	p, err := readProfile(item.Data)
	if err != nil {
		err = s.hint(fmt.Errorf("%w: session %q: %w", evertoken.ErrSignedOut, s.name, err))
	}
	return p, item.Version, err
}

// open returns the client of the session. cfg has the Store, and what else is not
// the same for all commands.
func (s *session) open(ctx context.Context, p profile, cfg evertoken.Config) (*evertoken.Client, error) {
	issuer, err := p.issuer()
	if err != nil {
		return nil, err
	}
	cfg.Issuer, cfg.Session = issuer, s.tokenKey(p)
	cfg.WindowFraction = windowFraction
	if cfg.Origins == nil {
		cfg.Origins = p.origins()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler) // errors are told once, by report
	}
	return evertoken.New(ctx, cfg)
}

// use opens the session for the length of one step. What its client could not
// save is an error, too.
func (s *session) use(ctx context.Context, p profile, step func(*evertoken.Client) error) (err error) {
	client, err := s.open(ctx, p, evertoken.Config{Store: passing{s.folder()}})
	if err != nil {
		return err
	}
	defer func() { err = s.hint(errors.Join(err, client.Close())) }()
	return step(client)
}

// hint adds what to do about it to an error that says nobody is signed in.
func (s *session) hint(err error) error {
	if !errors.Is(err, evertoken.ErrSignedOut) {
		return err
	}
	again := "evertoken login"
	if s.name != "default" {
		again += " --session " + s.name
	}
	return fmt.Errorf("%w; %s signs in", err, again)
}

// A passing store is for a process that will not live to save later what cannot
// be saved now: its leases do not say that they last, so that a refresh token is
// not spent unless the folder takes writes.
type passing struct{ *storage.File }

// Acquire implements [storage.Leaser].
func (p passing) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	lease, err := p.File.Acquire(ctx, key, ttl)
	if err != nil {
		return nil, err
	}
	return struct{ storage.Lease }{lease}, nil
}
