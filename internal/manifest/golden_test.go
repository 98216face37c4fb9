package manifest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// Each directory of testdata is a $BOT_BOTTLE_HOME, with the repository at hand in repo;
// want.txt is what the operator reads of it, and what can be used in spite of that.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/want.txt")
	if err != nil || len(cases) < 8 {
		t.Fatalf("found %v, %v", cases, err)
	}
	for _, golden := range cases {
		dir := filepath.Dir(golden)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			got := report(t, dir)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// report is every problem with its file as seen from dir, then each name and its fate.
func report(t *testing.T, dir string) string {
	t.Helper()
	m := load(t, dir, filepath.Join(dir, "repo"))
	var lines []string
	for _, p := range m.Problems {
		lines = append(lines, p.String())
	}
	for _, name := range slices.Sorted(maps.Keys(m.seen)) {
		kind, name, _ := strings.Cut(name, " ")
		var err error
		if kind == "agent" {
			_, err = m.Agent(name)
		} else {
			_, err = m.Bottle(name)
		}
		fate := "can be used"
		if err != nil {
			fate = "is refused"
		}
		lines = append(lines, fmt.Sprintf("= %s %s %s", kind, name, fate))
	}
	return strings.ReplaceAll(strings.Join(lines, "\n")+"\n", dir+"/", "")
}

// docs/manifest.md is what the files are checked against. -update writes it.
func TestReferenceIsUpToDate(t *testing.T) {
	const file = "../../docs/manifest.md"
	if *update {
		if err := os.WriteFile(file, Reference(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != string(Reference()) {
		t.Errorf("%s is not up to date (%v): go test ./internal/manifest -update", file, err)
	}
}
