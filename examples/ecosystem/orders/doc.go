// Package orders is a client that oapi-codegen made of openapi.yaml. It knows
// nothing of tokens.
package orders

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -package orders -generate types,client -o orders.gen.go openapi.yaml
