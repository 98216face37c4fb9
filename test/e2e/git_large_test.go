package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// largeRepository has as many objects as asked for, small ones, in as many commits as it takes.
func largeRepository(t *testing.T, objects int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "large")
	if out, err := gitCommand(t.Context(), "init", "-q", "-b", "main", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const dirs, files = 20, 49
	var in bytes.Buffer
	for c := range objects/(dirs*(files+1)) + 1 {
		_, _ = fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@x.example> %d +0000\ndata 2\nc\n", 1_700_000_000+c)
		for d := range dirs {
			for f := range files {
				content := fmt.Sprintf("c%d d%d f%d\n", c, d, f)
				_, _ = fmt.Fprintf(&in, "M 100644 inline d%d/f%d\ndata %d\n%s", d, f, len(content), content)
			}
		}
	}
	c := gitCommand(t.Context(), "-C", dir, "fast-import", "--quiet")
	c.Stdin = &in
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := gitCommand(t.Context(), "-C", dir, "reset", "-q", "--hard").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// A repository of a million objects comes along; interrupted half way, nothing of it is left.
func TestCwdOfAMillionObjects(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	here := largeRepository(t, 1_000_000)
	scratch := t.TempDir()
	start := func() (string, string, error) {
		c := h.Command(t.Context(), "start", "-y", "--detach", "--rm", "--cwd", "sleeper")
		c.Dir, c.Env = here, append(h.Env(), "TMPDIR="+scratch)
		var stderr strings.Builder
		c.Stderr = &stderr
		out, err := c.Output()
		return strings.TrimSpace(string(out)), stderr.String(), err
	}

	c := h.Command(t.Context(), "start", "-y", "--detach", "--rm", "--cwd", "sleeper")
	c.Dir, c.Env = here, append(h.Env(), "TMPDIR="+scratch)
	said, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var heard strings.Builder
	for buffer := make([]byte, 4096); !strings.Contains(heard.String(), "bringing "+here); {
		n, err := said.Read(buffer)
		heard.Write(buffer[:n])
		if err != nil {
			t.Fatalf("it did not say what takes time: %s", heard.String())
		}
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(&heard, said); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Errorf("an interrupted start succeeded: %s", heard.String())
	}
	if left, _ := filepath.Glob(filepath.Join(scratch, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	h.nothingLeft(t.Context())

	identity, stderr, err := start()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	h.removeAtEnd(identity)
	r := h.run(0, "", "exec", identity, "--", "sh", "-c", "cd /workspace && until test ! -e .git/bot-bottle-checkout; do sleep 0.1; done; git status --porcelain; git rev-list --count HEAD; cat d3/f4")
	if want := "1001\nc1000 d3 f4\n"; r.Stdout != want {
		t.Errorf("got %q, want %q", r.Stdout, want)
	}
}
