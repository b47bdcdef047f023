package storetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/evertoken/evertoken/storage"
)

// flaky is a server that can be killed. What it does with the saves that it
// acknowledged since it was started is its fault, or none.
type flaky struct {
	fault string
	dead  atomic.Bool

	mu   sync.Mutex
	disk *storage.Memory
	last map[string]storage.Item // what was in place before the last save
}

var errDead = errors.New("connection refused")

func (f *flaky) Load(ctx context.Context, key string) (storage.Item, error) {
	if f.dead.Load() {
		return storage.Item{}, errDead
	}
	return f.disk.Load(ctx, key)
}

func (f *flaky) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	if f.dead.Load() {
		return "", f.refusal()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	item, err := f.disk.Load(ctx, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	v, err := f.disk.Save(ctx, key, data, prev)
	if err == nil {
		f.last[key] = item
	}
	if f.dead.Load() {
		return "", f.refusal() // it was done, and nobody hears of it
	}
	return v, err
}

func (f *flaky) refusal() error {
	if f.fault == "conflict" {
		return storage.ErrConflict
	}
	return errDead
}

func (f *flaky) Delete(context.Context, string, storage.Version) error { return errDead }

// start puts back what the last save of each record had replaced, if that is
// its fault.
func (f *flaky) start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, item := range f.last {
		now, err := f.disk.Load(context.Background(), key)
		if err == nil && f.fault == "forgets" {
			_, err = f.disk.Save(context.Background(), key, item.Data, now.Version)
		}
		if err != nil {
			return err
		}
	}
	f.dead.Store(false)
	return nil
}

func TestServersThatForgetAreCaught(t *testing.T) {
	for fault, says := range map[string]string{
		"":         "",
		"forgets":  "it had acknowledged",
		"conflict": "Save beside a kill",
	} {
		t.Run(fault, func(t *testing.T) {
			f := &flaky{fault: fault, disk: storage.NewMemory(), last: map[string]storage.Item{}}
			r := &recorder{ctx: t.Context()}
			done := make(chan struct{})
			go func() {
				defer close(done)
				outage(r, Server{
					Open:  func() (storage.Store, error) { return f, nil },
					Kill:  func() { f.dead.Store(true) },
					Start: f.start,
				})
			}()
			<-done
			if all := strings.Join(r.failed, "; "); !strings.Contains(all, says) || (all == "") != (says == "") {
				t.Errorf("the check said %q, want %q", all, says)
			}
		})
	}
}
