package postgresstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/evertoken/evertoken/storage"
)

// ErrVolatile means that the server can lose a save that it has acknowledged;
// the error says by which setting.
var ErrVolatile = errors.New("postgresstore: the server can lose an acknowledged save")

// Check asks the server, over one of the pool's connections, whether the tables
// are there and whether it keeps each save that it acknowledges. The error is
// [ErrVolatile] if a setting lets it lose one. What a failover loses cannot be
// asked for.
func (s *Store) Check(ctx context.Context) error {
	if _, err := s.Load(ctx, "default"); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	const query = `SELECT current_setting('fsync'), current_setting('synchronous_commit'), pg_is_in_recovery()`
	var fsync, commit string
	var replica bool
	if err := s.pool.QueryRow(ctx, query, pgx.QueryExecModeExec).Scan(&fsync, &commit, &replica); err != nil {
		return s.explain("check", err)
	}
	var faults []string
	if fsync == "off" {
		faults = append(faults, "fsync is off: when the machine goes down, its data may be damaged")
	}
	if commit == "off" {
		faults = append(faults, "synchronous_commit is off: when the server ends, the saves of the last moments are lost")
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w: %s", ErrVolatile, strings.Join(faults, "; "))
	}
	if replica {
		return errors.New("postgresstore: check: the pool does not lead to the primary")
	}
	return nil
}
