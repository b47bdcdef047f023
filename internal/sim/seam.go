package sim

import (
	"context"
	_ "unsafe" // for go:linkname

	"github.com/evertoken/evertoken"
)

// newClient is the constructor behind evertoken.New. Its last argument is where
// a client takes chance from; a run can only be repeated if that is seeded too.
//
//go:linkname newClient github.com/evertoken/evertoken.newClient
func newClient(ctx context.Context, cfg evertoken.Config, random func() float64) (*evertoken.Client, error)
