package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBadStarts(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args     []string
		password string
		want     string
	}{
		{[]string{"now"}, "p", `unexpected argument "now"`},
		{[]string{"-color"}, "p", "flag provided but not defined: -color"},
		{[]string{"-every", "0s"}, "p", "-every is 0s: must be more than 0s"},
		{[]string{"-check", "-1s", "-dir", dir}, "p", "evertoken: bad Config: CheckInterval is negative: -1s"},
		{[]string{"-dir", dir}, "", "nobody is signed in, and EVERTOKEN_PASSWORD is not set"},
		{[]string{"-dir", file}, "p", "evertoken: store: load: storage: file: mkdir "},
		{[]string{"-server", "http://example.com", "-dir", dir}, "p", "evertoken: bad Config: Issuer: lightnap: BaseURL http://example.com: only https"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // for one that does start
		err := run(ctx, c.args, c.password, slog.New(slog.DiscardHandler))
		cancel()
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v\nwant %s", c.args, err, c.want)
		}
	}
}
