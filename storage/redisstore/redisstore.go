// Package redisstore keeps sessions in Redis, or in what speaks its protocol, so
// that processes on many hosts share them.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis.example.com:6379"})
//	store, err := redisstore.New(ctx, client, redisstore.Options{})
//	if err != nil { ... }
//	c, err := evertoken.New(ctx, evertoken.Config{Issuer: issuer, Store: store})
//
// # What may be lost
//
// A refresh token is good once. A server that forgets a save which it has
// acknowledged brings back a spent one, and the session ends. Out of the box
// Redis does forget: it writes a snapshot now and then. What keeps every save is
//
//	appendonly yes
//	appendfsync always
//	maxmemory-policy noeviction
//
// [New] asks the server, and logs a warning if that is not how it is set.
// Replication is asynchronous: a failover forgets what the replica had not
// received, which min-replicas-to-write makes rarer and nothing here can rule out.
package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/evertoken/evertoken/storage"
)

// Options may be left out.
type Options struct {
	// Prefix begins the name of every key. It holds no brace. Empty means
	// "evertoken:".
	Prefix string

	// Logger receives the warning of New. Nil means slog.Default().
	Logger *slog.Logger
}

// A Store keeps each session under two keys of one hash tag: the record, a hash
// of version and data, and the lease, which the server lets expire by its own
// clock. It is a [storage.Leaser] and safe for concurrent use.
type Store struct {
	client redis.UniversalClient
	prefix string
}

var _ interface {
	storage.Store
	storage.Leaser
} = (*Store)(nil)

// New returns a store on client: one server, Sentinel or Cluster. It fails if
// the options are wrong or the server cannot be read. If [Store.Check] finds that
// an acknowledged save could be lost, or cannot find out, it logs a warning. The
// client stays the caller's, who closes it after the last use of the store.
func New(ctx context.Context, client redis.UniversalClient, opts Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("redisstore: client is nil")
	}
	if strings.ContainsAny(opts.Prefix, "{}") {
		return nil, fmt.Errorf("redisstore: Prefix %q holds a brace; braces mark the part of a name that chooses its node", opts.Prefix)
	}
	s := &Store{client: client, prefix: opts.Prefix}
	if s.prefix == "" {
		s.prefix = "evertoken:"
	}
	if _, err := s.Load(ctx, "default"); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	switch err := s.Check(ctx); {
	case errors.Is(err, ErrVolatile), errors.Is(err, ErrUntold):
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

// name is the one rule for keys: any session key will do, and its brackets are
// escaped, so that the hash tag is the whole of it.
func (s *Store) name(key, kind string) (string, error) {
	if key == "" {
		return "", errors.New("redisstore: key is empty")
	}
	escape := strings.NewReplacer("%", "%25", "{", "%7b", "}", "%7d")
	return s.prefix + "{" + escape.Replace(key) + "}:" + kind, nil
}

// The scripts read and write one key each, in one step of the server. They are
// also how records are read: a script runs on the master, where a plain read may
// be sent to a replica that has not heard of the session yet.
const (
	loadScript = `return redis.call('HMGET', KEYS[1], 'v', 'd')`

	// A save that finds its own version in place was sent twice: the client
	// repeats what it had no answer to.
	saveScript = `
local now = redis.call('HGET', KEYS[1], 'v')
if now == ARGV[2] then return 1 end
if (now or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'd', ARGV[3])
return 1`

	deleteScript = `
local now = redis.call('HGET', KEYS[1], 'v')
if not now then return 1 end
if ARGV[1] ~= '' and now ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1`
)

// Load implements [storage.Store].
func (s *Store) Load(ctx context.Context, key string) (storage.Item, error) {
	got, err := s.eval(ctx, loadScript, key, recordKind)
	if err != nil {
		return storage.Item{}, fmt.Errorf("redisstore: load: %w", err)
	}
	fields, _ := got.([]any)
	if len(fields) == 2 && fields[0] == nil && fields[1] == nil {
		return storage.Item{}, storage.ErrNotFound
	}
	if len(fields) == 2 {
		version, ok := fields[0].(string)
		data, whole := fields[1].(string)
		if ok && whole && version != "" {
			return storage.Item{Data: []byte(data), Version: storage.Version(version)}, nil
		}
	}
	name, _ := s.name(key, recordKind)
	return storage.Item{}, fmt.Errorf("redisstore: load: the hash at %q is not a record of this package", name)
}

// Save implements [storage.Store]. Versions are random: no counter starts anew
// when a key is deleted or a server forgets.
func (s *Store) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	v := rand.Text()
	done, err := s.eval(ctx, saveScript, key, recordKind, string(prev), v, data)
	if err := outcome("save", done, err, storage.ErrConflict); err != nil {
		return "", err
	}
	return storage.Version(v), nil
}

// Delete implements [storage.Store].
func (s *Store) Delete(ctx context.Context, key string, prev storage.Version) error {
	done, err := s.eval(ctx, deleteScript, key, recordKind, string(prev))
	return outcome("delete", done, err, storage.ErrConflict)
}

// outcome is the error of a script that returns 1 or 0, which means no.
func outcome(step string, done any, err, no error) error {
	switch {
	case err != nil:
		return fmt.Errorf("redisstore: %s: %w", step, err)
	case done != int64(1):
		return no
	}
	return nil
}
