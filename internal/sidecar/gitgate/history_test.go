package gitgate

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// modules are where the sources of this project's own modules are.
func modules(t *testing.T) map[string]string {
	t.Helper()
	c := exec.Command("go", "list", "-m", "-json", "all")
	c.Dir = "../../.."
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var m struct{ Path, Dir string }
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		found[m.Path] = m.Dir
	}
}

// The sources of real projects, with their tests and documents, are pushed as a history: a
// commit for each module, then another state of it. Nothing of it is taken for a secret. The
// modules are there wherever this package can be built.
func TestCleanHistoryIsNotRefused(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		c.Repositories[0].Push.Paths = map[string]policy.PathAction{"**/.gitattributes": policy.AllowPath}
	})
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/history")
	all := modules(t)
	for _, name := range []string{
		"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/goccy/go-yaml", "github.com/google/go-cmp", "github.com/creack/pty", "golang.org/x/net", "golang.org/x/sync",
	} {
		if all[name] == "" {
			t.Fatalf("the source of %s is not here", name)
		}
		to := filepath.Join(work, "vendored", filepath.Base(name))
		if err := os.CopyFS(to, os.DirFS(all[name])); err != nil {
			t.Fatal(err)
		}
		l.git(work, "add", "-A", "-f")
		l.git(work, "commit", "-q", "-m", "bring "+name+" in")
		l.git(work, "mv", "vendored/"+filepath.Base(name), "moved-"+filepath.Base(name))
		l.git(work, "commit", "-q", "-m", "move "+name)
	}
	if out := l.git(work, "push", "origin", "agent/history"); !strings.Contains(out, "checked 14 commits") {
		t.Error(out)
	}
}

// What is no secret after all, such as the key of a test, is refused with how to have it let
// through; and then it is.
func TestAFalseFindingCanBeAllowed(t *testing.T) {
	key, err := os.ReadFile(filepath.Join(modules(t)["github.com/moby/moby/client"], "testdata", "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/keys")
	l.commit(work, "testdata/key.pem", string(key))
	out := l.refused(work, "REFUSED: a secret (private-key) in testdata/key.pem:1", "push", "origin", "agent/keys")
	if !strings.Contains(out, "scan: {private-key: alert}") {
		t.Error(out)
	}
	l.stop()
	l.config.Scan = map[string]dlp.Action{"private-key": dlp.Alert}
	l.start()
	l.git(work, "remote", "set-url", "origin", l.url)
	l.git(work, "push", "-q", "origin", "agent/keys")
	if !strings.Contains(l.events.String(), `"rule":"private-key","part":"blob","action":"alert"`) {
		t.Errorf("the log does not tell of it: %s", l.events)
	}
}
