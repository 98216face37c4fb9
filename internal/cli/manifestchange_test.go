package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A manifest that somebody edits while its change is looked at is not written over.
func TestAManifestThatChangedMeanwhileIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dev.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	c := manifestChange{file, []byte("before"), []byte("after")}
	write("edited by hand")
	err := c.write()
	if now, _ := os.ReadFile(file); err == nil || !strings.Contains(err.Error(), "has changed meanwhile") || string(now) != "edited by hand" {
		t.Errorf("got %v, and %q", err, now)
	}
	write("before")
	err = c.write()
	now, _ := os.ReadFile(file)
	info, statErr := os.Stat(file)
	if err != nil || statErr != nil || string(now) != "after" || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v, and %q, %v", err, now, info.Mode())
	}
}
