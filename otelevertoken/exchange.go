package otelevertoken

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/internal/attempt"
	"github.com/evertoken/evertoken/internal/flight"
)

// success stands beside the outcomes of failures.
const success = "success"

// exchange observes one call of the issuer. Its span begins a trace: whoever made
// the client, whose context this is, has long finished, and many may wait.
func (t *telemetry) exchange(ctx context.Context, name string, call func(context.Context) error, outcome func(context.Context, error) string) error {
	why, began := attempt.From(ctx), t.now()
	attributes := append([]attribute.KeyValue{attribute.String("evertoken.reason", why.Reason)}, t.attributes...)
	if why.N > 0 {
		attributes = append(attributes, attribute.Int("evertoken.attempt", why.N))
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(began), trace.WithAttributes(attributes...))
	err := call(ctx)
	ended, result := t.now(), outcome(ctx, err)
	describe(span, err, result)
	span.End(trace.WithTimestamp(ended))
	with := t.with(attribute.String("evertoken.outcome", result), attribute.String("evertoken.reason", why.Reason))
	t.count.Add(ctx, 1, with)
	t.duration.Record(ctx, ended.Sub(began).Seconds(), with)
	return err
}

// describe tells facts alone: an error's text may quote anything.
func describe(span trace.Span, err error, result string) {
	span.SetAttributes(attribute.String("evertoken.outcome", result))
	if result == success {
		return
	}
	span.SetAttributes(attribute.String("error.type", result))
	span.SetStatus(codes.Error, result)
	var answer *evertoken.RefreshError
	if errors.As(err, &answer) && answer.StatusCode != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", answer.StatusCode))
	}
}

// outcomeOf says what the client makes of an exchange. What it stopped before it
// was sent has that for its cause; other errors are what unknown says.
func outcomeOf(ctx context.Context, err error, unknown evertoken.Outcome) string {
	var answer *evertoken.RefreshError
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		return success
	case errors.Is(cause, flight.ErrClosing), errors.Is(cause, flight.ErrGuard):
		return evertoken.NotSent.String()
	case errors.As(err, &answer):
		return answer.Outcome.String()
	}
	return unknown.String()
}

// login observes Config.Login. Its errors are taken for an issuer that is down.
func (t *telemetry) login(inner func(context.Context) (evertoken.Token, error)) func(context.Context) (evertoken.Token, error) {
	return func(ctx context.Context) (token evertoken.Token, err error) {
		err = t.exchange(ctx, "evertoken.login", func(ctx context.Context) error {
			token, err = inner(ctx)
			return err
		}, func(ctx context.Context, err error) string { return outcomeOf(ctx, err, evertoken.Unavailable) })
		return token, err
	}
}
