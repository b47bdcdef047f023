// Package ecosystem has no code of its own. Its examples put a client together
// with what a program may use already: each is a test that runs against servers
// in the same process.
package ecosystem
