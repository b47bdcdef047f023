package main

import "testing"

// Each store is measured, or said not to be there.
func TestMeasureStores(t *testing.T) {
	s, err := measureStores(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	rows := s.tables[0].rows
	if len(rows) != len(backends()) {
		t.Fatalf("%q", rows)
	}
	for i, b := range backends() {
		if rows[i][0] != b.name {
			t.Errorf("row %d is %q, want %s", i, rows[i], b.name)
		}
	}
}
