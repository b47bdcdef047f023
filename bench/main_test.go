package main

import (
	"strings"
	"testing"
)

// Each store is measured, or said not to be there.
func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out, 3); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 1+len(backends()) {
		t.Fatalf("%s", out.String())
	}
	for i, b := range backends() {
		if !strings.HasPrefix(lines[i+1], b.name+" ") {
			t.Errorf("line %d is %q, want %s", i+1, lines[i+1], b.name)
		}
	}
}
