package storage

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrWrongKey means that a record was sealed with a key that [Encrypt] was not
// given. The record may be sound: give its key too. Nothing was changed, and
// Delete still removes the record of a key that is lost.
var ErrWrongKey = errors.New("storage: record is sealed with another key")

const (
	sealedHeader = "evertoken-sealed/" // followed by the layout, a blank and the key's id
	sealedLayout = "1"                 // a decimal number: a greater one is a newer release's
	dataKeySize  = 32                  // AES-256
)

// Encrypt returns a store that seals the records which it keeps in inner. Each
// key is 32 random bytes. The first one seals; all of them open, so a key is
// replaced by putting the new one in front of it until every session has been
// saved once. A key of another size, or none, is an error of every method.
//
// Records are sealed with AES-256-GCM under random nonces, which one key can do
// four billion times. The session's key and the id of the sealing key are bound
// to the record: one that was moved under another name does not open. Names,
// sizes and times of change are not hidden, and an old record that somebody with
// access to inner puts back is not told from a new one.
//
// A record that does not open is [ErrCorrupt]; Load then returns its sealed
// bytes and their version beside the error, so that it can be replaced. One that
// was sealed with a key that is not here is [ErrWrongKey].
//
// The store is a [Leaser] if inner is one; the leases are inner's own. Like
// inner it is safe for concurrent use.
func Encrypt(inner Store, keys ...[]byte) Store {
	s := &sealed{inner: inner, open: make(map[string]cipher.AEAD, len(keys))}
	s.fault = s.prepare(keys)
	if leaser, ok := inner.(Leaser); ok {
		return &leasedSealed{s, leaser}
	}
	return s
}

// A sealed store knows each of its keys by an id.
type sealed struct {
	inner Store
	open  map[string]cipher.AEAD
	seals string // the id of the key that seals
	fault error  // what was wrong with the arguments
}

// A leasedSealed store is one over a Leaser. What can be leased shows in a
// store's type, so there are two types.
type leasedSealed struct {
	*sealed
	leaser Leaser
}

func (s *sealed) prepare(keys [][]byte) error {
	if s.inner == nil {
		return errors.New("storage: encrypt: the store is nil")
	}
	if len(keys) == 0 {
		return errors.New("storage: encrypt: there is no key")
	}
	for i, key := range keys {
		if len(key) != dataKeySize {
			return fmt.Errorf("storage: encrypt: key %d has %d bytes, not %d", i, len(key), dataKeySize)
		}
		aead, err := newAEAD(key)
		if err != nil {
			return fmt.Errorf("storage: encrypt: key %d: %w", i, err)
		}
		s.open[keyID(key)] = aead
	}
	s.seals = keyID(keys[0])
	return nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// keyID names a key without telling anything of it.
func keyID(key []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte("evertoken key id")) // never fails
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// head is the first line of a record that was sealed with the key id.
func head(id string) string { return sealedHeader + sealedLayout + " " + id + "\n" }

// bound is the associated data of a record: what must be the same when it is
// opened. The head has a fixed length, so no two pairs run together to one.
func bound(id, key string) []byte { return []byte(head(id) + key) }

// Load implements [Store].
func (s *sealed) Load(ctx context.Context, key string) (Item, error) {
	if s.fault != nil {
		return Item{}, s.fault
	}
	item, err := s.inner.Load(ctx, key)
	if err != nil {
		return item, err
	}
	plain, err := s.unseal(key, item.Data)
	switch {
	case errors.Is(err, ErrCorrupt):
		return item, err
	case err != nil:
		return Item{}, err
	}
	return Item{Data: plain, Version: item.Version}, nil
}

// unseal opens a record. Its errors name what is wrong and never quote.
func (s *sealed) unseal(key string, raw []byte) ([]byte, error) {
	line, box, whole := strings.Cut(string(raw), "\n")
	rest, ours := strings.CutPrefix(line, sealedHeader)
	layout, id, _ := strings.Cut(rest, " ")
	if n, err := strconv.ParseUint(layout, 10, 16); whole && ours && err == nil && n > 1 {
		return nil, fmt.Errorf("storage: encrypt: record %q has layout %d, written by a newer release; this one reads layout %s",
			key, n, sealedLayout)
	}
	if sum, err := hex.DecodeString(id); !whole || !ours || layout != sealedLayout || err != nil || len(sum) != 8 {
		return nil, fmt.Errorf("%w: record %q of %d bytes was not sealed by Encrypt, or has lost its first line", ErrCorrupt, key, len(raw))
	}
	aead, ok := s.open[id]
	if !ok {
		return nil, fmt.Errorf("%w: record %q needs the key with id %s", ErrWrongKey, key, id)
	}
	plain, err := aead.Open(nil, nil, []byte(box), bound(id, key))
	if err != nil {
		return nil, fmt.Errorf("%w: record %q of %d bytes does not open with its key", ErrCorrupt, key, len(raw))
	}
	return plain, nil
}

// Save implements [Store].
func (s *sealed) Save(ctx context.Context, key string, data []byte, prev Version) (Version, error) {
	if s.fault != nil {
		return "", s.fault
	}
	return s.inner.Save(ctx, key, s.seal(key, data), prev)
}

func (s *sealed) seal(key string, data []byte) []byte {
	return s.open[s.seals].Seal([]byte(head(s.seals)), nil, data, bound(s.seals, key))
}

// Delete implements [Store].
func (s *sealed) Delete(ctx context.Context, key string, prev Version) error {
	if s.fault != nil {
		return s.fault
	}
	return s.inner.Delete(ctx, key, prev)
}

// Acquire implements [Leaser].
func (s *leasedSealed) Acquire(ctx context.Context, key string, ttl time.Duration) (Lease, error) {
	if s.fault != nil {
		return nil, s.fault
	}
	return s.leaser.Acquire(ctx, key, ttl)
}
