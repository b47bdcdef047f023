package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/parser"
	gotoken "go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	mutations = flag.Bool("mutations", false, "TestMutations breaks the product in all ways, not in a few")
	only      = flag.String("only", "", "in which of all ways, by a regular expression for the name")
)

// A mutation breaks one rule of the product, or one promise of the store. It is
// found in the world of seed, and perhaps in others.
type mutation struct {
	name  string
	seed  uint64
	edits []edit
}

// An edit replaces text that stands in a file exactly once.
type edit struct{ file, old, new string }

// few are the mutations that are tried without -mutations.
const few = "^(no note|compare-and-swap off)$"

// TestMutations proves that the simulation can fail. It builds itself once for each
// mutation and runs the world in which that is found, which takes some seconds. Of
// the mutations that are not tried, it makes sure that they still fit the product.
func TestMutations(t *testing.T) {
	t.Parallel()
	names := few
	if *mutations {
		names = *only
	}
	tried := 0
	for _, m := range table() {
		dir := t.TempDir()
		overlay := m.write(t, filepath.Join("..", ".."), dir)
		if !regexp.MustCompile(names).MatchString(m.name) {
			continue
		}
		tried++
		if binary := m.build(t, overlay, dir); binary != "" {
			m.hunt(t, binary)
		}
	}
	if tried == 0 || !*mutations && tried != strings.Count(few, "|")+1 {
		t.Errorf("%d mutations are called %s", tried, names)
	}
}

// build makes the simulation of a product that is broken.
func (m mutation) build(t *testing.T, overlay, dir string) (binary string) {
	t.Helper()
	binary = filepath.Join(dir, "sim.test")
	if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", m.name, err, out)
		return ""
	}
	return binary
}

// write makes the files that take the place of the product's, and returns what
// tells the compiler so.
func (m mutation) write(t *testing.T, root, dir string) string {
	t.Helper()
	replace := make(map[string]string)
	for i, e := range m.edits {
		path, err := filepath.Abs(filepath.Join(root, e.file))
		if err != nil {
			t.Fatal(err)
		}
		from, again := replace[path]
		if !again {
			from = path
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(data), e.old); n != 1 {
			t.Errorf("%s: %s has this %d times, want once: %s", m.name, e.file, n, e.old)
		}
		broken := []byte(strings.Replace(string(data), e.old, e.new, 1))
		if _, err := parser.ParseFile(gotoken.NewFileSet(), e.file, broken, 0); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		replace[path] = filepath.Join(dir, strconv.Itoa(i)+".go")
		if err := os.WriteFile(replace[path], broken, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

var finding = regexp.MustCompile(`seed (\d+): (.*)`)

// hunt runs the world that is known to find the mutation. The product may have
// changed what happens there, so that others have to be tried: then the table is to
// be brought up to date.
func (m mutation) hunt(t *testing.T, binary string) {
	t.Helper()
	if m.isFound(t, binary, m.seed, 1) {
		return
	}
	t.Logf("%-49s not in the world of seed %d any more", m.name, m.seed)
	if !m.isFound(t, binary, 1, max(*seeds, 150)) {
		t.Errorf("%-49s is not found", m.name)
	}
}

// isFound runs worlds until one finds the mutation.
func (m mutation) isFound(t *testing.T, binary string, seed, worlds uint64) bool {
	t.Helper()
	out, err := exec.Command(binary, "-test.run", "Simulate", "-seed", fmt.Sprint(seed), "-seeds", fmt.Sprint(worlds)).CombinedOutput()
	if err == nil {
		return false
	}
	found := finding.FindSubmatch(out)
	if found == nil {
		t.Errorf("%s: ends in another way: %v\n%s", m.name, err, out)
		return true
	}
	t.Logf("%-49s seed %4s: %s", m.name, found[1], found[2])
	return true
}
