package otelevertoken_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/otelevertoken"
)

// A numbered issuer makes tokens 2, 3 and so on.
type numbered struct{ last int }

func (n *numbered) Refresh(context.Context, evertoken.Token) (evertoken.Token, error) {
	n.last++
	return evertoken.Token{AccessToken: fmt.Sprint("token-", n.last+1), RefreshToken: fmt.Sprint("refresh-", n.last+1)}, nil
}

// An API that does not take the first token any more.
func api() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-1" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
}

// An exchange is a span and a few metrics.
func Example() {
	server := api()
	defer server.Close()
	spans, reader := tracetest.NewInMemoryExporter(), metric.NewManualReader()
	cfg := evertoken.Config{Issuer: &numbered{}, Origins: []string{server.URL}}
	release, err := otelevertoken.Instrument(&cfg, otelevertoken.Options{
		TracerProvider: trace.NewTracerProvider(trace.WithSyncer(spans)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(reader)),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer release()
	get(cfg, server.URL, nil)

	for _, span := range spans.GetSpans() {
		fmt.Println(span.Name)
		for _, a := range span.Attributes {
			fmt.Printf("  %s = %s\n", a.Key, a.Value.String())
		}
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		log.Fatal(err)
	}
	for _, m := range all.ScopeMetrics[0].Metrics {
		fmt.Println(m.Name, m.Unit)
	}
	// Output:
	// evertoken.refresh
	//   evertoken.reason = 401
	//   evertoken.attempt = 1
	//   evertoken.outcome = success
	// evertoken.refresh.duration s
	// evertoken.refresh.count {refresh}
}

// get makes one request, through what wrap puts around the client's transport.
func get(cfg evertoken.Config, url string, wrap func(http.RoundTripper) http.RoundTripper) {
	ctx := context.Background()
	client, err := evertoken.New(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := client.SignIn(ctx, evertoken.Token{AccessToken: "token-1", RefreshToken: "refresh-1"}); err != nil {
		log.Fatal(err)
	}
	browser := client.HTTP()
	if wrap != nil {
		browser.Transport = wrap(browser.Transport)
	}
	resp, err := browser.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	_ = resp.Body.Close()
}

// With otelhttp around the client's transport a span is a request as the program
// sees it: a wait for a token, and the repetition after a 401, are a part of it.
func Example_otelhttpOutside() {
	server := api()
	defer server.Close()
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	cfg := evertoken.Config{Issuer: &numbered{}, Origins: []string{server.URL}}
	release, err := otelevertoken.Instrument(&cfg, otelevertoken.Options{TracerProvider: provider})
	if err != nil {
		log.Fatal(err)
	}
	defer release()
	get(cfg, server.URL, func(t http.RoundTripper) http.RoundTripper {
		return otelhttp.NewTransport(t, otelhttp.WithTracerProvider(provider))
	})
	show(spans)
	// Output:
	// HTTP GET 200
	// evertoken.refresh
}

// With otelhttp below it a span is a request as the network sees it.
func Example_otelhttpInside() {
	server := api()
	defer server.Close()
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	cfg := evertoken.Config{Issuer: &numbered{}, Origins: []string{server.URL}}
	cfg.Base = otelhttp.NewTransport(http.DefaultTransport, otelhttp.WithTracerProvider(provider))
	release, err := otelevertoken.Instrument(&cfg, otelevertoken.Options{TracerProvider: provider})
	if err != nil {
		log.Fatal(err)
	}
	defer release()
	get(cfg, server.URL, nil)
	show(spans)
	// Output:
	// HTTP GET 401
	// evertoken.refresh
	// HTTP GET 200
}

// show prints spans in the order in which they began.
func show(spans *tracetest.InMemoryExporter) {
	all := spans.GetSpans()
	slices.SortFunc(all, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	for _, span := range all {
		fmt.Print(span.Name)
		for _, a := range span.Attributes {
			if a.Key == "http.response.status_code" {
				fmt.Print(" ", a.Value.String())
			}
		}
		fmt.Println()
	}
}
