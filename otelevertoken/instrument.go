// Package otelevertoken tells OpenTelemetry what a client does: a span for each
// exchange with the issuer, and metrics of exchanges, of the token's remaining
// life, of the store and of its lock.
//
//	release, err := otelevertoken.Instrument(&cfg, otelevertoken.Options{})
//	if err != nil { ... }
//	defer release()
//	client, err := evertoken.New(ctx, cfg)
//
// No token, and no text of an error, is ever in a span or a metric. Requests with
// the token are the business of otelhttp: see the example.
package otelevertoken

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/storage"
)

const scope = "github.com/evertoken/evertoken/otelevertoken"

// Options say where spans and metrics go. The zero value will do.
type Options struct {
	// TracerProvider takes the spans. Nil means the global one.
	TracerProvider trace.TracerProvider

	// MeterProvider takes the metrics. Nil means the global one.
	MeterProvider metric.MeterProvider

	// Attributes are added to every span and metric. They tell several clients of
	// one process apart.
	Attributes []attribute.KeyValue
}

// Instrument changes cfg so that the clients made from it are observed: it wraps
// Issuer, Login, Store and OnEvent, which keep their optional methods and their
// behaviour. A nil Store stays nil, as memory takes no time. Call it once, when cfg
// is complete, and for one client.
//
// release ends the metric of the remaining life; call it when the client is closed.
// The error is the meter's.
func Instrument(cfg *evertoken.Config, o Options) (release func(), err error) {
	t, err := newTelemetry(cfg.Clock, o)
	if err != nil {
		return nil, err
	}
	if cfg.Issuer != nil { // else New says that it is missing
		cfg.Issuer = &issuer{cfg.Issuer, t}
	}
	if cfg.Login != nil {
		cfg.Login = t.login(cfg.Login)
	}
	if cfg.Store != nil {
		cfg.Store = t.store(cfg.Store)
	}
	cfg.OnEvent = t.remaining.follow(cfg.OnEvent)
	return t.release, nil
}

// A telemetry is all that one client reports to.
type telemetry struct {
	tracer     trace.Tracer
	now        func() time.Time
	attributes []attribute.KeyValue

	duration, stored, waited metric.Float64Histogram
	count                    metric.Int64Counter
	remaining                remaining
	registration             metric.Registration
}

func newTelemetry(clock evertoken.Clock, o Options) (*telemetry, error) {
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	t := &telemetry{tracer: o.TracerProvider.Tracer(scope), now: time.Now, attributes: o.Attributes}
	if clock != nil {
		t.now = clock.Now
	}
	return t, t.measure(o.MeterProvider.Meter(scope))
}

// measure makes the instruments.
func (t *telemetry) measure(m metric.Meter) error {
	var faults [6]error
	seconds := metric.WithUnit("s")
	// Exchanges take from milliseconds to the three minutes after which they are given up.
	buckets := metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 180)
	t.duration, faults[0] = m.Float64Histogram("evertoken.refresh.duration", seconds, buckets,
		metric.WithDescription("Duration of exchanges with the issuer."))
	t.count, faults[1] = m.Int64Counter("evertoken.refresh.count", metric.WithUnit("{refresh}"),
		metric.WithDescription("Exchanges with the issuer."))
	t.stored, faults[2] = m.Float64Histogram("evertoken.store.duration", seconds, buckets,
		metric.WithDescription("Duration of steps with the store."))
	t.waited, faults[3] = m.Float64Histogram("evertoken.lock.wait", seconds, buckets,
		metric.WithDescription("Time until the store granted the lock that lets one process send."))
	gauge, fault := m.Float64ObservableGauge("evertoken.token.remaining", seconds,
		metric.WithDescription("Time until the access token expires; negative once it has."))
	faults[4] = fault
	if fault == nil {
		t.registration, faults[5] = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
			if left, known := t.remaining.at(t.now()); known {
				o.ObserveFloat64(gauge, left.Seconds(), metric.WithAttributes(t.attributes...))
			}
			return nil
		}, gauge)
	}
	return errors.Join(faults[:]...)
}

// release fails only for a provider that was shut down, which has forgotten us.
func (t *telemetry) release() { _ = t.registration.Unregister() }

// with returns the attributes of one measurement.
func (t *telemetry) with(more ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(more, t.attributes...)...))
}

// store wraps a store, with leases if it has any.
func (t *telemetry) store(inner storage.Store) storage.Store {
	s := store{inner, t}
	if leases, ok := inner.(storage.Leaser); ok {
		return leaser{s, leases}
	}
	return s
}
