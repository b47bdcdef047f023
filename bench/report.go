package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// writeReport writes REPORT.md and its charts into a folder.
func writeReport(folder string, sections []section) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured\n\nWritten by `make bench-report`. On one machine, of which others had a share: %s.\n"+
		"The ratios count, not the times.\n\n", machine())
	fmt.Fprintf(&b, "Compared: %s.\n", strings.Join(compared(), ", "))
	for _, s := range sections {
		b.WriteString("\n" + s.markdown())
		for _, c := range s.charts {
			if err := write(folder, c.file, c.svg); err != nil {
				return err
			}
		}
	}
	return write(folder, "REPORT.md", b.String())
}

// compared are the modules of the peers, with their versions.
func compared() []string {
	var names []string
	for _, p := range peers() {
		if name := p.module + " " + version(p.module); p.module != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func write(folder, name, text string) error {
	return os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644) //nolint:gosec // for everybody to read
}
