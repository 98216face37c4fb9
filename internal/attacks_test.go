package internal

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The table of attacks names the tests that there are, all of them and no others.
func TestAttacksAreListed(t *testing.T) {
	listed := named(t, "../docs/attacks.md", `TestAttack[A-Z][0-9]+_\w+`)
	written := tests(t)
	for _, test := range listed {
		if !slices.Contains(written, test) {
			t.Errorf("docs/attacks.md names %s, which is no test", test)
		}
	}
	for _, test := range written {
		attack, of := strings.CutPrefix(test, "TestAttack")
		if of && strings.ContainsAny(attack[:1], "ABCEFGHI") && !slices.Contains(listed, test) {
			t.Errorf("docs/attacks.md does not name %s", test)
		}
	}
	if len(listed) < 80 {
		t.Errorf("only %d tests are listed", len(listed))
	}
}

// What is said to prove an invariant is a test.
func TestInvariantsNameTests(t *testing.T) {
	written := tests(t)
	listed := named(t, "../docs/invariants.md", `(?:Test|Fuzz)\w+`)
	for _, test := range listed {
		if !slices.Contains(written, test) {
			t.Errorf("docs/invariants.md names %s, which is no test", test)
		}
	}
	if len(listed) < 80 {
		t.Errorf("only %d tests are listed", len(listed))
	}
}

// named are the tests that a page names.
func named(t *testing.T, page, names string) []string {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(names).FindAllString(string(data), -1)
}

// tests are all that there are.
func tests(t *testing.T) (all []string) {
	t.Helper()
	for _, root := range []string{".", "../test"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, found := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(source, -1) {
				all = append(all, string(found[1]))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}
