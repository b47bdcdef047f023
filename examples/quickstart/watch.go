package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/identity"
)

// A summary is what the run comes down to.
type summary struct {
	Requests    int `json:"requests"`
	Refreshes   int `json:"refreshes"`
	Failed      int `json:"failed"`
	ExpiredSent int `json:"expired_sent"` // requests that a server refused for their token
	Waited      int `json:"waited_over_100ms"`

	took    time.Duration
	trouble error // what failed last, a request or a renewal
}

// verdict is nil if nobody noticed that tokens came and went. Each of its errors
// is enough for an exit status of 1.
func (s summary) verdict() error {
	var noticed []error
	if s.Failed > 0 {
		noticed = append(noticed, fmt.Errorf("%d requests failed", s.Failed))
	}
	if s.ExpiredSent > 0 {
		noticed = append(noticed, fmt.Errorf("%d requests had an expired token", s.ExpiredSent))
	}
	if s.Refreshes < 2 {
		noticed = append(noticed, fmt.Errorf("only %s: use -duration, or the server's -lifetime", refreshes(s.Refreshes, 0)))
	}
	if len(noticed) > 0 && s.trouble != nil {
		noticed = append(noticed, fmt.Errorf("last trouble: %w", s.trouble))
	}
	return errors.Join(noticed...)
}

// A watch counts what requests meet. It stands below the client's transport,
// where a refused token still shows. It is safe for concurrent use.
type watch struct {
	base   http.RoundTripper
	server *identity.Server // if it runs in this process: its count is the better one

	mu    sync.Mutex
	sum   summary
	began time.Time // of the first request
}

// RoundTrip implements http.RoundTripper.
func (w *watch) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.base.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		w.count(func(s *summary) { s.ExpiredSent++ })
	}
	return resp, err
}

// event is the client's callback.
func (w *watch) event(e evertoken.Event) {
	w.count(func(s *summary) {
		switch {
		case e.Kind == evertoken.Renewed:
			s.Refreshes++
		case e.Err != nil:
			s.trouble = e.Err
		}
	})
}

// visit makes one request. One that the end of the run cuts off does not count.
func (w *watch) visit(ctx context.Context, browser *http.Client, address string) {
	began := time.Now()
	err := get(ctx, browser, address)
	took := time.Since(began)
	if ctx.Err() != nil {
		return
	}
	w.count(func(s *summary) {
		if s.Requests == 0 {
			w.began = began
		}
		s.Requests++
		s.took = time.Since(w.began)
		if err != nil {
			s.Failed++
			s.trouble = err
		}
		if took > 100*time.Millisecond {
			s.Waited++
		}
	})
}

func get(ctx context.Context, browser *http.Client, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := browser.Do(req)
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		return failed.Err // it is known which URL this is about
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	return nil
}

func (w *watch) count(change func(*summary)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.sum)
}

func (w *watch) summary() summary {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sum
	if w.server != nil {
		s.ExpiredSent = max(s.ExpiredSent, w.server.Counts().ExpiredSent)
	}
	return s
}
