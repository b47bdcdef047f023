package keyringstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring"
)

// A backend is what a keyring can do; neither call can be cancelled.
type backend interface {
	Get(service, name string) (string, error)
	Set(service, name, text string) error
}

// system is the keyring of the operating system.
type system struct{}

func (system) Get(service, name string) (string, error) { return keyring.Get(service, name) }
func (system) Set(service, name, text string) error     { return keyring.Set(service, name, text) }

// ask takes one step with the keyring, for at most the timeout. The goroutine is
// the one that the Keyring owns: it has the turn until its step returns, whoever
// still waits for it.
func (k *Keyring) ask(ctx context.Context, name string, step func(context.Context) (string, error)) ([]byte, error) {
	if name == "" {
		return nil, errors.New("keyringstore: the name of the key is empty")
	}
	patience, cancel := context.WithTimeout(ctx, k.opts.Timeout)
	defer cancel()
	select {
	case k.turn <- struct{}{}:
	case <-patience.Done():
		return nil, k.late(ctx)
	}
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		defer func() { <-k.turn }()
		text, err := survive(patience, step)
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil && patience.Err() != nil {
			return nil, k.late(ctx)
		}
		if err := classify(a.err); err != nil {
			return nil, err
		}
		return parse(name, a.text)
	case <-patience.Done():
		return nil, k.late(ctx)
	}
}

// late says why a step is not waited for any more.
func (k *Keyring) late(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("keyringstore: %w", err)
	}
	return fmt.Errorf("%w: it did not answer in %v", ErrLocked, k.opts.Timeout)
}

// survive takes a step and makes an error of a panic: go-keyring panics when the
// session's bus goes away while it waits for the user.
func survive(ctx context.Context, step func(context.Context) (string, error)) (text string, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: its connection has ended", ErrNoKeyring)
		}
	}()
	return step(ctx)
}

// classify tells apart what has no type of its own: each system's keyring has its
// own errors.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrNotFound):
		return ErrNoKey
	case errors.Is(err, ErrNoKeyring):
		return err
	case locked(err):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case absent(err):
		return fmt.Errorf("%w: %w", ErrNoKeyring, err)
	}
	return fmt.Errorf("keyringstore: %w", err)
}

// locked knows the Secret Service's error, go-keyring's for a prompt that was
// dismissed, and the status of macOS's security tool for errSecInteractionNotAllowed
// (-25308).
func locked(err error) bool {
	var exit *exec.ExitError
	return busError(err, "org.freedesktop.Secret.Error.IsLocked") ||
		strings.Contains(err.Error(), "failed to unlock correct collection") ||
		errors.As(err, &exit) && exit.ExitCode() == -25308&0xff
}

// absent knows a system without a keyring, a login without a bus, a bus without a
// keyring, and one whose keyring does not start.
func absent(err error) bool {
	var noProgram *exec.Error
	return errors.Is(err, keyring.ErrUnsupportedPlatform) || errors.As(err, &noProgram) || unreachable(err) ||
		busError(err, "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.Spawn.")
}

// unreachable says that there is no session bus, or that it has ended.
func unreachable(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) || errors.Is(err, dbus.ErrClosed) || strings.HasPrefix(err.Error(), "dbus: ")
}

// busError says that an error is one of D-Bus whose name begins so.
func busError(err error, names ...string) bool {
	var failed dbus.Error
	if !errors.As(err, &failed) {
		return false
	}
	for _, name := range names {
		if strings.HasPrefix(failed.Name, name) {
			return true
		}
	}
	return false
}
