package grpctest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/evertoken/evertoken"
	"github.com/evertoken/evertoken/evertest"
	"github.com/evertoken/evertoken/grpccreds"
)

var _ credentials.PerRPCCredentials = (*grpccreds.Credentials)(nil)

// An api is a gRPC server, the health service, that admits who has a token that
// the issuer's own API takes.
type api struct {
	addr   string
	issuer *evertest.Server
	roots  *x509.CertPool // nil: it speaks without TLS

	mu   sync.Mutex
	seen []string // the authorization of each call
}

func newAPI(t *testing.T, issuer *evertest.Server, withTLS bool) *api {
	t.Helper()
	a := &api{issuer: issuer}
	options := []grpc.ServerOption{grpc.UnaryInterceptor(a.unary), grpc.StreamInterceptor(a.stream)}
	if withTLS {
		https := httptest.NewTLSServer(nil) // for its certificate
		defer https.Close()
		a.roots = x509.NewCertPool()
		a.roots.AddCert(https.Certificate())
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&https.TLS.Certificates[0])))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.addr = l.Addr().String()
	srv := grpc.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

func (a *api) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := a.admit(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (a *api) stream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := a.admit(s.Context()); err != nil {
		return err
	}
	return next(srv, s)
}

func (a *api) admit(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	a.mu.Lock()
	a.seen = append(a.seen, values...)
	a.mu.Unlock()
	if len(values) != 1 {
		return status.Errorf(codes.Unauthenticated, "%d tokens", len(values))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.issuer.URL+"/api/users/me/profile", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", values[0])
	resp, err := a.issuer.Transport().RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return status.Error(codes.Unauthenticated, "token refused")
	}
	return nil
}

func (a *api) calls() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.seen...)
}

// dial connects to the server with creds, as its users would.
func (a *api) dial(t *testing.T, creds *grpccreds.Credentials) grpc_health_v1.HealthClient {
	t.Helper()
	transport := insecure.NewCredentials()
	if a.roots != nil {
		transport = credentials.NewTLS(&tls.Config{RootCAs: a.roots, MinVersion: tls.VersionTLS12})
	}
	conn, err := grpc.NewClient("passthrough:///"+a.addr, grpc.WithTransportCredentials(transport), grpc.WithPerRPCCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return grpc_health_v1.NewHealthClient(conn)
}

func check(t *testing.T, c grpc_health_v1.HealthClient) error {
	t.Helper()
	_, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	return err
}

// watch opens a stream and receives its first message.
func watch(t *testing.T, c grpc_health_v1.HealthClient) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := c.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	_, err = s.Recv()
	return err
}

func signedIn(t *testing.T, issuer *evertest.Server, origin string) *evertoken.Client {
	t.Helper()
	config := issuer.Config()
	config.Origins = []string{origin}
	config.Logger = slog.New(slog.DiscardHandler)
	client, err := evertoken.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func newCreds(t *testing.T, client *evertoken.Client, o grpccreds.Options) *grpccreds.Credentials {
	t.Helper()
	creds, err := grpccreds.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

// Every call has the token of its time.
func TestCallsOverTLS(t *testing.T) {
	issuer := evertest.NewServer(t, evertest.Options{Rotate: true})
	server := newAPI(t, issuer, true)
	client := signedIn(t, issuer, "https://"+server.addr)
	conn := server.dial(t, newCreds(t, client, grpccreds.Options{}))
	for range 2 {
		if err := check(t, conn); err != nil {
			t.Fatalf("unary: %v", err)
		}
		if err := watch(t, conn); err != nil {
			t.Fatalf("stream: %v", err)
		}
		issuer.ExpireAccessTokens()
		if err := check(t, conn); status.Code(err) != codes.Unauthenticated {
			t.Fatalf("with a refused token: %v", err)
		}
		if err := client.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := check(t, conn); err != nil {
		t.Fatalf("after a renewal: %v", err)
	}
	calls := server.calls()
	tokens := map[string]bool{}
	for _, c := range calls {
		tokens[c] = true
	}
	if len(calls) != 7 || len(tokens) != 3 {
		t.Errorf("%d calls with %d tokens, want 7 with 3", len(calls), len(tokens))
	}
}

// A server that is not among the origins gets nothing, though its certificate
// is good and the credentials are given to its connection.
func TestOtherServerGetsNothing(t *testing.T) {
	issuer := evertest.NewServer(t)
	ours, other := newAPI(t, issuer, true), newAPI(t, issuer, true)
	creds := newCreds(t, signedIn(t, issuer, "https://"+ours.addr), grpccreds.Options{})
	conn := other.dial(t, creds)
	if err := check(t, conn); status.Code(err) != codes.Unauthenticated {
		t.Errorf("unary: %v", err)
	}
	if err := watch(t, conn); status.Code(err) != codes.Unauthenticated {
		t.Errorf("stream: %v", err)
	}
	if calls := other.calls(); len(calls) != 0 {
		t.Errorf("the other server was sent %d tokens", len(calls))
	}
	if err := check(t, ours.dial(t, creds)); err != nil {
		t.Errorf("our own server: %v", err)
	}
}

// Without TLS grpc itself refuses; the switch is for this machine.
func TestWithoutTLS(t *testing.T) {
	issuer := evertest.NewServer(t)
	server, other := newAPI(t, issuer, false), newAPI(t, issuer, false)
	strict := newCreds(t, signedIn(t, issuer, "https://"+server.addr), grpccreds.Options{})
	if conn, err := grpc.NewClient("passthrough:///"+server.addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(strict)); err == nil {
		_ = conn.Close()
		t.Error("grpc accepted a connection without TLS")
	}
	client := signedIn(t, issuer, "http://"+server.addr)
	plain := newCreds(t, client, grpccreds.Options{InsecureLoopback: true})
	if err := check(t, server.dial(t, plain)); err != nil {
		t.Errorf("on loopback: %v", err)
	}
	if err := check(t, other.dial(t, plain)); status.Code(err) != codes.Unauthenticated || len(other.calls()) != 0 {
		t.Errorf("another server on loopback: %v, %d tokens", err, len(other.calls()))
	}
}

func TestSignedOut(t *testing.T) {
	issuer := evertest.NewServer(t)
	server := newAPI(t, issuer, true)
	client := signedIn(t, issuer, "https://"+server.addr)
	conn := server.dial(t, newCreds(t, client, grpccreds.Options{}))
	if err := check(t, conn); err != nil {
		t.Fatal(err)
	}
	if err := client.SignOut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := check(t, conn); status.Code(err) != codes.Unauthenticated || len(server.calls()) != 1 {
		t.Errorf("signed out: %v after %d calls", err, len(server.calls()))
	}
}
