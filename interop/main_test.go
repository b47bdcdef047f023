package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rotating is a server that gives the next token for each one it knows.
func rotating(t *testing.T) string {
	t.Helper()
	next := map[string]string{"s3cret-0": "s3cret-1", "s3cret-1": "s3cret-2"}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fresh, ok := next[r.PostFormValue("refresh_token")]
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"s3cret-access","refresh_token":"` + fresh + `"}`))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// The newest refresh token is in the file afterwards, and nothing else has it.
func TestReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret-0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, warnings strings.Builder
	args := []string{"-token-url", rotating(t), "-client-id", "me", "-refresh-token-file", file}
	if err := run(t.Context(), args, &out, &warnings); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, "rotation        yes") || !strings.Contains(s, "preset          the zero Dialect") {
		t.Errorf("%s", s)
	}
	if !strings.Contains(warnings.String(), "the newest is always in "+file) {
		t.Errorf("%s", warnings.String())
	}
	if strings.Contains(out.String()+warnings.String(), "s3cret") {
		t.Error("a secret was printed")
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "s3cret-2\n" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

// A token that nobody keeps is warned about before it is spent.
func TestWarnsOfLoss(t *testing.T) {
	t.Setenv("TOKEN", "s3cret-0")
	for _, from := range [][]string{{"-refresh-token", "s3cret-0"}, {"-refresh-token-env", "TOKEN"}} {
		var out, warnings strings.Builder
		if err := run(t.Context(), append(from, "-token-url", rotating(t)), &out, &warnings); err != nil {
			t.Fatal(err)
		}
		if first, _, _ := strings.Cut(warnings.String(), "\n"); !strings.Contains(first, "is lost when this ends") {
			t.Errorf("%s: %s", from[0], first)
		}
	}
}

func TestBadCommandLines(t *testing.T) {
	t.Setenv("EMPTY", "")
	for want, line := range map[string]string{
		"-token-url is missing":         "-refresh-token s3cret",
		"one of -refresh-token-file":    "-token-url http://localhost:1/",
		"one of -refresh-token-file, ":  "-token-url http://localhost:1/ -refresh-token s3cret -refresh-token-env X",
		"unexpected argument":           "-token-url http://localhost:1/ -refresh-token s3cret more-s3cret",
		"EMPTY is not set":              "-token-url http://localhost:1/ -refresh-token s3cret -client-secret-env EMPTY",
		"the refresh token is empty":    "-token-url http://localhost:1/ -refresh-token-env EMPTY",
		"-refresh-token-file: ":         "-token-url http://localhost:1/ -refresh-token-file /nowhere/at/all",
		"none of basic, post, none":     "-token-url http://localhost:1/ -refresh-token s3cret -client-auth magic",
		"flag provided but not defined": "-what",
	} {
		var out, warnings strings.Builder
		err := run(t.Context(), strings.Fields(line), &out, &warnings)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
