// Package evertoken keeps a program signed in.
package evertoken
