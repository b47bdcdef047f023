package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// File keeps records in a folder, one file each. It is a [Leaser]: the processes
// of one host share a session on it. Make one with [NewFile].
//
// A record survives a kill at any moment: it is written aside, synced and moved
// into place. The folder (mode 0700) and the files (0600) are for their owner
// alone; a folder that others may write to, and anything but a regular file in
// place of one of ours, is refused.
//
// Locks are the kernel's (flock), on files that are never moved or deleted. They
// end with their holder, so a lease has no time to live here: the ttl of Acquire
// is not used, and a holder that is stopped keeps it until it goes on or dies.
//
// Files that the folder's owner moves or deletes are noticed: an Extend after
// the lock file went fails, and a folder that was made anew is used anew.
type File struct {
	dir string
}

// NewFile returns a store in the folder dir, which is made when it is first
// used. A relative dir counts from the folder that is current now, so that a
// program may change it later. Errors come from the methods, that of an empty dir
// too.
func NewFile(dir string) *File {
	if abs, err := filepath.Abs(dir); err == nil && dir != "" {
		dir = abs
	}
	return &File{dir: dir}
}

const (
	fileHeader  = "evertoken-file/" // followed by the layout, a blank and the version
	fileLayout  = "1"               // a decimal number: a greater one is a newer release's
	writeLock   = "write.lock"      // held while any record of the folder is replaced
	tempName    = "write.tmp"
	lockPolling = 5 * time.Millisecond
)

// within runs step in the folder, opened for this call alone. A handle, unlike a
// path, cannot be led elsewhere by a link that is planted meanwhile; one that was
// kept would go on serving a folder that has been moved away, whose locks nobody
// else takes.
func (f *File) within(ctx context.Context, key string, step func(root *os.Root) error) error {
	if err := usable(ctx, key); err != nil {
		return err
	}
	root, err := f.open()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	return step(root)
}

func (f *File) open() (*os.Root, error) {
	if f.dir == "" {
		return nil, errors.New("storage: file: NewFile was given no folder")
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, fmt.Errorf("storage: file: %w", err)
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, fmt.Errorf("storage: file: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil && writableByOthers(info) {
		err = fmt.Errorf("folder %s may be written by others (%v): chmod 700", f.dir, info.Mode().Perm())
	}
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("storage: file: %w", err)
	}
	return root, nil
}

// fileName maps a key to a name that every file system takes, one to one. A
// prefix keeps clear of reserved names, and upper case is escaped because some
// file systems fold it.
func fileName(key string) string {
	const longest = 100
	var b strings.Builder
	b.WriteString("s-")
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.' && i < len(key)-1:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	if b.Len() > longest {
		sum := sha256.Sum256([]byte(key))
		return "h-" + hex.EncodeToString(sum[:])
	}
	return b.String()
}

// Load implements [Store]. A file without our header is [ErrCorrupt]; beside that
// it is returned whole, under a version of its own, with which it can be replaced.
func (f *File) Load(ctx context.Context, key string) (item Item, err error) {
	err = f.within(ctx, key, func(root *os.Root) error {
		item, err = load(root, fileName(key)+".json")
		return err
	})
	return item, err
}

func load(root *os.Root, name string) (Item, error) {
	if err := regular(root, name); err != nil {
		return Item{}, err
	}
	file, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Item{}, ErrNotFound
	}
	if err != nil {
		return Item{}, fmt.Errorf("storage: file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	raw, err := io.ReadAll(file)
	if err != nil {
		return Item{}, fmt.Errorf("storage: file: %w", err)
	}
	return parseFile(name, raw)
}

// parseFile splits a file into its version and the record. Of a newer layout it
// relies on the number alone: what follows may have changed.
func parseFile(name string, raw []byte) (Item, error) {
	head, data, whole := bytes.Cut(raw, []byte("\n"))
	rest, ours := strings.CutPrefix(string(head), fileHeader)
	layout, version, _ := strings.Cut(rest, " ")
	if id, err := hex.DecodeString(version); whole && ours && layout == fileLayout && err == nil && len(id) == 16 {
		return Item{Data: data, Version: Version(version)}, nil
	}
	if n, err := strconv.ParseUint(layout, 10, 16); whole && ours && err == nil && n > 1 {
		return Item{}, fmt.Errorf("storage: file: %s has layout %d, written by a newer release; this one reads layout %s",
			name, n, fileLayout)
	}
	sum := sha256.Sum256(raw)
	return Item{Data: raw, Version: Version("damaged-" + hex.EncodeToString(sum[:]))},
		fmt.Errorf("%w: file %s of %d bytes has lost its first line: SignIn or Login replaces it", ErrCorrupt, name, len(raw))
}

// regular refuses what is there but is no plain file of ours: opening a FIFO
// would block, following a link would write elsewhere.
func regular(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file but %v", name, info.Mode().Type())
	}
	if err != nil {
		return fmt.Errorf("storage: file: %w", err)
	}
	return nil
}

// Save implements [Store].
func (f *File) Save(ctx context.Context, key string, data []byte, prev Version) (Version, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	v := Version(hex.EncodeToString(id[:]))
	err := f.change(ctx, key, func(root *os.Root, name string, now Version) error {
		if now != prev {
			return ErrConflict
		}
		return replace(root, name, append([]byte(fileHeader+fileLayout+" "+string(v)+"\n"), data...))
	})
	if err != nil {
		return "", err
	}
	return v, nil
}

// Delete implements [Store].
func (f *File) Delete(ctx context.Context, key string, prev Version) error {
	return f.change(ctx, key, func(root *os.Root, name string, now Version) error {
		if now == "" {
			return nil
		}
		if prev != "" && now != prev {
			return ErrConflict
		}
		if err := root.Remove(name); err != nil {
			return fmt.Errorf("storage: file: %w", err)
		}
		return syncDir(root)
	})
}

// change runs step while nobody else changes a record of this folder. now is the
// version in place, empty for none.
func (f *File) change(ctx context.Context, key string, step func(root *os.Root, name string, now Version) error) error {
	return f.within(ctx, key, func(root *os.Root) error {
		lock, err := f.lock(ctx, root, writeLock)
		if err != nil {
			return err
		}
		defer func() { _ = lock.Close() }() // the kernel drops it in any case
		name := fileName(key) + ".json"
		item, err := load(root, name)
		if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt) {
			return err
		}
		return step(root, name, item.Version)
	})
}

// replace writes raw aside, makes it durable and moves it into place. The lock
// is held, so one temporary name is enough and one that is there is a leftover.
func replace(root *os.Root, name string, raw []byte) (err error) {
	defer func() {
		if err != nil {
			_ = root.Remove(tempName)
			err = fmt.Errorf("storage: file: %w", err)
		}
	}()
	if err := root.Remove(tempName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp, err := root.OpenFile(tempName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = temp.Write(raw)
	if err == nil {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := root.Rename(tempName, name); err != nil {
		return err
	}
	return syncDir(root)
}

// lock takes the kernel's lock on a file of the folder. Each taking has a Flock
// of its own: one object would find that it already holds the lock.
func (f *File) lock(ctx context.Context, root *os.Root, name string) (*flock.Flock, error) {
	if err := regular(root, name); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(root.Name(), name), flock.SetPermissions(0o600))
	_, err := lock.TryLockContext(ctx, lockPolling)
	if err != nil {
		_ = lock.Close()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("storage: file: lock %s: %w", name, err)
	}
	// The lock was opened by its path. Only the file that this folder shows
	// under the name excludes the others.
	there, err := root.Lstat(name)
	if err == nil {
		err = sameAs(lock, there)
	}
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("storage: file: lock %s: %w", name, err)
	}
	return lock, nil
}

// sameAs fails if a held lock is on another file than the one that others find:
// they would lock that one and exclude nobody.
func sameAs(lock *flock.Flock, there fs.FileInfo) error {
	held, err := lock.Stat()
	if err == nil && !os.SameFile(held, there) {
		err = errors.New("the file was replaced")
	}
	return err
}

// Acquire implements [Leaser]. ttl is not used: see [File].
func (f *File) Acquire(ctx context.Context, key string, _ time.Duration) (Lease, error) {
	var lease *fileLease
	err := f.within(ctx, key, func(root *os.Root) error {
		lock, err := f.lock(ctx, root, fileName(key)+".lease")
		lease = &fileLease{lock: lock}
		return err
	})
	if err != nil {
		return nil, err
	}
	return lease, nil
}

// A fileLease is a lock on a file that none of us moves or deletes.
type fileLease struct {
	mu       sync.Mutex
	lock     *flock.Flock
	released bool
}

// Extend fails once the lease is released, and if the lock file was removed or
// replaced. Otherwise the kernel keeps the lock for as long as its holder lives.
func (l *fileLease) Extend(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return errReleased
	}
	there, err := os.Lstat(l.lock.Path())
	if err == nil {
		err = sameAs(l.lock, there)
	}
	if err != nil {
		return fmt.Errorf("storage: file: the lease is lost: %w", err)
	}
	return nil
}

func (l *fileLease) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.released {
		l.released = true
		_ = l.lock.Close()
	}
}

// Lasting says that the lease cannot lapse while its holder lives.
func (l *fileLease) Lasting() bool { return true }
