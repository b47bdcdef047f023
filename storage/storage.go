// Package storage keeps a session's record across restarts and shares it
// between processes.
//
//	client, err := evertoken.New(ctx, evertoken.Config{
//		Issuer: issuer,
//		Store:  storage.Encrypt(storage.NewFile(dir), key),
//	})
//
// A [Store] has three methods over opaque bytes and a version. A store that
// several processes share is a [Leaser] too. The two guard different things,
// and a shared session needs both:
//
//   - the lease gives the right to send a refresh token to the issuer;
//   - the version gives the right to write the record.
//
// [Memory] and [File] are here, and [Encrypt] seals the records of any store.
// For Redis, PostgreSQL, NATS and the keyring of the operating system there are
// modules of their own below this one; package storetest proves the contract for
// any other backend.
package storage

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound means that the store was read and holds no record under the
	// key. It is the only error of Load that means "signed out".
	ErrNotFound = errors.New("storage: record not found")

	// ErrConflict means that the record is not at the version that the caller
	// knew: somebody else wrote or deleted it first. Nothing was changed.
	ErrConflict = errors.New("storage: record was changed by somebody else")

	// ErrCorrupt means that the record was read but its bytes are damaged. A
	// store that can tell returns them, and their version, beside the error.
	ErrCorrupt = errors.New("storage: record is damaged")
)

// A Version identifies one write of one key. It is opaque, never empty for a
// stored record, and never used twice for a key, not even after a Delete: a
// version that came back would let a process that had been frozen overwrite
// the session that followed.
type Version string

// An Item is a record as it was read.
type Item struct {
	Data    []byte // the caller's own copy
	Version Version
}

// A Store keeps records under keys. Any non-empty string is a key; a record
// may be at least 64 KiB. All methods are safe for concurrent use, neither keep
// nor change the caller's slices, and return soon after ctx ends.
type Store interface {
	// Load returns the record under key. [ErrNotFound] says that there is
	// none; any other error says that the store could not be read. The item
	// beside an error counts only for [ErrCorrupt].
	Load(ctx context.Context, key string) (Item, error)

	// Save writes the record if it is still at prev, and returns its new
	// version. An empty prev creates: the key must hold no record. Otherwise
	// the error is [ErrConflict], also for a prev on a key without a record.
	// After any other error the write may or may not have happened. A nil
	// error means that the record survives a crash of the process.
	Save(ctx context.Context, key string, data []byte, prev Version) (Version, error)

	// Delete removes the record if it is still at prev, or at any version if
	// prev is empty. The error is [ErrConflict] if it is at another version.
	// Deleting what is not there is no error.
	Delete(ctx context.Context, key string, prev Version) error
}

// A Leaser is a [Store] whose keys can be leased. A lease is the exclusive
// right to send the session's refresh token; it neither protects the record nor
// changes its version.
type Leaser interface {
	// Acquire blocks until the lease of key is held or ctx ends. The store
	// takes the lease back when ttl has passed since it was granted or last
	// extended. A store that sees its holders die, such as one built on a
	// lock that the kernel drops, may keep it for as long as they live.
	Acquire(ctx context.Context, key string, ttl time.Duration) (Lease, error)
}

// A Lease is held until it is released or its ttl has passed. A lease that
// cannot lapse while its holder lives has one more method, Lasting() bool,
// which returns true: its holder may then rely on it while the rest of the
// store is out of order.
type Lease interface {
	// Extend holds the lease for another ttl, counted from the call. An error
	// says that the right is gone or unknown: send nothing.
	Extend(ctx context.Context) error

	// Release ends the lease. It may be called more than once, and after the
	// lease has lapsed; it never ends somebody else's.
	Release()
}
