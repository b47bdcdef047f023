module github.com/evertoken/evertoken/interop

go 1.25.0

require github.com/evertoken/evertoken v0.0.0

require (
	github.com/benbjohnson/clock v1.3.5 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/evertoken/evertoken => ../
