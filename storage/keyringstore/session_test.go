//go:build linux

package keyringstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/evertoken/evertoken/internal/testserver"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/keyringstore"
)

// envRole says what this program is to do in a login that a test has made up.
const envRole = "KEYRINGSTORE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := roles[os.Getenv(envRole)]; role != nil {
		if err := role(); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var roles = map[string]func() error{
	"use":    func() error { return withKeyring(use) },
	"key":    func() error { return tell("sessions") },
	"absent": func() error { return want(keyringstore.ErrNoKeyring) },
	"locked": func() error { return withKeyring(locked) },
	"hang":   hang,
}

func ring(timeout time.Duration) (*keyringstore.Keyring, error) {
	return keyringstore.New(keyringstore.Options{Service: "evertoken-test", Timeout: timeout})
}

// use makes a key, seals a record with it, and lets processes that start together
// make another.
func use(*dbus.Conn) error {
	ctx := context.Background()
	k, err := ring(time.Minute)
	if err != nil {
		return err
	}
	if _, err := k.Key(ctx, "a"); !errors.Is(err, keyringstore.ErrNoKey) {
		return fmt.Errorf("Key of an empty keyring = %w", err)
	}
	made, err := k.KeyOrNew(ctx, "a")
	if err != nil {
		return err
	}
	again, err := k.Key(ctx, "a")
	if err != nil || !bytes.Equal(made, again) {
		return fmt.Errorf("the key has changed: %w", err)
	}
	inner := storage.NewMemory()
	if _, err := storage.Encrypt(inner, made).Save(ctx, "default", []byte("x"), ""); err != nil {
		return err
	}
	if _, err := storage.Encrypt(inner, again).Load(ctx, "default"); err != nil {
		return err
	}
	return together()
}

// together starts processes that make one key, and compares what they got.
func together() error {
	told := make(chan string)
	for range 4 {
		cmd, err := self("key")
		if err != nil {
			return err
		}
		go func() {
			out, err := cmd.CombinedOutput()
			told <- fmt.Sprintf("%s%v", out, err)
		}()
	}
	first := <-told
	for range 3 {
		if other := <-told; other != first || !strings.HasSuffix(other, "<nil>") {
			return fmt.Errorf("two processes have two keys: %s and %s", first, other)
		}
	}
	return nil
}

// tell makes a key, or gets it, and prints its digest.
func tell(name string) error {
	k, err := ring(time.Minute)
	if err != nil {
		return err
	}
	key, err := k.KeyOrNew(context.Background(), name)
	fmt.Printf("%x\n", sha256.Sum256(key))
	return err
}

// want fails unless both ways to a key fail so.
func want(kind error) error {
	k, err := ring(time.Minute)
	if err != nil {
		return err
	}
	if _, err := k.Key(context.Background(), "a"); !errors.Is(err, kind) {
		return fmt.Errorf("Key = %w, want %w", err, kind)
	}
	if _, err := k.KeyOrNew(context.Background(), "a"); !errors.Is(err, kind) {
		return fmt.Errorf("KeyOrNew = %w, want %w", err, kind)
	}
	return nil
}

// secrets is the name of the Secret Service on a bus.
const secrets = "org.freedesktop.secrets"

// withKeyring takes a step beside an unlocked keyring, which ends with it.
func withKeyring(step func(*dbus.Conn) error) error {
	conn, err := dbus.ConnectSessionBus()
	if err != nil {
		return err
	}
	if err := conn.AddMatchSignal(dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, secrets)); err != nil {
		return err
	}
	there := make(chan *dbus.Signal, 8)
	conn.Signal(there)
	cmd := exec.Command("gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets")
	cmd.Stdin = strings.NewReader("password")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	for signal := range there {
		if signal.Name == "org.freedesktop.DBus.NameOwnerChanged" {
			break // nobody else would take the name
		}
	}
	return step(conn)
}

// locked locks the keyring, and nobody is there to unlock it.
func locked(conn *dbus.Conn) error {
	login := []dbus.ObjectPath{"/org/freedesktop/secrets/collection/login"}
	if err := conn.Object(secrets, "/org/freedesktop/secrets").Call("org.freedesktop.Secret.Service.Lock", 0, login).Err; err != nil {
		return err
	}
	return want(keyringstore.ErrLocked)
}

// hang is a keyring that takes calls and never answers, and a caller of it.
func hang() error {
	conn, err := dbus.ConnectSessionBus()
	if err != nil {
		return err
	}
	conn.Eavesdrop(make(chan *dbus.Message, 100)) // where nobody reads them
	if err := conn.BusObject().Call("org.freedesktop.DBus.RequestName", dbus.FlagNoReplyExpected, secrets, uint32(0)).Err; err != nil {
		return err
	}
	k, err := ring(300 * time.Millisecond)
	if err != nil {
		return err
	}
	for range 3 {
		if _, err := k.Key(context.Background(), "a"); !errors.Is(err, keyringstore.ErrLocked) || !strings.Contains(err.Error(), "300ms") {
			return fmt.Errorf("Key of a keyring that hangs = %w", err)
		}
	}
	return nil
}

func self(role string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envRole+"="+role)
	return cmd, nil
}

// login plays a role in a login of its own: an empty home and a session bus,
// which end with the role.
func login(t *testing.T, role string, programs ...string) {
	t.Helper()
	for _, p := range append(programs, "dbus-run-session") {
		if _, err := exec.LookPath(p); err != nil {
			testserver.Missing(t, p, "apt-get install gnome-keyring dbus")
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "login-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dbus-run-session", "--config-file="+bus(t, home), "--", exe)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + home, "TMPDIR=" + home, envRole + "=" + role,
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// bus is the configuration of a session bus that starts no services: nothing
// answers on it but what the test has started, and nothing asks a user.
func bus(t *testing.T, home string) string {
	t.Helper()
	path := filepath.Join(home, "bus.conf")
	config := `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:dir=` + home + `</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnlockedKeyring(t *testing.T) { login(t, "use", "gnome-keyring-daemon") }

func TestLockedKeyring(t *testing.T) { login(t, "locked", "gnome-keyring-daemon") }

func TestKeyringThatDoesNotAnswer(t *testing.T) { login(t, "hang") }

func TestBusWithoutKeyring(t *testing.T) { login(t, "absent") }

func TestNoBus(t *testing.T) {
	cmd, err := self("absent")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd.Env = []string{"PATH=/nonexistent", "HOME=" + home, "XDG_RUNTIME_DIR=" + home, envRole + "=absent"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
