package keyringstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring"
)

// fake is a keyring in memory, which can be made to hang and to fail.
type fake struct {
	mu    sync.Mutex
	kept  map[string]string
	gate  chan struct{} // nil: open; else each call waits until it is closed
	fails error
	calls int
	loses bool // Set does nothing, as when the user dismisses its prompt
}

func (f *fake) enter() error {
	f.mu.Lock()
	gate := f.gate
	f.calls++
	f.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return f.fails
}

func (f *fake) Get(service, name string) (string, error) {
	if err := f.enter(); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	text, ok := f.kept[service+"/"+name]
	if !ok {
		return "", keyring.ErrNotFound
	}
	return text, nil
}

func (f *fake) Set(service, name, text string) error {
	if err := f.enter(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.loses {
		f.kept[service+"/"+name] = text
	}
	return nil
}

func fakeRing(t *testing.T, f *fake, opts Options) *Keyring {
	t.Helper()
	opts.Service = "app"
	if opts.LockDir == "" {
		opts.LockDir = t.TempDir() + "/locks"
	}
	k, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if f.kept == nil {
		f.kept = make(map[string]string)
	}
	k.backend = f
	return k
}

func TestKeyIsMadeOnce(t *testing.T) {
	f := &fake{}
	k := fakeRing(t, f, Options{})
	if _, err := k.Key(t.Context(), "a"); !errors.Is(err, ErrNoKey) || errors.Is(err, ErrLocked) || errors.Is(err, ErrNoKeyring) {
		t.Errorf("Key = %v, want ErrNoKey", err)
	}
	made, err := k.KeyOrNew(t.Context(), "a")
	if err != nil || len(made) != 32 {
		t.Fatalf("KeyOrNew = %d bytes, %v", len(made), err)
	}
	again, err := fakeRing(t, f, Options{}).KeyOrNew(t.Context(), "a")
	if err != nil || !bytes.Equal(made, again) {
		t.Errorf("a second KeyOrNew made another key, %v", err)
	}
	other, err := k.KeyOrNew(t.Context(), "b")
	if err != nil || bytes.Equal(made, other) {
		t.Errorf("two names have one key, %v", err)
	}
}

func TestWhatIsNoKey(t *testing.T) {
	for _, text := range []string{"", "a password", base64.StdEncoding.EncodeToString(make([]byte, 16))} {
		f := &fake{kept: map[string]string{"app/a": text}}
		k := fakeRing(t, f, Options{})
		_, err := k.KeyOrNew(t.Context(), "a")
		if err == nil || !strings.Contains(err.Error(), `"a" is no key`) || strings.Contains(err.Error(), "password") {
			t.Errorf("KeyOrNew = %v, want the entry named and not quoted", err)
		}
		if f.kept["app/a"] != text {
			t.Error("the entry was changed")
		}
	}
}

func TestSetThatKeepsNothing(t *testing.T) {
	k := fakeRing(t, &fake{loses: true}, Options{})
	if key, err := k.KeyOrNew(t.Context(), "a"); !errors.Is(err, ErrNoKey) || key != nil {
		t.Errorf("KeyOrNew = %d bytes, %v; want ErrNoKey: nothing was kept", len(key), err)
	}
}

// A keyring that hangs costs each caller the timeout, and the process one
// goroutine. When it answers again it is used again.
func TestKeyringThatHangs(t *testing.T) {
	locks := t.TempDir() + "/locks"
	synctest.Test(t, func(t *testing.T) {
		f := &fake{gate: make(chan struct{})}
		k := fakeRing(t, f, Options{LockDir: locks, Timeout: 3 * time.Second})
		for range 5 {
			began := time.Now()
			_, err := k.Key(t.Context(), "a")
			if waited := time.Since(began); !errors.Is(err, ErrLocked) || waited != 3*time.Second {
				t.Errorf("Key = %v after %v, want ErrLocked after 3 s", err, waited)
			}
		}
		f.mu.Lock()
		calls := f.calls
		f.mu.Unlock()
		if calls != 1 {
			t.Errorf("%d calls are waiting, want 1", calls)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Key(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrLocked) {
			t.Errorf("Key = %v, want the context's end", err)
		}
		close(f.gate)
		synctest.Wait()
		if _, err := k.Key(t.Context(), "a"); !errors.Is(err, ErrNoKey) {
			t.Errorf("Key once the keyring answers = %v, want ErrNoKey", err)
		}
	})
}

// A key whose making was given up lands, if at all, before anybody makes another.
func TestKeyThatLandsLate(t *testing.T) {
	f := &fake{}
	locks := t.TempDir() + "/locks"
	slow := fakeRing(t, f, Options{LockDir: locks, Timeout: 50 * time.Millisecond})
	if _, err := slow.Key(t.Context(), "a"); !errors.Is(err, ErrNoKey) {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	f.gate = gate
	_, err := slow.ask(t.Context(), "a", func(ctx context.Context) (string, error) { return slow.create(ctx, "a") })
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("a creation that hangs = %v", err)
	}
	f.mu.Lock()
	f.gate = nil
	f.mu.Unlock()
	got := make(chan []byte)
	go func() {
		key, err := fakeRing(t, f, Options{LockDir: locks}).KeyOrNew(t.Context(), "a")
		if err != nil {
			t.Errorf("KeyOrNew: %v", err)
		}
		got <- key
	}()
	close(gate)
	first := <-got
	slow.turn <- struct{}{} // the goroutine has ended
	<-slow.turn
	if now, err := slow.Key(t.Context(), "a"); err != nil || !bytes.Equal(now, first) {
		t.Errorf("the key that was handed out is not the one that is kept, %v", err)
	}
}

func TestKindsOfFailure(t *testing.T) {
	const fail = "KEYRINGSTORE_TEST_EXIT"
	if os.Getenv(fail) != "" {
		os.Exit(36) // as macOS's security tool does when it may not ask the user
	}
	t.Setenv(fail, "1")
	exit36 := exec.Command(os.Args[0], "-test.run", "^TestKindsOfFailure$").Run()
	kinds := []error{ErrNoKeyring, ErrLocked, ErrNoKey}
	for _, tt := range []struct {
		err  error
		want error
	}{
		{keyring.ErrNotFound, ErrNoKey},
		{keyring.ErrUnsupportedPlatform, ErrNoKeyring},
		{&exec.Error{Name: "dbus-launch", Err: exec.ErrNotFound}, ErrNoKeyring},
		{dbus.ErrClosed, ErrNoKeyring},
		{dbus.Error{Name: "org.freedesktop.DBus.Error.ServiceUnknown"}, ErrNoKeyring},
		{dbus.Error{Name: "org.freedesktop.DBus.Error.Spawn.ChildExited"}, ErrNoKeyring},
		{dbus.Error{Name: "org.freedesktop.Secret.Error.IsLocked"}, ErrLocked},
		{errors.New("failed to unlock correct collection '/x'"), ErrLocked},
		{exit36, ErrLocked},
		{errors.New("something else"), nil},
		{keyring.ErrSetDataTooBig, nil},
	} {
		_, err := fakeRing(t, &fake{fails: tt.err}, Options{}).Key(t.Context(), "a")
		for _, kind := range kinds {
			if errors.Is(err, kind) != errors.Is(tt.want, kind) {
				t.Errorf("%v: Key = %v, want %v", tt.err, err, tt.want)
			}
		}
		if err == nil || !strings.HasPrefix(err.Error(), "keyringstore: ") {
			t.Errorf("%v: Key = %v", tt.err, err)
		}
	}
}

// panicking is go-keyring when the bus ends while it waits for a prompt.
type panicking struct{ *fake }

func (panicking) Get(string, string) (string, error) {
	var signal *dbus.Signal
	return signal.Name, nil
}

func TestPanicIsAnError(t *testing.T) {
	k := fakeRing(t, &fake{}, Options{})
	k.backend = panicking{}
	for range 2 {
		if _, err := k.Key(t.Context(), "a"); !errors.Is(err, ErrNoKeyring) {
			t.Errorf("Key = %v, want ErrNoKeyring", err)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for says, opts := range map[string]Options{
		"Service is empty":    {},
		"Timeout is negative": {Service: "app", Timeout: -1},
	} {
		if _, err := New(opts); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("New = %v, want %q", err, says)
		}
	}
	if _, err := fakeRing(t, &fake{}, Options{}).KeyOrNew(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "name of the key is empty") {
		t.Errorf("KeyOrNew = %v, want the argument named", err)
	}
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("LocalAppData", "")
	if _, err := New(Options{Service: "app"}); err == nil || !strings.Contains(err.Error(), "LockDir is empty") {
		t.Errorf("New = %v, want the field named", err)
	}
}
