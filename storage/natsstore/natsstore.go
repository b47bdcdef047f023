// Package natsstore keeps sessions in a key-value bucket of NATS JetStream, so
// that processes on many hosts share them.
//
//	nc, err := nats.Connect("nats://nats.example.com")
//	if err != nil { ... }
//	js, err := jetstream.New(nc)
//	if err != nil { ... }
//	_, err = js.CreateOrUpdateKeyValue(ctx, natsstore.Bucket("evertoken", 3)) // once
//	if err != nil { ... }
//	store, err := natsstore.New(ctx, js, natsstore.Options{})
//	if err != nil { ... }
//	client, err := evertoken.New(ctx, evertoken.Config{Issuer: issuer, Store: store})
//
// # What may be lost
//
// A refresh token is good once. A server that forgets a save which it has
// acknowledged brings back a spent one, and the session ends. A bucket in files,
// on three servers, keeps what it acknowledges as long as two of their machines
// stay up: a server syncs its files every two minutes unless it is configured with
// sync_interval: always, which a single one therefore needs. [New] logs a warning
// about what it can see, a bucket in memory.
//
// Versions are the bucket's revisions, which never return, also not after a
// delete. They start anew if the bucket itself is deleted and made again: stop the
// programs that use it before.
package natsstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/evertoken/evertoken/storage"
)

// Options may be left out.
type Options struct {
	// Bucket is the name of the bucket, which must exist. Empty means "evertoken".
	Bucket string

	// Logger receives the warning of New. Nil means slog.Default().
	Logger *slog.Logger
}

// A Store keeps each session under two keys of a bucket, one for the record and
// one for the lease. It is a [storage.Leaser] and safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	bucket string

	mu   sync.Mutex
	seen map[string]sighting // leases of others, by key
}

var _ interface {
	storage.Store
	storage.Leaser
} = (*Store)(nil)

// Bucket is the configuration of a bucket for sessions, kept in files by so many
// servers: hand it to CreateOrUpdateKeyValue.
func Bucket(name string, replicas int) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket:      name,
		Description: "evertoken sessions",
		History:     1, // older tokens are of no use to anybody honest
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,
	}
}

// New returns a store on a bucket. It fails if the bucket cannot be reached, does
// not exist, or would drop records by itself. If [Store.Check] finds that an
// acknowledged save could be lost it logs a warning. The connection stays the
// caller's, who closes it after the last use of the store.
func New(ctx context.Context, js jetstream.JetStream, opts Options) (*Store, error) {
	if js == nil {
		return nil, errors.New("natsstore: js is nil")
	}
	if opts.Bucket == "" {
		opts.Bucket = "evertoken"
	}
	kv, err := js.KeyValue(ctx, opts.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("natsstore: bucket %q does not exist (make it with what Bucket returns): %w", opts.Bucket, err)
	}
	if err != nil {
		return nil, fmt.Errorf("natsstore: bucket %q: %w", opts.Bucket, err)
	}
	s := &Store{js: js, kv: kv, bucket: opts.Bucket, seen: make(map[string]sighting)}
	switch err := s.Check(ctx); {
	case errors.Is(err, ErrVolatile):
		logger := opts.Logger
		if logger == nil {
			logger = slog.Default()
		}
		logger.WarnContext(ctx, err.Error())
	case err != nil:
		return nil, err
	}
	return s, nil
}

// Load implements [storage.Store].
func (s *Store) Load(ctx context.Context, key string) (storage.Item, error) {
	e, err := s.last(ctx, key, recordKind)
	if err != nil {
		return storage.Item{}, fmt.Errorf("natsstore: load: %w", err)
	}
	if !e.live {
		return storage.Item{}, storage.ErrNotFound
	}
	return storage.Item{Data: e.data, Version: version(e.revision)}, nil
}

func version(revision uint64) storage.Version {
	return storage.Version(strconv.FormatUint(revision, 10))
}

// Save implements [storage.Store].
func (s *Store) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	at, err := s.base(ctx, key, prev)
	if errors.Is(err, storage.ErrConflict) {
		return "", err
	}
	var revision uint64
	if err == nil {
		revision, err = s.put(ctx, key, recordKind, data, at)
	}
	switch {
	case overtaken(err):
		return "", storage.ErrConflict
	case err != nil:
		return "", fmt.Errorf("natsstore: save: %w", err)
	}
	return version(revision), nil
}

// base is the revision that a save is to replace: the caller's, or for a record
// that is to be created that of the mark which a deleted one has left, if any.
func (s *Store) base(ctx context.Context, key string, prev storage.Version) (uint64, error) {
	if prev != "" {
		at, err := strconv.ParseUint(string(prev), 10, 64)
		if err != nil || at == 0 {
			return 0, storage.ErrConflict // no version of ours
		}
		return at, nil
	}
	e, err := s.last(ctx, key, recordKind)
	if err == nil && e.live {
		err = storage.ErrConflict
	}
	return e.revision, err
}

// Delete implements [storage.Store]. It leaves a mark without data.
func (s *Store) Delete(ctx context.Context, key string, prev storage.Version) error {
	for {
		e, err := s.last(ctx, key, recordKind)
		switch {
		case err != nil:
			return fmt.Errorf("natsstore: delete: %w", err)
		case !e.live:
			return nil
		case prev != "" && version(e.revision) != prev:
			return storage.ErrConflict
		}
		err = s.kv.Purge(ctx, name(key, recordKind), jetstream.LastRevision(e.revision))
		switch {
		case overtaken(err) && prev == "":
			continue // whatever it is now, it is to go
		case overtaken(err):
			return storage.ErrConflict
		case err != nil:
			return fmt.Errorf("natsstore: delete: %w", err)
		}
		return nil
	}
}
