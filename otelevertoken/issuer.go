package otelevertoken

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/evertoken/evertoken"
)

// An issuer observes another. It has all optional methods: where the other lacks
// one it answers what its absence means.
type issuer struct {
	evertoken.Issuer
	t *telemetry
}

// Refresh implements evertoken.Issuer. A result without access token is no success.
func (i *issuer) Refresh(ctx context.Context, t evertoken.Token) (token evertoken.Token, err error) {
	err = i.t.exchange(ctx, "evertoken.refresh", func(ctx context.Context) error {
		token, err = i.Issuer.Refresh(ctx, t)
		return err
	}, func(ctx context.Context, err error) string {
		if err == nil && token.AccessToken == "" {
			return evertoken.Ambiguous.String()
		}
		return outcomeOf(ctx, err, evertoken.Ambiguous)
	})
	return token, err
}

// Validate finds nothing wrong with an issuer that does not say.
func (i *issuer) Validate() error {
	if v, ok := i.Issuer.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// Origins names none for an issuer that does not.
func (i *issuer) Origins() []string {
	if o, ok := i.Issuer.(interface{ Origins() []string }); ok {
		return o.Origins()
	}
	return nil
}

// ReuseGrace is zero, none, for an issuer that knows of none.
func (i *issuer) ReuseGrace() time.Duration {
	if g, ok := i.Issuer.(interface{ ReuseGrace() time.Duration }); ok {
		return g.ReuseGrace()
	}
	return 0
}

// Wrap leaves base alone where nothing but the token is needed.
func (i *issuer) Wrap(base http.RoundTripper, s evertoken.TokenSource) http.RoundTripper {
	w, ok := i.Issuer.(interface {
		Wrap(base http.RoundTripper, s evertoken.TokenSource) http.RoundTripper
	})
	if !ok {
		return base
	}
	return w.Wrap(base, s)
}

// Revoke does nothing where nothing can be revoked. It is a part of the trace that
// SignOut is called in; what is tried again later begins one.
func (i *issuer) Revoke(ctx context.Context, t evertoken.Token) error {
	r, ok := i.Issuer.(interface {
		Revoke(ctx context.Context, t evertoken.Token) error
	})
	if !ok {
		return nil
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(i.t.now()), trace.WithAttributes(i.t.attributes...)}
	if !trace.SpanFromContext(ctx).IsRecording() {
		options = append(options, trace.WithNewRoot())
	}
	ctx, span := i.t.tracer.Start(ctx, "evertoken.revoke", options...)
	err := r.Revoke(ctx, t)
	describe(span, err, outcomeOf(ctx, err, evertoken.Ambiguous))
	span.End(trace.WithTimestamp(i.t.now()))
	return err
}
