package ecosystem_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/evertoken/evertoken/grpccreds"
)

// Each call of a gRPC connection carries the token that is valid by then.
func Example_grpc() {
	issuer := newServer(http.NotFoundHandler())
	defer issuer.Close()
	address, tls, stop := serveHealth(issuer)
	defer stop()
	cfg := issuer.config()
	cfg.Origins = []string{"https://" + address} // where the API is, not the issuer
	client := newClient(cfg)
	defer client.Close()

	creds, err := grpccreds.New(client, grpccreds.Options{})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient("dns:///"+address,
		grpc.WithTransportCredentials(tls),
		grpc.WithPerRPCCredentials(creds))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	fmt.Println(answer.GetStatus(), err)
	// Output: SERVING <nil>
}

// serveHealth is a gRPC server with TLS that admits the tokens of the issuer.
func serveHealth(issuer *server) (address string, client credentials.TransportCredentials, stop func()) {
	https := httptest.NewTLSServer(nil) // for its certificate
	defer https.Close()
	roots := x509.NewCertPool()
	roots.AddCert(https.Certificate())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := grpc.NewServer(
		grpc.Creds(credentials.NewServerTLSFromCert(&https.TLS.Certificates[0])),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			if sent := md.Get("authorization"); len(sent) != 1 || !issuer.admits(sent[0]) {
				return nil, status.Error(codes.Unauthenticated, "no valid token")
			}
			return next(ctx, req)
		}))
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	go func() { _ = srv.Serve(l) }() // until Stop
	return l.Addr().String(), credentials.NewClientTLSFromCert(roots, ""), srv.Stop
}
