package otelevertoken_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/otelevertoken"
	"github.com/evertoken/evertoken/storage"
	"github.com/evertoken/evertoken/storage/storetest"
)

// A plain issuer has nothing but Refresh.
type plain struct{}

func (plain) Refresh(context.Context, evertoken.Token) (evertoken.Token, error) {
	return evertoken.Token{}, errors.New("not now")
}

// A full issuer has all optional methods.
type full struct {
	plain
	fault   error
	revoked int
	proved  int
}

func (f *full) Validate() error           { return f.fault }
func (f *full) Origins() []string         { return []string{"https://api.example.com"} }
func (f *full) ReuseGrace() time.Duration { return 30 * time.Second }

func (f *full) Revoke(_ context.Context, t evertoken.Token) error {
	f.revoked++
	return errors.New("cannot revoke")
}

func (f *full) Wrap(base http.RoundTripper, _ evertoken.TokenSource) http.RoundTripper {
	return proving{base, f}
}

// A proving transport is what an issuer may put in front of another.
type proving struct {
	base http.RoundTripper
	by   *full
}

func (p proving) RoundTrip(r *http.Request) (*http.Response, error) {
	p.by.proved++
	return p.base.RoundTrip(r)
}

func instrumented(t *testing.T, cfg evertoken.Config, o otelevertoken.Options) (evertoken.Config, *evertoken.Client, error) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	release, err := otelevertoken.Instrument(&cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	client, err := evertoken.New(t.Context(), cfg)
	if err == nil {
		t.Cleanup(func() { _ = client.Close() })
	}
	return cfg, client, err
}

// What is wrong with a Config is told as if it were not observed.
func TestFaultsAreStillTold(t *testing.T) {
	for _, tt := range []struct {
		cfg  evertoken.Config
		want string
	}{
		{evertoken.Config{}, "Issuer is missing"},
		{evertoken.Config{Issuer: plain{}}, "Origins is empty and the Issuer names none"},
		{evertoken.Config{Issuer: &full{fault: errors.New("BaseURL is missing")}}, "Issuer: BaseURL is missing"},
	} {
		if _, _, err := instrumented(t, tt.cfg, otelevertoken.Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New = %v, want %s", err, tt.want)
		}
	}
}

// The optional methods of an issuer do what they did.
func TestOptionalMethods(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	f := &full{}
	api := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})
	cfg, client, err := instrumented(t, evertoken.Config{Issuer: f, Base: api}, otelevertoken.Options{TracerProvider: trace.NewTracerProvider(trace.WithSyncer(spans))})
	if err != nil {
		t.Fatal(err)
	}
	if g := cfg.Issuer.(interface{ ReuseGrace() time.Duration }).ReuseGrace(); g != 30*time.Second {
		t.Errorf("ReuseGrace = %v", g)
	}
	ctx, request := trace.NewTracerProvider(trace.WithSyncer(spans)).Tracer("test").Start(t.Context(), "sign out")
	if err := client.SignIn(ctx, evertoken.Token{AccessToken: "a", RefreshToken: "r", TokenType: "Proven"}); err != nil {
		t.Fatal(err)
	}
	resp, err := client.HTTP().Get("https://api.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if f.proved != 1 {
		t.Errorf("Wrap was used for %d requests", f.proved)
	}
	if err := client.SignOut(ctx); err == nil || f.revoked != 1 {
		t.Errorf("SignOut = %v, revoked %d times", err, f.revoked)
	}
	revoke := spans.GetSpans()[0]
	if revoke.Name != "evertoken.revoke" || revoke.Parent.SpanID() != request.SpanContext().SpanID() {
		t.Errorf("%+v", revoke)
	}
}

// An issuer without them behaves as such.
func TestNoOptionalMethods(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	base := proving{http.DefaultTransport, &full{}}
	cfg, client, err := instrumented(t, evertoken.Config{Issuer: plain{}, Origins: []string{"https://api.example.com"}, Base: base},
		otelevertoken.Options{TracerProvider: trace.NewTracerProvider(trace.WithSyncer(spans))})
	if err != nil {
		t.Fatal(err)
	}
	if got := client.Transport().Base; got != http.RoundTripper(base) {
		t.Errorf("Base is %T", got)
	}
	if g := cfg.Issuer.(interface{ ReuseGrace() time.Duration }).ReuseGrace(); g != 0 {
		t.Errorf("ReuseGrace = %v", g)
	}
	if err := client.SignIn(t.Context(), evertoken.Token{AccessToken: "a", RefreshToken: "r"}); err != nil {
		t.Fatal(err)
	}
	if err := client.SignOut(t.Context()); err != nil || len(spans.GetSpans()) != 0 {
		t.Errorf("SignOut = %v, spans %v", err, spans.GetSpans())
	}
}

func wrapStore(t testing.TB, s storage.Store) storage.Store {
	t.Helper()
	cfg := evertoken.Config{Store: s}
	release, err := otelevertoken.Instrument(&cfg, otelevertoken.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return cfg.Store
}

// A store that is observed is a store, and has leases only if it had some.
func TestStores(t *testing.T) {
	var all sync.Map // of memory stores, by location
	storetest.Run(t, storetest.Backend{
		New: func(testing.TB) string {
			location := rand.Text()
			all.Store(location, storage.NewMemory())
			return location
		},
		Open: func(location string) (storage.Store, error) {
			inner, _ := all.Load(location)
			return wrapStore(t, inner.(storage.Store)), nil
		},
		InProcess: true,
	})
	if _, leases := wrapStore(t, struct{ storage.Store }{storage.NewMemory()}).(storage.Leaser); leases {
		t.Error("a store without leases has some")
	}
	cfg := evertoken.Config{}
	release, err := otelevertoken.Instrument(&cfg, otelevertoken.Options{})
	if err != nil || cfg.Store != nil || cfg.Issuer != nil || cfg.Login != nil {
		t.Errorf("%v: what was left out has been filled in: %+v", err, cfg)
	}
	release()
	lease, err := wrapStore(t, storage.NewFile(t.TempDir())).(storage.Leaser).Acquire(t.Context(), "k", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	if l, ok := lease.(interface{ Lasting() bool }); !ok || !l.Lasting() {
		t.Error("a lease of the kernel does not last any more")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
