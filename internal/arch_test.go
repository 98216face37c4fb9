package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	module = "github.com/bot-bottle/bot-bottle/"
	root   = module + "internal/"
)

// layer of each package (DESIGN §10). Imports go down, or stay level outside the
// services and the backends.
func layer(pkg string) (int, bool) {
	for prefix, n := range map[string]int{
		"manifest": 0, "policy": 0, "dlp": 0, "secret": 0,
		"state": 1, "audit": 1, "requests": 1, "notify": 1, "hostcmd": 1, "pki": 1, "image": 1, "secretsource": 1, "terminal": 1, "session": 1, "plain": 1, "confine": 1, "filecopy": 1, "pipelock": 1, "login": 1,
		"bottle": 2, "command": 2, "control": 2, "provider": 2, "report": 2, "starter": 2, "doctor": 2,
		"backend": 3, "resolve": 3, "provision": 3, "guest": 3, "sidecar": 3,
		"cli": 4, "dashboard": 4, "prove": 4,
	} {
		if within(pkg, prefix) {
			return n, true
		}
	}
	return 0, false
}

func within(pkg, prefix string) bool { return pkg == prefix || strings.HasPrefix(pkg, prefix+"/") }

// offends says what is wrong with an import, both named below internal; "" is nothing.
func offends(from, to string) string {
	high, known := layer(from)
	low, knownTo := layer(to)
	switch {
	case !known || !knownTo:
		return "it is in no layer"
	case low > high:
		return "it goes up"
	case apart(from) != "" && apart(to) != "" && apart(from) != apart(to) && !(from == "sidecar/bundle" && within(to, "sidecar")):
		return "services and backends must not know each other"
	}
	return ""
}

// apart names the service or backend that a package belongs to, "" if to none. The bundle
// alone knows others: it starts the services.
func apart(pkg string) string {
	if within(pkg, "guest") {
		return "guest"
	}
	for _, family := range []string{"backend", "sidecar"} {
		if rest, ok := strings.CutPrefix(pkg, family+"/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			return family + "/" + name
		}
	}
	return ""
}

// foreign is a module that the pure packages of layer 0 must not need.
func foreign(from, imported string) bool {
	n, known := layer(from)
	host, _, _ := strings.Cut(imported, "/")
	return known && n == 0 && strings.Contains(host, ".") && !strings.HasPrefix(imported, root) && !within(imported, "github.com/goccy/go-yaml") && !(within(from, "dlp") && decompresses(imported))
}

// decompresses is what dlp needs to see into bodies that the standard library cannot
// decode.
func decompresses(imported string) bool {
	return within(imported, "github.com/klauspost/compress") || within(imported, "github.com/andybalholm/brotli")
}

func TestImportsGoDown(t *testing.T) {
	for _, system := range []string{"linux", "darwin"} {
		packages := list(t, system)
		if len(packages) < 15 {
			t.Errorf("only %d packages were looked at", len(packages))
		}
		for pkg, imports := range packages {
			from, ours := strings.CutPrefix(pkg, root)
			for _, imported := range imports {
				to, isOurs := strings.CutPrefix(imported, root)
				switch {
				case !ours && isOurs && strings.HasPrefix(pkg, module+"cmd/") && to != "cli":
					t.Errorf("%s → %s: a command knows cli alone", pkg, to)
				case ours && isOurs && offends(from, to) != "":
					t.Errorf("%s → %s: %s", from, to, offends(from, to))
				case ours && foreign(from, imported):
					t.Errorf("%s → %s: layer 0 needs the standard library, YAML and, in dlp, decompression only", from, imported)
				case isOurs && within(to, forTests) && !within(from, forTests):
					t.Errorf("%s → %s: it is for tests, and never a choice of a user's", pkg, to)
				case ours && strings.HasPrefix(imported, module) && !isOurs:
					t.Errorf("%s → %s: it goes up", from, imported)
				}
			}
			if _, known := layer(from); ours && !known {
				t.Errorf("%s is in no layer", from)
			}
		}
	}
}

// forTests is a backend that only tests may import.
const forTests = "backend/memory"

// list returns the imports of every package of the module, tests aside.
func list(t *testing.T, system string) map[string][]string {
	t.Helper()
	c := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	c.Dir, c.Env = "..", append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string][]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p.Imports
	}
}

// The check itself: arrows that must be found, and some that must not.
func TestOffendingArrowsAreFound(t *testing.T) {
	for arrow, want := range map[string]bool{
		"policy → bottle": true, "manifest → state": true, "state → bottle": true, "bottle → backend/docker": true, "control → guest": true, "provider → cli": true,
		"backend/docker → backend/memory": true, "sidecar/egress → sidecar/gitgate": true, "sidecar/egress → sidecar/bundle": true, "guest → sidecar/egress": true,
		"sidecar/bundle → guest": true, "backend/docker → sidecar/egress": true, "guest → backend/docker": true, "sidecar/bundle → backend/docker": true, "cli → nowhere": true, "utility → policy": true,
		"sidecar/bundle → sidecar/egress": false, "backend/docker → provision": false, "cli → backend/docker": false, "bottle/bottletest → bottle": false, "backend/docker/a → backend/docker/b": false,
		"manifest → policy": false, "provision → hostcmd": false, "secretsource → hostcmd": false,
	} {
		from, to, _ := strings.Cut(arrow, " → ")
		if got := offends(from, to); (got != "") != want {
			t.Errorf("%s: got %q", arrow, got)
		}
	}
	for imported, want := range map[string]bool{"fmt": false, "github.com/goccy/go-yaml/ast": false, "github.com/goccy/go-yamlish": true, "golang.org/x/sys/unix": true, root + "policy": false} {
		if foreign("manifest", imported) != want {
			t.Errorf("manifest → %s", imported)
		}
	}
}

// No test is skipped but by package need: one that is required could otherwise pass by not running.
func TestOnlyNeedSkips(t *testing.T) {
	skips := regexp.MustCompile(`\b\w+\.Skip(f|Now)?\(`)
	tests := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for i, line := range strings.Split(string(text), "\n") {
			if skips.MatchString(line) {
				t.Errorf("%s:%d: say what it needs (package need): %s", path, i+1, strings.TrimSpace(line))
			}
		}
		tests++
		return err
	})
	if err != nil || tests < 50 {
		t.Errorf("%d files with tests were looked at: %v", tests, err)
	}
}
