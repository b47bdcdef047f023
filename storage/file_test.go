//go:build !windows

package storage

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	f := NewFile(dir)
	if _, err := f.Save(t.Context(), "k", []byte("x"), ""); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "s-k.json"): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: want the record and the lock", entries, err)
	}
}

func TestFolderThatOthersMayWriteIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFile(dir).Load(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Fatalf("Load = %v, want a refusal that says what to do", err)
	}
}

// Anything but a file of ours is refused, at once, and left as it is.
func TestPlantedFilesAreRefused(t *testing.T) {
	for _, name := range []string{"s-k.json", "s-k.lease", writeLock} {
		for kind, plant := range map[string]func(path string) error{
			"link": func(path string) error { return os.Symlink("/etc/hostname", path) },
			"FIFO": func(path string) error { return syscall.Mkfifo(path, 0o600) },
			"dir":  func(path string) error { return os.Mkdir(path, 0o700) },
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.Chmod(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := plant(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				f := NewFile(dir)
				_, saved := f.Save(t.Context(), "k", []byte("x"), "")
				lease, leased := f.Acquire(t.Context(), "k", 0)
				if leased == nil {
					lease.Release()
				}
				if saved == nil && leased == nil {
					t.Fatal("neither Save nor Acquire refused it")
				}
			})
		}
	}
}

func TestLeftoversOfAKillAreReplaced(t *testing.T) {
	dir := t.TempDir()
	f := NewFile(filepath.Join(dir, "s"))
	v, err := f.Save(t.Context(), "k", []byte("one"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "s", tempName)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(t.Context(), "k", []byte("two"), v); err != nil {
		t.Fatal(err)
	}
	item, err := f.Load(t.Context(), "k")
	if err != nil || string(item.Data) != "two" {
		t.Fatalf("Load = %q, %v", item.Data, err)
	}
}

// A damaged file is handed out whole and can be replaced by compare-and-swap.
func TestDamagedHeader(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	f := NewFile(dir)
	if _, err := f.Save(t.Context(), "k", []byte("x"), ""); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s-k.json")
	for _, raw := range []string{"", "garbage", "evertoken-file/1 12\nx"} {
		if err := os.WriteFile(path, []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		item, err := f.Load(t.Context(), "k")
		if err != nil || string(item.Data) != raw || item.Version == "" {
			t.Fatalf("%q: Load = %q at %q, %v", raw, item.Data, item.Version, err)
		}
		if _, err := f.Save(t.Context(), "k", []byte("mended"), item.Version); err != nil {
			t.Fatalf("%q: Save: %v", raw, err)
		}
	}
	newer := "evertoken-file/2 00112233445566778899aabbccddeeff\nx"
	if err := os.WriteFile(path, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(t.Context(), "k"); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "layout 2") {
		t.Fatalf("Load = %v, want both layouts named", err)
	}
	if _, err := f.Save(t.Context(), "k", []byte("x"), "1"); err == nil {
		t.Fatal("a newer release's file was overwritten")
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("evertoken-file/1 00112233445566778899aabbccddeeff\n{}"))
	f.Add([]byte("evertoken-file/9 x\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		item, err := parseFile("name", raw)
		if err == nil && (item.Version == "" || !bytes.HasSuffix(raw, item.Data)) {
			t.Fatalf("parseFile = %q at %q", item.Data, item.Version)
		}
	})
}
