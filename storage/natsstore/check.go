package natsstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrVolatile means that the server can lose a save that it has acknowledged;
// the error says by which setting of the bucket.
var ErrVolatile = errors.New("natsstore: the server can lose an acknowledged save")

// smallest is the size of records that every store must take.
const smallest = 64 << 10

// Check asks the server how the bucket is kept. The error is [ErrVolatile] if it
// can lose an acknowledged save, and another one if it would drop records by
// itself or refuse them, or cannot be asked. How often servers sync their files is
// not to be learned from them.
func (s *Store) Check(ctx context.Context) error {
	stream, err := s.js.Stream(ctx, "KV_"+s.bucket)
	if err != nil {
		return fmt.Errorf("natsstore: bucket %q: %w", s.bucket, err)
	}
	switch c := stream.CachedInfo().Config; {
	case c.Mirror != nil:
		return fmt.Errorf("natsstore: bucket %q is a mirror of another: use that one", s.bucket)
	case c.MaxAge > 0:
		return fmt.Errorf("natsstore: bucket %q drops records after %v, as if their users had signed out: its TTL must be 0", s.bucket, c.MaxAge)
	case c.Discard != jetstream.DiscardNew && (c.MaxBytes > 0 || c.MaxMsgs > 0):
		return fmt.Errorf("natsstore: bucket %q drops old records when it is full, as if their users had signed out: it must discard new ones", s.bucket)
	case c.MaxMsgSize > 0 && c.MaxMsgSize < smallest:
		return fmt.Errorf("natsstore: bucket %q takes values of %d bytes; sessions may need %d", s.bucket, c.MaxMsgSize, smallest)
	case c.Storage == jetstream.MemoryStorage:
		return fmt.Errorf("%w: bucket %q is kept in memory: what was saved is gone when its servers end", ErrVolatile, s.bucket)
	case c.PersistMode == jetstream.AsyncPersistMode:
		return fmt.Errorf("%w: bucket %q is written asynchronously: when a server ends, the saves of the last moments are lost", ErrVolatile, s.bucket)
	}
	return nil
}
