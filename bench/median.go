package main

import (
	"cmp"
	"slices"
)

// median returns the middle of values, which it sorts.
func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
