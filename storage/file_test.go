//go:build !windows

package storage

import (
	"bytes"
	"errors"
	"fmt"
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
				planted, err := os.Lstat(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				f := NewFile(dir)
				_, loaded := f.Load(t.Context(), "k")
				_, saved := f.Save(t.Context(), "k", []byte("x"), "")
				lease, leased := f.Acquire(t.Context(), "k", 0)
				if leased == nil {
					lease.Release()
				}
				refused := map[string]bool{
					"s-k.json":  !errors.Is(loaded, ErrNotFound) && saved != nil && leased == nil,
					"s-k.lease": saved == nil && leased != nil,
					writeLock:   saved != nil && leased == nil,
				}
				if !refused[name] {
					t.Errorf("Load: %v, Save: %v, Acquire: %v", loaded, saved, leased)
				}
				if now, err := os.Lstat(filepath.Join(dir, name)); err != nil || !os.SameFile(planted, now) {
					t.Errorf("what was planted is no longer there: %v", err)
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
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "s", tempName)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(t.Context(), "k", []byte("two"), v); err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(target); err != nil || string(kept) != "mine" {
		t.Errorf("the link's target now holds %q, %v", kept, err)
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
		says := fmt.Sprintf("file s-k.json of %d bytes has lost its first line: SignIn or Login replaces it", len(raw))
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), says) || string(item.Data) != raw || item.Version == "" {
			t.Fatalf("%q: Load = %q at %q, %v", raw, item.Data, item.Version, err)
		}
		if _, err := f.Save(t.Context(), "k", []byte("mended"), item.Version); err != nil {
			t.Fatalf("%q: Save: %v", raw, err)
		}
	}
}

// A newer release's file is neither read nor touched, whatever follows its number.
func TestNewerLayoutIsLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s-k.json")
	f := NewFile(dir)
	for layout, head := range map[string]string{"2": "00112233445566778899aabbccddeeff", "10": "another kind of version"} {
		raw := "evertoken-file/" + layout + " " + head + "\nx"
		if err := os.WriteFile(path, []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		_, loaded := f.Load(t.Context(), "k")
		_, saved := f.Save(t.Context(), "k", []byte("x"), "1")
		deleted := f.Delete(t.Context(), "k", "")
		for step, err := range map[string]error{"Load": loaded, "Save": saved, "Delete": deleted} {
			if err == nil || !strings.Contains(err.Error(), "layout "+layout+",") || !strings.Contains(err.Error(), "reads layout 1") {
				t.Errorf("%s = %v, want both layouts named", step, err)
			}
		}
		if kept, err := os.ReadFile(path); err != nil || string(kept) != raw {
			t.Errorf("the file now holds %q, %v", kept, err)
		}
	}
}

// saved returns a store with the record "one" under "k", its folder and version.
func saved(t *testing.T) (f *File, dir string, v Version) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "s")
	f = NewFile(dir)
	v, err := f.Save(t.Context(), "k", []byte("one"), "")
	if err != nil {
		t.Fatal(err)
	}
	return f, dir, v
}

// wantUntouched wants the record of saved and no temporary file.
func wantUntouched(t *testing.T, f *File, dir string, v Version) {
	t.Helper()
	item, err := f.Load(t.Context(), "k")
	if err != nil || string(item.Data) != "one" || item.Version != v {
		t.Errorf("Load = %q at %q, %v", item.Data, item.Version, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, tempName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}
}

// The limit on a file's size stands in for a full disk: a write ends half way.
func TestFullDisk(t *testing.T) {
	f, dir, v := saved(t)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	small := before
	small.Cur = 1024
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	_, full := f.Save(t.Context(), "k", make([]byte, 4096), v)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(full, syscall.EFBIG) {
		t.Errorf("Save = %v, want the system's error", full)
	}
	wantUntouched(t, f, dir, v)
	if _, err := f.Save(t.Context(), "k", make([]byte, 4096), v); err != nil {
		t.Errorf("Save once there is room: %v", err)
	}
}

// The superuser may write to any folder: then Save must succeed instead.
func TestReadOnlyFolder(t *testing.T) {
	f, dir, v := saved(t)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := f.Save(t.Context(), "k", []byte("one"), v)
	if os.Geteuid() == 0 {
		if err != nil {
			t.Errorf("Save = %v", err)
		}
		return
	}
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("Save = %v, want ErrPermission", err)
	}
	wantUntouched(t, f, dir, v)
}

// Something that cannot be removed holds the temporary name.
func TestNoTemporaryFile(t *testing.T) {
	f, dir, v := saved(t)
	temp := filepath.Join(dir, tempName)
	if err := os.MkdirAll(filepath.Join(temp, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(t.Context(), "k", []byte("two"), v); err == nil || errors.Is(err, ErrConflict) {
		t.Errorf("Save = %v, want an error of the folder", err)
	}
	if err := os.RemoveAll(temp); err != nil {
		t.Fatal(err)
	}
	wantUntouched(t, f, dir, v)
}

// Who locks a file that others no longer find excludes nobody, and must know.
func TestLostLockFileEndsTheLease(t *testing.T) {
	f, dir, _ := saved(t)
	for what, lose := range map[string]func(lock string) error{
		"removed":  os.Remove,
		"replaced": func(lock string) error { return errors.Join(os.Remove(lock), os.WriteFile(lock, nil, 0o600)) },
	} {
		lease, err := f.Acquire(t.Context(), "k", 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Extend(t.Context()); err != nil {
			t.Errorf("Extend of a sound lease: %v", err)
		}
		if err := lose(filepath.Join(dir, "s-k.lease")); err != nil {
			t.Fatal(err)
		}
		if err := lease.Extend(t.Context()); err == nil {
			t.Errorf("a lease whose lock file was %s was extended", what)
		}
		lease.Release()
	}
}

// A store that went on with a folder that was moved away would write where no
// other process looks.
func TestFolderMadeAnewIsUsedAnew(t *testing.T) {
	f, dir, v := saved(t)
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(t.Context(), "k", []byte("two"), v); !errors.Is(err, ErrConflict) {
		t.Errorf("Save over a record that is gone: %v, want ErrConflict", err)
	}
	v, err := f.Save(t.Context(), "k", []byte("new"), "")
	if err != nil {
		t.Fatal(err)
	}
	if item, err := NewFile(dir).Load(t.Context(), "k"); err != nil || item.Version != v {
		t.Errorf("another store loads %q at %q, %v", item.Data, item.Version, err)
	}
}

func TestRelativeFolderSurvivesChdir(t *testing.T) {
	t.Chdir(t.TempDir())
	f := NewFile("sessions")
	v, err := f.Save(t.Context(), "k", []byte("one"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if _, err := f.Save(t.Context(), "k", []byte("two"), v); err != nil {
		t.Errorf("Save from another folder: %v", err)
	}
}

func TestEmptyDirAndKey(t *testing.T) {
	if _, err := NewFile("").Load(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), "no folder") {
		t.Errorf("Load = %v, want the field named", err)
	}
	if _, err := NewFile(t.TempDir()).Save(t.Context(), "", nil, ""); !errors.Is(err, errNoKey) {
		t.Errorf("Save = %v, want the key named", err)
	}
}

// A file is ours to the last byte, or a newer release's, or handed out whole.
func FuzzParseFile(f *testing.F) {
	f.Add([]byte("evertoken-file/1 00112233445566778899aabbccddeeff\n{}"))
	f.Add([]byte("evertoken-file/9 x\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		item, err := parseFile("name", raw)
		switch {
		case errors.Is(err, ErrCorrupt):
			if !bytes.Equal(item.Data, raw) || !strings.HasPrefix(string(item.Version), "damaged-") {
				t.Fatalf("parseFile = %q at %q, want all of it", item.Data, item.Version)
			}
		case err != nil && !bytes.HasPrefix(raw, []byte(fileHeader)):
			t.Fatalf("parseFile = %v of a file that is not ours", err)
		case err == nil:
			whole := fileHeader + fileLayout + " " + string(item.Version) + "\n" + string(item.Data)
			if whole != string(raw) {
				t.Fatalf("parseFile = %q at %q", item.Data, item.Version)
			}
		}
	})
}
