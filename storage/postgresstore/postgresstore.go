// Package postgresstore keeps sessions in PostgreSQL, so that processes on many
// hosts share them.
//
//	pool, err := pgxpool.New(ctx, "postgres://app@db.example.com/app")
//	if err != nil { ... }
//	store, err := postgresstore.New(pool, postgresstore.Options{})
//	if err != nil { ... }
//	if err := store.Migrate(ctx); err != nil { ... } // or run what store.Schema returns
//	client, err := evertoken.New(ctx, evertoken.Config{Issuer: issuer, Store: store})
//
// # Behind a proxy
//
// Every call is one statement in a transaction of its own, and no call leaves
// anything in its connection: no setting, no lock, no prepared statement. The
// store asks pgx for QueryExecModeExec whatever the pool's mode is, so it works
// behind proxies that pool transactions, such as PgBouncer.
//
// # What may be lost
//
// A refresh token is good once. A server that forgets a save which it has
// acknowledged brings back a spent one, and the session ends. PostgreSQL keeps
// what it acknowledges unless fsync or synchronous_commit is off: see
// [Store.Check]. A failover to a replica keeps it only if the replica is
// synchronous. The pool must lead to the primary: a replica may not have heard of
// a session yet, which would be taken for signing out.
package postgresstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evertoken/evertoken/storage"
)

// Options may be left out.
type Options struct {
	// Table begins the names of the two tables, NAME_records and NAME_leases; a
	// schema may stand before it, with a dot. Letters, digits and underscores, at
	// most 50 each. Empty means "evertoken".
	Table string
}

// A Store keeps records in one table and leases in another. It is a
// [storage.Leaser] and safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	sql  statements
}

var _ interface {
	storage.Store
	storage.Leaser
} = (*Store)(nil)

// New returns a store on pool. It fails if the arguments are wrong, and does not
// connect. The pool stays the caller's, who closes it after the last use of the
// store.
func New(pool *pgxpool.Pool, opts Options) (*Store, error) {
	if pool == nil {
		return nil, errors.New("postgresstore: pool is nil")
	}
	if opts.Table == "" {
		opts.Table = "evertoken"
	}
	const part = `[A-Za-z_][A-Za-z0-9_]{0,49}`
	if !regexp.MustCompile(`^(` + part + `\.)?` + part + `$`).MatchString(opts.Table) {
		return nil, fmt.Errorf("postgresstore: Table %q is not a name of letters, digits and underscores, with or without a schema before it", opts.Table)
	}
	return &Store{pool: pool, sql: statementsFor(strings.Split(opts.Table, "."))}, nil
}

// Load implements [storage.Store].
func (s *Store) Load(ctx context.Context, key string) (item storage.Item, err error) {
	var version string
	err = s.one(ctx, repeatable, s.sql.load, key, nil, &version, &item.Data)
	if errors.Is(err, pgx.ErrNoRows) {
		return storage.Item{}, storage.ErrNotFound
	}
	if err != nil {
		return storage.Item{}, s.explain("load", err)
	}
	item.Version = storage.Version(version)
	return item, nil
}

// Save implements [storage.Store]. Versions are random: no counter starts anew
// when a row is deleted or a backup is restored.
func (s *Store) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	v := rand.Text()
	if data == nil {
		data = []byte{} // nil would be NULL
	}
	query, args := s.sql.create, []any{v, data}
	if prev != "" {
		query, args = s.sql.update, append(args, string(prev))
	}
	if err := s.change(ctx, "save", query, key, args...); err != nil {
		return "", err
	}
	return storage.Version(v), nil
}

// Delete implements [storage.Store].
func (s *Store) Delete(ctx context.Context, key string, prev storage.Version) error {
	return s.change(ctx, "delete", s.sql.delete, key, string(prev))
}

// change runs a statement that returns whether it did what it should. One that
// the server gave up because of another transaction has lost to it.
func (s *Store) change(ctx context.Context, step, query, key string, args ...any) error {
	done, err := s.ask(ctx, pgconn.SafeToRetry, query, key, args...)
	switch {
	case overtaken(err):
		return storage.ErrConflict
	case err != nil:
		return s.explain(step, err)
	case !done:
		return storage.ErrConflict
	}
	return nil
}

// ask runs a statement that returns one truth value, or no row for no.
func (s *Store) ask(ctx context.Context, again func(error) bool, query, key string, args ...any) (done bool, err error) {
	err = s.one(ctx, again, query, key, args, &done)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return done, err
}

// one runs a statement on the row of a key, and scans what it returns. Keys are
// bytes to the server: text could not hold all of them. Where a connection was
// cut, while it lay in the pool or on the way, again says of the error whether
// another one is taken: there are at most as many of these as the pool has.
func (s *Store) one(ctx context.Context, again func(error) bool, query, key string, args []any, into ...any) error {
	if key == "" {
		return errors.New("key is empty")
	}
	args = append([]any{pgx.QueryExecModeExec, []byte(key)}, args...)
	for cut := s.pool.Stat().TotalConns(); ; cut-- {
		err := s.pool.QueryRow(ctx, query, args...).Scan(into...)
		if err == nil || cut <= 0 || ctx.Err() != nil || !again(err) {
			return err
		}
	}
}

// repeatable is for statements that may be run twice: whatever has become of the
// first, unless the server has answered.
func repeatable(err error) bool {
	var answered *pgconn.PgError
	return !errors.Is(err, pgx.ErrNoRows) && !errors.As(err, &answered)
}

// SQLSTATE codes of PostgreSQL, appendix A.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	undefinedTable       = "42P01"
	invalidSchema        = "3F000"
	readOnlyTransaction  = "25006"
)

// overtaken says that the server undid a statement in favour of another
// transaction, as it does where statements are isolated more strictly than by
// default.
func overtaken(err error) bool {
	var failed *pgconn.PgError
	return errors.As(err, &failed) && (failed.Code == serializationFailure || failed.Code == deadlockDetected)
}

// explain says what to do about errors that have a usual cause.
func (s *Store) explain(step string, err error) error {
	var failed *pgconn.PgError
	if errors.As(err, &failed) {
		switch failed.Code {
		case undefinedTable, invalidSchema:
			return fmt.Errorf("postgresstore: %s: the tables are missing (call Migrate, or run what Schema returns): %w", step, err)
		case readOnlyTransaction:
			return fmt.Errorf("postgresstore: %s: the pool does not lead to the primary: %w", step, err)
		}
	}
	return fmt.Errorf("postgresstore: %s: %w", step, err)
}
