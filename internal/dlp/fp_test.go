package dlp

import (
	"context"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// maxFalse is the share of files, in thousandths, that may have a finding.
const maxFalse = 1

// Nothing in Go's own sources is anyone's secret, the private keys of its tests aside.
// Every file is searched, of large ones the beginning.
func TestFalsePositivesInGo(t *testing.T) {
	falsePositives(t, filepath.Join(runtime.GOROOT(), "src"))
}

// This repository with the modules that it is built from, but not git's copies of it.
func TestFalsePositivesHere(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Dir}}{{end}}", "./...")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	falsePositives(t, slices.Compact(modules)...)
}

func falsePositives(t *testing.T, roots ...string) {
	t.Helper()
	t.Parallel()
	s := newScanner(t, Options{Known: []Value{{Name: "other", Secret: []byte(randomToken(24, 99))}}})
	paths := make(chan string)
	var files, bad atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for path := range paths {
				files.Add(1)
				if flagged(t, s, path) {
					bad.Add(1)
				}
			}
		})
	}
	for _, root := range roots {
		seen := 0 // of each root, so that the place of one, such as a clone's, does not choose for the others
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() && d.Name() == ".git" {
				return fs.SkipDir
			}
			if err == nil && d.Type().IsRegular() && !toBeFound(path) {
				if seen++; seen%slower == 0 {
					paths <- path
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	close(paths)
	workers.Wait()
	t.Logf("%d of %d files", bad.Load(), files.Load())
	if files.Load() < 50 || bad.Load()*1000 > max(files.Load(), 1000)*maxFalse {
		t.Errorf("%d of %d files have findings", bad.Load(), files.Load())
	}
}

// forTests reports whether what was found is one indeed, made for tests: a key that can be
// read, or in tests a key or a JWT, whose form is more than its first letters.
func forTests(path string, f Finding, data []byte) bool {
	inTest := strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/testdata/")
	if f.Rule != "private-key" {
		return f.Rule == "jwt" && inTest
	}
	if f.Start < 0 {
		return false
	}
	key, _ := pem.Decode(data[f.Start:])
	return key != nil || inTest
}

// toBeFound are the tests of this repository: they have what has the shape of a secret, to
// test that it is seen.
func toBeFound(path string) bool {
	inside, ours := strings.CutPrefix(path, here)
	return ours && (strings.HasSuffix(inside, "_test.go") || strings.Contains(inside, "/testdata/"))
}

// here is where this repository is.
var here = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir + string(filepath.Separator)
}()

// maxFile is how much of a file is searched.
const maxFile = 32 << 10

func flagged(t *testing.T, s *Scanner, path string) bool {
	data, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	data = data[:min(len(data), maxFile)]
	findings, err := s.Scan(context.Background(), Input{Host: "example.com", Kind: Body, Data: data})
	if errors.Is(err, ErrBudget) { // an archive that unpacks to very much is refused, too
		t.Logf("%s: %v", path, err)
		return true
	}
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	findings = slices.DeleteFunc(findings, func(f Finding) bool { return forTests(path, f, data) })
	for _, f := range findings {
		t.Logf("%s: %v", path, f)
	}
	return len(findings) > 0
}
