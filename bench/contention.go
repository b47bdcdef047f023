package main

import (
	"context"
	"net/http"
	"runtime"
	"strings"
)

// contention counts how often a goroutine of a crowd had to wait for a lock of
// the client's.
func contention(ctx context.Context, s signer, n int) (int64, error) {
	old := runtime.SetMutexProfileFraction(1)
	defer runtime.SetMutexProfileFraction(old)
	before := contended(s.frames)
	_, err := together(ctx, http.RoundTripper(s), n)
	return contended(s.frames) - before, err
}

// contended sums up the mutex profile of this process where a function whose name
// begins so is on the stack.
func contended(frames string) int64 {
	records := make([]runtime.BlockProfileRecord, 1024)
	n, ok := runtime.MutexProfile(records)
	for ; !ok; n, ok = runtime.MutexProfile(records) {
		records = make([]runtime.BlockProfileRecord, 2*n)
	}
	var sum int64
	for _, r := range records[:n] {
		if involves(r.Stack(), frames) {
			sum += r.Count
		}
	}
	return sum
}

// involves leaves out the runtime's own locks, which are the allocator's here:
// their stack ends in the runtime, that of a sync.Mutex in package sync.
func involves(stack []uintptr, prefix string) bool {
	frames := runtime.CallersFrames(stack)
	frame, more := frames.Next()
	if strings.HasPrefix(frame.Function, "runtime.") {
		return false
	}
	for ; more; frame, more = frames.Next() {
		if strings.HasPrefix(frame.Function, prefix) {
			return true
		}
	}
	return strings.HasPrefix(frame.Function, prefix)
}
