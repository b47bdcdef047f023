package ecosystem_test

import (
	"fmt"
	"log"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// Outside, otelhttp makes one span of what the program asked for: the 401 and
// the request that was sent again with a new token are both in it.
func Example_otelhttpOutside() {
	srv := newServer(http.NotFoundHandler())
	defer srv.Close()
	spans, provider := recorder()
	client := newClient(srv.config())
	defer client.Close()

	traced := &http.Client{
		Transport: otelhttp.NewTransport(client.Transport(), otelhttp.WithTracerProvider(provider)),
		Timeout:   time.Minute,
	}
	get(traced, srv.URL+"/orders")
	srv.endAccess()
	get(traced, srv.URL+"/orders")
	fmt.Println(statuses(spans))
	// Output: [404 404]
}

// Inside, otelhttp makes a span of each request on the wire.
func Example_otelhttpInside() {
	srv := newServer(http.NotFoundHandler())
	defer srv.Close()
	spans, provider := recorder()
	cfg := srv.config()
	cfg.Base = otelhttp.NewTransport(http.DefaultTransport, otelhttp.WithTracerProvider(provider))
	client := newClient(cfg)
	defer client.Close()

	get(client.HTTP(), srv.URL+"/orders")
	srv.endAccess()
	get(client.HTTP(), srv.URL+"/orders")
	fmt.Println(statuses(spans))
	// Output: [404 401 404]
}

// recorder is where the spans of an example end.
func recorder() (*tracetest.SpanRecorder, *trace.TracerProvider) {
	spans := tracetest.NewSpanRecorder()
	return spans, trace.NewTracerProvider(trace.WithSpanProcessor(spans))
}

func get(client *http.Client, url string) {
	resp, err := client.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	_ = resp.Body.Close() // ends the span
	if resp.StatusCode == http.StatusUnauthorized {
		log.Fatalf("%s refused the token", url)
	}
}

// statuses are the HTTP statuses of the spans, in the order of their ends.
func statuses(spans *tracetest.SpanRecorder) (all []int64) {
	for _, span := range spans.Ended() {
		for _, a := range span.Attributes() {
			if a.Key == attribute.Key("http.response.status_code") {
				all = append(all, a.Value.AsInt64())
			}
		}
	}
	return all
}
