package main

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/evertoken/evertoken"
)

// A summary is what the run comes down to.
type summary struct {
	Requests    int `json:"requests"`
	Refreshes   int `json:"refreshes"`
	Failed      int `json:"failed"`
	ExpiredSent int `json:"expired_sent"` // requests that a server refused for their token
	Waited      int `json:"waited_over_100ms"`
}

// A watch counts what requests meet. It stands below the client's transport,
// where a refused token still shows.
type watch struct {
	base http.RoundTripper

	mu  sync.Mutex
	sum summary
}

// RoundTrip implements http.RoundTripper.
func (w *watch) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.base.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		w.count(func(s *summary) { s.ExpiredSent++ })
	}
	return resp, err
}

func (w *watch) renewed(evertoken.Event) { w.count(func(s *summary) { s.Refreshes++ }) }

// visit makes one request. One that the end of the run cuts off does not count.
func (w *watch) visit(ctx context.Context, browser *http.Client, url string) {
	began := time.Now()
	err := get(ctx, browser, url)
	took := time.Since(began)
	if ctx.Err() != nil {
		return
	}
	w.count(func(s *summary) {
		s.Requests++
		if err != nil {
			s.Failed++
		}
		if took > 100*time.Millisecond {
			s.Waited++
		}
	})
}

func get(ctx context.Context, browser *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := browser.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &statusError{resp.Status}
	}
	return nil
}

type statusError struct{ status string }

func (e *statusError) Error() string { return "answered " + e.status }

func (w *watch) count(change func(*summary)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.sum)
}

func (w *watch) summary() summary {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sum
}
