package storage

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		err := Poll(t.Context(), func(context.Context) (bool, error) {
			tries++
			return time.Since(began) >= time.Minute, nil
		})
		if waited := time.Since(began); err != nil || waited < time.Minute || waited > time.Minute+lastPoll {
			t.Errorf("Poll = %v after %v, want nil soon after a minute", err, waited)
		}
		if tries < 300 || tries > 610 {
			t.Errorf("%d tries in a minute, want them 100 to 200 ms apart", tries)
		}
	})
}

func TestPollEndsWithAnError(t *testing.T) {
	broken := errors.New("broken")
	if err := Poll(t.Context(), func(context.Context) (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("Poll = %v, want the error of the try", err)
	}
}

func TestPollEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := Poll(ctx, func(context.Context) (bool, error) { return false, nil })
		if waited := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || waited != time.Second {
			t.Errorf("Poll = %v after %v, want DeadlineExceeded after 1 s", err, waited)
		}
	})
}
