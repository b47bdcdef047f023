// Package dpop proves that whoever sends a token also holds its key (RFC 9449):
// keys, proofs, the nonces that servers want in them, and the transport that
// adds a proof to each request.
package dpop
