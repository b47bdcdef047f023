package otelevertoken_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/otelevertoken"
	"github.com/evertoken/evertoken/storage"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	secretAccess   = "access-token-that-is-secret"
	secretRefresh  = "refresh-token-that-is-secret"
	secretPassword = "password-that-is-secret"
)

// A world is one observed client in a bubble, and all that was told of it.
type world struct {
	t       *testing.T
	clock   *clock.Mock
	spans   *tracetest.InMemoryExporter
	traces  *trace.TracerProvider
	reader  *metric.ManualReader
	cfg     evertoken.Config
	client  *evertoken.Client
	release func()

	mu      sync.Mutex
	answers []func(context.Context, evertoken.Token) (evertoken.Token, error)
	events  int
}

// mint is a token of an hour.
func (w *world) mint() evertoken.Token {
	return evertoken.Token{AccessToken: secretAccess, RefreshToken: secretRefresh, Expiry: w.clock.Now().Add(time.Hour)}
}

// Refresh takes two seconds, and answers what was ordered.
func (w *world) Refresh(ctx context.Context, t evertoken.Token) (evertoken.Token, error) {
	<-w.clock.Timer(2 * time.Second).C
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.answers) == 0 {
		return w.mint(), nil
	}
	answer := w.answers[0]
	w.answers = w.answers[1:]
	return answer(ctx, t)
}

func (w *world) Origins() []string { return []string{"https://api.example.com"} }

func inWorld(t *testing.T, change func(*world), f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, clock: clock.NewMock(), spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
		w.clock.Set(epoch)
		w.cfg = evertoken.Config{Issuer: w, Clock: w.clock, Logger: slog.New(slog.DiscardHandler), OnEvent: func(evertoken.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events++
		}}
		if change != nil {
			change(w)
		}
		w.traces = trace.NewTracerProvider(trace.WithSyncer(w.spans))
		ctx, starting := trace.NewTracerProvider().Tracer("test").Start(t.Context(), "start of the program") // exported nowhere
		release, err := otelevertoken.Instrument(&w.cfg, otelevertoken.Options{
			TracerProvider: w.traces, MeterProvider: metric.NewMeterProvider(metric.WithReader(w.reader)),
			Attributes: []attribute.KeyValue{attribute.String("client", "one")},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.release = release
		if w.client, err = evertoken.New(ctx, w.cfg); err != nil {
			t.Fatal(err)
		}
		starting.End()
		defer w.close()
		f(t, w)
	})
}

// close gives an exchange that is under way the time it takes.
func (w *world) close() {
	closed := make(chan error, 1)
	go func() { closed <- w.client.Close() }()
	w.pass(2 * time.Second)
	if err := <-closed; err != nil {
		w.t.Errorf("Close: %v", err)
	}
}

// pass lets time go by, from timer to timer. At round instants, where timers meet, it
// waits until all is done.
func (w *world) pass(d time.Duration) {
	synctest.Wait()
	for end := w.clock.Now().Add(d); w.clock.Now().Before(end); synctest.Wait() {
		w.clock.Add(min(end.Sub(w.clock.Now()), time.Second))
	}
}

// refresh renews with the given answer, and waits for it.
func (w *world) refresh(answers ...func(context.Context, evertoken.Token) (evertoken.Token, error)) error {
	w.mu.Lock()
	w.answers = answers
	w.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- w.client.Refresh(w.t.Context()) }()
	w.pass(10 * time.Second)
	return <-done
}

func (w *world) signIn() {
	w.t.Helper()
	if err := w.client.SignIn(w.t.Context(), w.mint()); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// metric returns the points of an instrument, as text.
func (w *world) metric(name string) []string {
	w.t.Helper()
	var all metricdata.ResourceMetrics
	if err := w.reader.Collect(w.t.Context(), &all); err != nil {
		w.t.Fatal(err)
	}
	var points []string
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name == name {
				points = append(points, pointsOf(m.Data, m.Unit)...)
			}
		}
	}
	slices.Sort(points)
	return points
}

func pointsOf(data metricdata.Aggregation, unit string) (all []string) {
	switch data := data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			all = append(all, fmt.Sprintf("%s: %d %s", named(p.Attributes), p.Value, unit))
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			all = append(all, fmt.Sprintf("%s: %v %s", named(p.Attributes), p.Value, unit))
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			all = append(all, fmt.Sprintf("%s: %d in %v %s", named(p.Attributes), p.Count, p.Sum, unit))
		}
	}
	return all
}

func named(set attribute.Set) string { return set.Encoded(attribute.DefaultEncoder()) }

func fails(err error) func(context.Context, evertoken.Token) (evertoken.Token, error) {
	return func(context.Context, evertoken.Token) (evertoken.Token, error) { return evertoken.Token{}, err }
}

// Each exchange is a trace of its own with the facts of it.
func TestSpans(t *testing.T) {
	leak := fmt.Errorf("sent %s, got %s", secretRefresh, secretAccess)
	for _, tt := range []struct {
		name   string
		answer func(context.Context, evertoken.Token) (evertoken.Token, error)
		want   string
		status int64
	}{
		{"a new token", nil, "success", 0},
		{"an issuer that is down", fails(&evertoken.RefreshError{Outcome: evertoken.Unavailable, StatusCode: 503, Description: secretAccess}), "unavailable", 503},
		{"no route", fails(&evertoken.RefreshError{Outcome: evertoken.NotSent, Err: leak}), "not sent", 0},
		{"a verdict", fails(fmt.Errorf("wrapped: %w", &evertoken.RefreshError{Outcome: evertoken.Rejected, StatusCode: 400, Err: leak})), "rejected", 400},
		{"a client that is wrong", fails(&evertoken.RefreshError{Outcome: evertoken.Misconfigured}), "misconfigured", 0},
		{"any other error", fails(leak), "ambiguous", 0},
		{"an answer without a token", fails(nil), "ambiguous", 0},
	} {
		inWorld(t, nil, func(t *testing.T, w *world) {
			w.signIn()
			answers := []func(context.Context, evertoken.Token) (evertoken.Token, error){tt.answer}
			if tt.answer == nil {
				answers = nil
			}
			err := w.refresh(answers...)
			span := w.spans.GetSpans()[0]
			if (err == nil) != (tt.want == "success") && tt.want != "ambiguous" { // which is repeated at once
				t.Errorf("%s: Refresh = %v", tt.name, err)
			}
			if span.Name != "evertoken.refresh" || span.Parent.IsValid() || span.SpanKind.String() != "client" || span.EndTime.Sub(span.StartTime) != 2*time.Second {
				t.Errorf("%s: %+v", tt.name, span)
			}
			want := map[attribute.Key]attribute.Value{
				"evertoken.reason": attribute.StringValue("asked"), "evertoken.attempt": attribute.IntValue(1), "evertoken.outcome": attribute.StringValue(tt.want), "client": attribute.StringValue("one"),
			}
			if tt.want != "success" {
				want["error.type"] = attribute.StringValue(tt.want)
			}
			if tt.status != 0 {
				want["http.response.status_code"] = attribute.Int64Value(tt.status)
			}
			wantAttributes(t, tt.name, span, want)
			wantNoSecret(t, w)
		})
	}
}

func wantAttributes(t *testing.T, name string, span tracetest.SpanStub, want map[attribute.Key]attribute.Value) {
	t.Helper()
	if len(span.Attributes) != len(want) {
		t.Errorf("%s: %v, want %v", name, span.Attributes, want)
	}
	for _, a := range span.Attributes {
		if want[a.Key] != a.Value {
			t.Errorf("%s: %s is %v, want %v", name, a.Key, a.Value.String(), want[a.Key])
		}
	}
	if _, failed := want["error.type"]; (span.Status.Code == codes.Error) != failed {
		t.Errorf("%s: status %v", name, span.Status)
	}
}

func wantNoSecret(t *testing.T, w *world) {
	t.Helper()
	told := fmt.Sprintf("%+v", w.spans.GetSpans())
	for _, name := range []string{"refresh.count", "refresh.duration", "token.remaining", "store.duration", "lock.wait"} {
		told += strings.Join(w.metric("evertoken."+name), "\n")
	}
	for _, secret := range []string{secretAccess, secretRefresh, secretPassword} {
		if strings.Contains(told, secret) {
			t.Errorf("%s is in %s", secret, told)
		}
	}
}

func TestRefreshMetrics(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.signIn()
		for range 2 {
			if err := w.refresh(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.refresh(fails(&evertoken.RefreshError{Outcome: evertoken.Unavailable})); err == nil {
			t.Fatal("it renewed")
		}
		w.pass(56 * time.Minute) // until it is due
		attributes := "client=one,evertoken.outcome=%s,evertoken.reason=%s: %s"
		wantPoints(t, w, "evertoken.refresh.count",
			fmt.Sprintf(attributes, "success", "asked", "2 {refresh}"), fmt.Sprintf(attributes, "success", "due", "1 {refresh}"), fmt.Sprintf(attributes, "unavailable", "asked", "1 {refresh}"))
		wantPoints(t, w, "evertoken.refresh.duration",
			fmt.Sprintf(attributes, "success", "asked", "2 in 4 s"), fmt.Sprintf(attributes, "success", "due", "1 in 2 s"), fmt.Sprintf(attributes, "unavailable", "asked", "1 in 2 s"))
	})
}

func wantPoints(t *testing.T, w *world, name string, want ...string) {
	t.Helper()
	if got := w.metric(name); !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The remaining life goes down by itself, below zero, until there is no token or
// nobody is asked any more.
func TestRemaining(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		wantPoints(t, w, "evertoken.token.remaining")
		w.signIn()
		wantPoints(t, w, "evertoken.token.remaining", "client=one: 3600 s")
		w.clock.Set(epoch.Add(10 * time.Minute))
		wantPoints(t, w, "evertoken.token.remaining", "client=one: 3000 s")
		w.mu.Lock()
		for range 200 {
			w.answers = append(w.answers, fails(&evertoken.RefreshError{Outcome: evertoken.Unavailable}))
		}
		w.mu.Unlock()
		w.pass(51 * time.Minute)
		wantPoints(t, w, "evertoken.token.remaining", "client=one: -60 s")
		if err := w.client.SignOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantPoints(t, w, "evertoken.token.remaining")
		w.signIn()
		w.release()
		wantPoints(t, w, "evertoken.token.remaining")
		if w.mu.Lock(); w.events < 3 {
			t.Errorf("the program's own OnEvent saw %d events", w.events)
		}
		w.mu.Unlock()
	})
}

// A slowStore takes a second for each step, and three for its lease.
type slowStore struct {
	storage.Store
	clock *clock.Mock
	err   error
}

func (s *slowStore) wait(d time.Duration) { <-s.clock.Timer(d).C }

func (s *slowStore) Save(ctx context.Context, key string, data []byte, prev storage.Version) (storage.Version, error) {
	s.wait(time.Second)
	if s.err != nil {
		return "", s.err
	}
	return s.Store.Save(ctx, key, data, prev)
}

func (s *slowStore) Acquire(ctx context.Context, key string, ttl time.Duration) (storage.Lease, error) {
	s.wait(3 * time.Second)
	return s.Store.(storage.Leaser).Acquire(ctx, key, ttl)
}

func TestStoreMetrics(t *testing.T) {
	var slow *slowStore
	inWorld(t, func(w *world) {
		slow = &slowStore{Store: storage.NewMemory(), clock: w.clock}
		w.cfg.Store = slow
	}, func(t *testing.T, w *world) {
		signIn := func() error {
			done := make(chan error, 1)
			go func() { done <- w.client.SignIn(t.Context(), w.mint()) }()
			w.pass(time.Second)
			return <-done
		}
		if err := signIn(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- w.client.Refresh(t.Context()) }()
		w.pass(10 * time.Second)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		slow.err = errors.New("disk full of " + secretRefresh)
		if err := signIn(); err == nil {
			t.Fatal("it was saved")
		}
		wantPoints(t, w, "evertoken.lock.wait", "client=one: 1 in 3 s")
		got := w.metric("evertoken.store.duration")
		want := []string{
			"client=one,error.type=_OTHER,evertoken.store.operation=save: 1 in 1 s",
			"client=one,evertoken.store.operation=save: 3 in 3 s", // the session, the note, and the new pair
		}
		if len(got) != 3 || got[0] != want[0] || got[2] != want[1] || !strings.Contains(got[1], "operation=load") {
			t.Errorf("got %q", got)
		}
		wantNoSecret(t, w)
	})
}

// A sign-in by Login is an exchange as well. Its plain errors mean that it is down.
func TestLogin(t *testing.T) {
	logins := 0
	inWorld(t, func(w *world) {
		w.cfg.Login = func(context.Context) (evertoken.Token, error) {
			if logins++; logins == 1 {
				return evertoken.Token{}, errors.New("wrong " + secretPassword)
			}
			return w.mint(), nil
		}
	}, func(t *testing.T, w *world) {
		w.pass(3 * time.Minute)
		spans := w.spans.GetSpans()
		if len(spans) != 2 {
			t.Fatalf("%d spans", len(spans))
		}
		for i, outcome := range []string{"unavailable", "success"} {
			if spans[i].Name != "evertoken.login" || spans[i].Parent.IsValid() || !slices.Contains(spans[i].Attributes, attribute.String("evertoken.outcome", outcome)) ||
				!slices.Contains(spans[i].Attributes, attribute.String("evertoken.reason", "sign-in")) {
				t.Errorf("login %d: %s %v", i, spans[i].Name, spans[i].Attributes)
			}
		}
		wantNoSecret(t, w)
	})
}

// What Close stops before it is sent is no unexplained failure.
func TestClose(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		over := make(chan struct{})
		defer close(over) // a dial outlives the request that wanted it
		dialing := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			<-over
			return nil, net.ErrClosed
		}}
		w.signIn()
		w.mu.Lock()
		w.answers = append(w.answers, func(ctx context.Context, _ evertoken.Token) (evertoken.Token, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:1", nil)
			if err != nil {
				return evertoken.Token{}, err
			}
			_, err = dialing.RoundTrip(req)
			return evertoken.Token{}, err
		})
		w.mu.Unlock()
		go func() { _ = w.client.Refresh(t.Context()) }()
		w.pass(2 * time.Second)
		if err := w.client.Close(); err != nil {
			t.Fatal(err)
		}
		spans := w.spans.GetSpans()
		if len(spans) != 1 || !slices.Contains(spans[0].Attributes, attribute.String("evertoken.outcome", "not sent")) {
			t.Errorf("spans: %+v", spans)
		}
	})
}
