package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/record"
	"github.com/evertoken/evertoken/storage"
)

const statusHelp = `Tells who is signed in, where, and how long the token is good for. It asks
nobody, and shows no secret. The exit status is 3 if nobody is signed in.
`

func statusCommand(flags *flag.FlagSet) action {
	s := sessionFlags(flags)
	return func(ctx context.Context, args []string) error {
		if err := nothing(args); err != nil {
			return err
		}
		p, _, err := s.profile(ctx)
		if err != nil {
			return err
		}
		r, err := s.record(ctx, p)
		if err != nil {
			return err
		}
		return s.describe(os.Stdout, p, r, time.Now())
	}
}

// record reads the session without a client, which would begin to renew it.
func (s *session) record(ctx context.Context, p profile) (record.Record, error) {
	item, err := s.folder().Load(ctx, s.tokenKey(p))
	if errors.Is(err, storage.ErrNotFound) {
		return record.Record{}, s.hint(evertoken.ErrSignedOut)
	}
	if err != nil {
		return record.Record{}, err
	}
	return record.Decode(s.name, item.Data)
}

// describe writes a page about a session; it is an error if nobody is signed in.
func (s *session) describe(w io.Writer, p profile, r record.Record, now time.Time) error {
	t := r.Tokens
	ended := !t.Expiry.IsZero() && !now.Before(t.Expiry)
	over := ended && (r.Over || t.RefreshToken == "")
	state := "signed in"
	switch {
	case over && r.Over:
		state = "signed out: the issuer has ended the session"
	case over:
		state = "signed out: the token has ended, and nothing renews it"
	case r.Over:
		state = "ended by the issuer, with the token"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) { _, _ = fmt.Fprintf(table, "%s\t%s\n", name, value) }
	row("session", s.name)
	row("at", p.String())
	if to := p.origins(); p.LightNap != "" || len(p.APIs) > 0 {
		row("for", strings.Join(to, ", "))
	}
	row("state", state)
	row("token", lifeTo(t.Expiry, now))
	if !t.RefreshExpiry.IsZero() {
		row("renewable", lifeTo(t.RefreshExpiry, now))
	}
	row("last renewed", t.IssuedAt.Local().Format(time.DateTime)+" ("+r.Cause+")")
	if err := table.Flush(); err != nil {
		return err
	}
	if over {
		return &exitError{exitSignedOut, nil}
	}
	return nil
}
