// Package keyringstore keeps the key of storage.Encrypt in the keyring of the
// operating system: the Secret Service of a Linux desktop, macOS's Keychain, or
// Windows's Credential Manager.
//
//	ring, err := keyringstore.New(keyringstore.Options{Service: "example-app"})
//	if err != nil { ... }
//	key, err := ring.KeyOrNew(ctx, "sessions")
//	if err != nil { ... }
//	store := storage.Encrypt(storage.NewFile(dir), key)
//
// Only the key is kept there: keyrings have no compare-and-swap, and some refuse
// what is as large as a session.
package keyringstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/evertoken/evertoken/storage"
)

var (
	// ErrNoKeyring means that this machine or this login has no keyring, as
	// servers and containers have none.
	ErrNoKeyring = errors.New("keyringstore: there is no keyring here")

	// ErrLocked means that the keyring is locked, or did not answer in time: a
	// locked one does not answer before its user unlocks it.
	ErrLocked = errors.New("keyringstore: the keyring is locked")

	// ErrNoKey means that the keyring was read and holds no key of this name.
	ErrNoKey = errors.New("keyringstore: there is no such key")
)

// Options say whose keys they are.
type Options struct {
	// Service is the name of the program, under which its keys are kept.
	// Required.
	Service string

	// Timeout bounds each call of the keyring; the user may have to type a
	// password meanwhile. Zero means 30 s.
	Timeout time.Duration

	// LockDir is a folder, made when need be, in which processes take turns at
	// making a key. Empty means evertoken-keyring in os.UserCacheDir.
	LockDir string
}

// A Keyring hands out the keys of one program. It is safe for concurrent use.
//
// The system's calls cannot be cancelled: one that was given up goes on in its
// goroutine until the keyring answers or the process ends. The Keyring owns that
// goroutine and never has a second one; the next call waits for it.
type Keyring struct {
	opts    Options
	backend backend
	locks   *storage.File
	turn    chan struct{} // holds one element while the keyring is asked
}

// keySize is that of AES-256, which storage.Encrypt uses.
const keySize = 32

// New returns the keyring of this login. It fails if the options are wrong, and
// does not ask the keyring yet.
func New(opts Options) (*Keyring, error) {
	if opts.Service == "" {
		return nil, errors.New("keyringstore: Service is empty")
	}
	if opts.Timeout < 0 {
		return nil, fmt.Errorf("keyringstore: Timeout is negative: %v", opts.Timeout)
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.LockDir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("keyringstore: LockDir is empty: %w", err)
		}
		opts.LockDir = filepath.Join(cache, "evertoken-keyring")
	}
	return &Keyring{opts: opts, backend: system{}, locks: storage.NewFile(opts.LockDir), turn: make(chan struct{}, 1)}, nil
}

// Key returns the key of 32 bytes that is kept under name. The error is
// [ErrNoKey], [ErrLocked], [ErrNoKeyring], ctx's, or that of an entry that is no
// key.
func (k *Keyring) Key(ctx context.Context, name string) ([]byte, error) {
	return k.ask(ctx, name, func(context.Context) (string, error) {
		return k.backend.Get(k.opts.Service, name)
	})
}

// KeyOrNew returns the key that is kept under name, and makes a random one if
// there is none. Of several processes one makes it, and all get the same. A key
// that was lost is thereby replaced: records that it sealed are then
// storage.ErrWrongKey.
func (k *Keyring) KeyOrNew(ctx context.Context, name string) ([]byte, error) {
	key, err := k.Key(ctx, name)
	if !errors.Is(err, ErrNoKey) {
		return key, err
	}
	return k.ask(ctx, name, func(ctx context.Context) (string, error) { return k.create(ctx, name) })
}

// create takes the lock, and holds it for as long as the keyring takes: a Set that
// was given up must not land after somebody else's.
func (k *Keyring) create(ctx context.Context, name string) (string, error) {
	lock, err := k.locks.Acquire(ctx, k.opts.Service+"/"+name, 0)
	if err != nil {
		return "", fmt.Errorf("LockDir: %w", err)
	}
	defer lock.Release()
	text, err := k.backend.Get(k.opts.Service, name)
	if !errors.Is(err, keyring.ErrNotFound) {
		return text, err
	}
	var key [keySize]byte
	_, _ = rand.Read(key[:]) // never fails
	if err := k.backend.Set(k.opts.Service, name, base64.StdEncoding.EncodeToString(key[:])); err != nil {
		return "", err
	}
	// What counts is what the keyring says now: a user who refuses to unlock it
	// is no error of Set.
	return k.backend.Get(k.opts.Service, name)
}

// parse reads an entry. Its error does not quote.
func parse(name, text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("keyringstore: the entry %q is no key of %d bytes", name, keySize)
	}
	return key, nil
}
