package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
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
		{[]string{"-dir", ""}, "p", "-dir is missing"},
		{[]string{"-every", "0s"}, "p", "-every is 0s: must be more than 0s"},
		{[]string{"-check", "-1s", "-dir", dir}, "p", "evertoken: bad Config: CheckInterval is negative: -1s"},
		{[]string{"-dir", dir}, "", "nobody is signed in, and EVERTOKEN_PASSWORD is not set"},
		{[]string{"-dir", dir, "-status", "nowhere"}, "p", "listen tcp: address nowhere: missing port"},
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

// TestStatusPage finds the page of a daemon whose server is down.
func TestStatusPage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-dir", t.TempDir(), "-server", "http://127.0.0.1:1", "-status", ":0"}, "p", slog.New(slog.NewJSONHandler(out, nil)))
		_ = out.Close()
	}()
	var line struct{ URL string }
	for lines := json.NewDecoder(in); line.URL == ""; {
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, in) }()
	resp, err := http.Get(line.URL)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.HasPrefix(line.URL, "http://127.0.0.1:") || !strings.Contains(string(text), "Requests get no token.") {
		t.Errorf("%s: %v: %s", line.URL, err, text)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
