package evertoken_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The program in the README is a part of Example, which the compiler has read.
func TestReadmeProgram(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, "README.md"), "```go\n")
	program, _, _ := strings.Cut(rest, "```")
	_, rest, _ = strings.Cut(read(t, "example_test.go"), "func Example() {\n")
	body, _, _ := strings.Cut(rest, "\n}\n")
	example := strings.ReplaceAll("\n"+body+"\n", "\n\t", "\n")
	if lines := strings.Count(program, "\n"); lines < 10 || lines > 15 || !strings.Contains(example, "\n"+program) {
		t.Errorf("the README's program of %d lines is not in Example:\n%s\nExample:%s", lines, program, example)
	}
}

// Links from page to page lead somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for _, page := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/server/README.md"} {
		for _, found := range link.FindAllStringSubmatch(read(t, page), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), filepath.FromSlash(found[1]))); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
