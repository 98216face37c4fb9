package gitgate

import (
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/test/need"
)

// git push --all and --tags, from a shallow and from a partial clone, with history that the
// client does not have.
func TestPushFromShallowAndPartialClones(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		c.Repositories[0].Push.Refs = []string{"refs/heads/agent/**", "refs/tags/agent/**"}
	})
	seed := filepath.Join(l.dir, "seed")
	for range 3 {
		l.commit(seed, "more", strings.Repeat("x", len(read(t, filepath.Join(seed, "README.md"))))+l.git(seed, "rev-list", "--count", "HEAD"))
	}
	l.git(seed, "push", "-q", l.upstream, "main")
	for name, args := range map[string][]string{"shallow": {"--depth=1"}, "blobless": {"--filter=blob:none"}, "treeless": {"--filter=tree:0"}} {
		work := l.clone(args...)
		l.git(work, "checkout", "-q", "-b", "agent/"+name)
		l.commit(work, "dir/"+name, name)
		head := l.commit(work, "README.md", "# "+name+"\n")
		l.git(work, "tag", "-a", "-m", "a tag", "agent/"+name)
		l.git(work, "push", "-q", "origin", "refs/heads/agent/"+name, "refs/tags/agent/"+name)
		if got := l.theirs("refs/heads/agent/" + name); got != head {
			t.Errorf("%s: upstream has %q, want %s", name, got, head)
		}
		if got := l.theirs("refs/tags/agent/" + name + "^{commit}"); got != head {
			t.Errorf("%s: the tag is %q, want %s", name, got, head)
		}
		l.git(work, "fetch", "-q", "--prune")
		if name == "shallow" {
			l.git(work, "fetch", "-q", "--unshallow")
		}
		l.git(work, "fsck")
	}
	l.git(l.upstream, "fsck", "--strict")
}

// What is deleted upstream goes with fetch --prune.
func TestFetchPrunes(t *testing.T) {
	l := newLab(t)
	work := l.clone()
	l.git(work, "push", "-q", "origin", "main:agent/gone")
	l.git(work, "fetch", "-q")
	l.git(l.upstream, "update-ref", "-d", "refs/heads/agent/gone")
	l.git(work, "fetch", "-q", "--prune")
	if out, err := l.try(work, "rev-parse", "--verify", "origin/agent/gone"); err == nil {
		t.Errorf("it is still there: %s", out)
	}
}

// A submodule is a repository like any other: declared, or not.
func TestSubmodules(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		inner := c.Repositories[0]
		dir := filepath.Join(upstreamDir(c), "inner.git")
		run(t, "/", nil, "git", "clone", "-q", "--bare", filepath.Join(upstreamDir(c), "upstream.git"), dir)
		inner.Name, inner.Places = "inner", []string{"inner"}
		inner.Upstream = strings.Replace(inner.Upstream, "upstream.git", "inner.git", 1)
		c.Repositories = append(c.Repositories, inner)
	})
	seed := filepath.Join(l.dir, "seed")
	allow := []string{"-c", "protocol.http.allow=always"}
	l.git(seed, append(allow, "submodule", "--quiet", "add", l.root+"/inner", "inner")...)
	l.git(seed, "commit", "-q", "-m", "a submodule")
	l.git(seed, "push", "-q", l.upstream, "main")
	work := l.clone("--recurse-submodules")
	if read(t, filepath.Join(work, "inner", "README.md")) != "# widget\n" {
		t.Error("the submodule is not there")
	}
	l.git(seed, "config", "-f", ".gitmodules", "submodule.inner.url", l.root+"/secret/thing")
	l.commit(seed, "other", "other\n")
	l.git(seed, "push", "-q", l.upstream, "main")
	l.refused("/", "secret/thing is not one of this bottle's repositories (widget, inner).", "clone", "-q", "--recurse-submodules", l.url, filepath.Join(t.TempDir(), "x"))
}

// git-lfs asks the batch API, and shows the message of its answer; the API of locks likewise.
func TestLFSIsRefusedWithAReason(t *testing.T) {
	l := newLab(t)
	for _, path := range []string{"/info/lfs/objects/batch", "/info/lfs/locks/verify"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.url+path, strings.NewReader(`{"operation":"upload","transfers":["basic"],"objects":[{"oid":"`+strings.Repeat("0", 64)+`","size":1}]}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/vnd.git-lfs+json")
		request.Header.Set("Accept", "application/vnd.git-lfs+json")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusNotImplemented || answer.Header.Get("Content-Type") != "application/vnd.git-lfs+json" ||
			!strings.Contains(string(body), `{"message":"bot-bottle: git LFS does not pass the gate.`) {
			t.Errorf("%s: %s, %s, %v", path, answer.Status, body, err)
		}
	}
}

// The real git-lfs shows it to whoever pushes.
func TestLFSClient(t *testing.T) {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		need.Lacking(t, need.Tools, err)
	}
	l := newLab(t)
	work := l.clone()
	l.git(work, "lfs", "install", "--local")
	l.git(work, "checkout", "-q", "-b", "agent/lfs")
	l.git(work, "lfs", "track", "*.bin")
	l.commit(work, "x.bin", "large\n")
	l.refused(work, "git LFS does not pass the gate", "push", "origin", "agent/lfs")
}
