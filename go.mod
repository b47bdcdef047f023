module github.com/evertoken/evertoken

go 1.25.0

require (
	github.com/benbjohnson/clock v1.3.5
	github.com/gofrs/flock v0.13.1
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/hashicorp/go-retryablehttp v0.7.8
	golang.org/x/sys v0.47.0
)

require github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
