module github.com/evertoken/evertoken/grpccreds/grpctest

go 1.25.0

require (
	github.com/evertoken/evertoken v0.0.0
	google.golang.org/grpc v1.84.0
)

require (
	github.com/benbjohnson/clock v1.3.5 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.40.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260706201446-f0a921348800 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)

replace github.com/evertoken/evertoken => ../..
