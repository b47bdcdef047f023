package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/evertoken/evertoken"
)

const logoutHelp = `Ends the session: here first, and then at the issuer, if it can be told. Tokens
that were handed out before may be good until they end. It is no error if nobody
is signed in.
`

func logoutCommand(flags *flag.FlagSet) action {
	s := sessionFlags(flags)
	return func(ctx context.Context, args []string) error {
		if err := nothing(args); err != nil {
			return err
		}
		p, version, err := s.profile(ctx)
		if errors.Is(err, evertoken.ErrSignedOut) {
			fmt.Fprintln(os.Stderr, "Nobody is signed in.")
			return nil
		}
		if err != nil {
			return err
		}
		err = s.use(ctx, p, func(c *evertoken.Client) error { return c.SignOut(ctx) })
		if _, still := s.record(ctx, p); !errors.Is(still, evertoken.ErrSignedOut) {
			return err
		}
		failed := s.folder().Delete(ctx, s.profileKey(), version)
		if err != nil {
			return fmt.Errorf("signed out here, but not at the issuer: %w", errors.Join(err, failed))
		}
		fmt.Fprintf(os.Stderr, "Signed out at %s.\n", p)
		return failed
	}
}
