package evertoken_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

// anchors are what the headings of a page are called in links.
func anchors(page string) (all []string) {
	for _, line := range strings.Split(page, "\n") {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			heading = regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading), "")
			all = append(all, strings.ReplaceAll(heading, " ", "-"))
		}
	}
	return all
}

// Links from page to page lead somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(#[^):]+)?\)`)
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/server/README.md", "examples/ecosystem/README.md") {
		for _, found := range link.FindAllStringSubmatch(read(t, page), -1) {
			target := filepath.Join(filepath.Dir(page), filepath.FromSlash(found[1]))
			if found[1] == "" {
				target = page
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if found[2] != "" && !slices.Contains(anchors(read(t, target)), found[2][1:]) {
				t.Errorf("%s: %s has no heading %s", page, target, found[2])
			}
		}
	}
}

// The Go code in the guides is a part of files that the compiler has read.
func TestGuideCode(t *testing.T) {
	flat := func(text string) string {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		for i, line := range lines {
			lines[i] = strings.TrimSpace(line)
		}
		return strings.Join(lines, "\n")
	}
	var compiled strings.Builder
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") && path != "readme_test.go" {
			compiled.WriteString(flat(read(t, path)) + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	guides, err := filepath.Glob("docs/*.md")
	if err != nil || len(guides) < 5 {
		t.Fatalf("guides: %v, %v", guides, err)
	}
	for _, guide := range guides {
		for _, block := range strings.Split(read(t, guide), "```go\n")[1:] {
			code, _, _ := strings.Cut(block, "```")
			if !strings.Contains(compiled.String(), flat(code)) {
				t.Errorf("%s: this is in no test file:\n%s", guide, code)
			}
		}
	}
}
