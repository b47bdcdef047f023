package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/evertoken/evertoken/storage"
)

// opened is a store and what has to be closed after it.
type opened struct {
	storage.Store
	close func()
}

// open reaches the store that a URL names. Errors name the part of the URL that
// is wrong; they do not quote it, for it may hold a password.
func open(_ context.Context, location string) (opened, error) {
	scheme, rest, ok := strings.Cut(location, ":")
	if !ok {
		return opened{}, fmt.Errorf("store: the URL has no scheme: file:, redis:, postgres: or nats:")
	}
	u, err := url.Parse(location)
	if err != nil {
		return opened{}, fmt.Errorf("store: the part after %q is no URL", scheme+":")
	}
	_ = u
	switch scheme {
	case "file":
		dir := strings.TrimPrefix(rest, "//")
		if dir == "" {
			return opened{}, fmt.Errorf("store: file: names no folder: file:/path/of/folder")
		}
		return opened{storage.NewFile(dir), func() {}}, nil
	}
	return opened{}, fmt.Errorf("store: scheme %q is none of file, redis, postgres, nats", scheme)
}
