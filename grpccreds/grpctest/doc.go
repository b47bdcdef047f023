// Package grpctest holds the tests of package grpccreds with the gRPC of
// google.golang.org/grpc. It is a module of its own so that importers of
// grpccreds need no gRPC but their own.
package grpctest
