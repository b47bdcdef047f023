package postgresstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// statements is the SQL of a store, for its tables.
type statements struct {
	schema                        string
	load, create, update, delete  string
	acquire, extend, releaseLease string
}

// statementsFor writes the statements for tables whose names begin so. A save
// takes one row lock for one statement, and the row decides: what another
// statement changed meanwhile is seen once the lock is held. Leases have a table
// of their own, so that extending one neither waits for a save nor rewrites a
// record.
func statementsFor(name []string) statements {
	last := len(name) - 1
	table := func(kind string) string {
		full := append(append(pgx.Identifier{}, name[:last]...), name[last]+kind)
		return full.Sanitize()
	}
	fill := strings.NewReplacer("RECORDS", table("_records"), "LEASES", table("_leases"),
		// now() would be when the transaction began, before it waited for the row.
		"UNTIL", "clock_timestamp() + $3 * interval '1 microsecond'").Replace
	return statements{
		schema: fill(`CREATE TABLE IF NOT EXISTS RECORDS (
	key     bytea PRIMARY KEY,
	version text  NOT NULL,
	data    bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS LEASES (
	key    bytea       PRIMARY KEY,
	holder text        NOT NULL,
	until  timestamptz NOT NULL
);
`),
		load:   fill(`SELECT version, data FROM RECORDS WHERE key = $1`),
		create: fill(`INSERT INTO RECORDS (key, version, data) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING RETURNING true`),
		update: fill(`UPDATE RECORDS SET version = $2, data = $3 WHERE key = $1 AND version = $4 RETURNING true`),
		delete: fill(`WITH gone AS (DELETE FROM RECORDS WHERE key = $1 AND ($2 = '' OR version = $2) RETURNING key)
SELECT EXISTS (SELECT FROM gone) OR NOT EXISTS (SELECT FROM RECORDS WHERE key = $1)`),
		acquire: fill(`INSERT INTO LEASES AS l (key, holder, until) VALUES ($1, $2, UNTIL)
ON CONFLICT (key) DO UPDATE SET holder = $2, until = UNTIL WHERE l.until <= clock_timestamp() OR l.holder = $2 RETURNING true`),
		extend:       fill(`UPDATE LEASES SET until = UNTIL WHERE key = $1 AND holder = $2 AND until > clock_timestamp() RETURNING true`),
		releaseLease: fill(`DELETE FROM LEASES WHERE key = $1 AND holder = $2 RETURNING true`),
	}
}

// Schema returns the statements that make the tables, for those who migrate by
// hand. They change nothing that is there.
func (s *Store) Schema() string { return s.sql.schema }

// Migrate makes the tables if they are missing. Several processes may do so at
// once. It needs the right to create tables; afterwards the store needs SELECT,
// INSERT, UPDATE and DELETE.
func (s *Store) Migrate(ctx context.Context) error {
	for statement := range strings.SplitSeq(strings.TrimSuffix(s.sql.schema, ";\n"), ";\n") {
		_, err := s.pool.Exec(ctx, statement, pgx.QueryExecModeExec)
		if err != nil && !madeMeanwhile(err) {
			return fmt.Errorf("postgresstore: migrate: %w", err)
		}
	}
	return nil
}

// madeMeanwhile says that another process made the table at the same moment:
// IF NOT EXISTS does not wait for it, and then finds its name taken.
func madeMeanwhile(err error) bool {
	const uniqueViolation, duplicateTable, duplicateObject = "23505", "42P07", "42710"
	var failed *pgconn.PgError
	if !errors.As(err, &failed) {
		return false
	}
	return failed.Code == uniqueViolation || failed.Code == duplicateTable || failed.Code == duplicateObject
}
