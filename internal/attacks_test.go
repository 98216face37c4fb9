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
	data, err := os.ReadFile("../docs/attacks.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`TestAttack[A-Z][0-9]+_\w+`)
	listed := name.FindAllString(string(data), -1)
	var written []string
	for _, root := range []string{".", "../test"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, found := range regexp.MustCompile(`func (TestAttack[A-Z][0-9]+_\w+)\(`).FindAllSubmatch(source, -1) {
				written = append(written, string(found[1]))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range listed {
		if !slices.Contains(written, test) {
			t.Errorf("docs/attacks.md names %s, which is no test", test)
		}
	}
	for _, test := range written {
		if strings.ContainsAny(test[len("TestAttack"):][:1], "ABCEFGHI") && !slices.Contains(listed, test) {
			t.Errorf("docs/attacks.md does not name %s", test)
		}
	}
	if len(listed) < 80 {
		t.Errorf("only %d tests are listed", len(listed))
	}
}
