package gitgate

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

func TestCloneWorkPush(t *testing.T) {
	l := newLab(t)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	head := l.commit(work, "main.go", "package main\n")
	out := l.git(work, "push", "origin", "agent/fix")
	if got := l.theirs("refs/heads/agent/fix"); got != head {
		t.Errorf("upstream has %q, want %s\n%s", got, head, out)
	}
	if !strings.Contains(out, "checked 1 commit") {
		t.Errorf("the push does not say that it was checked:\n%s", out)
	}
	head = l.commit(work, "main.go", "package main\n\nfunc main() {}\n")
	l.git(work, "push", "origin", "agent/fix")
	if got := l.theirs("refs/heads/agent/fix"); got != head {
		t.Errorf("upstream has %q, want %s", got, head)
	}
	for _, want := range []string{`"event":"push"`, `"decision":"allow"`, head, `"repository":"widget"`} {
		if !strings.Contains(l.events.String(), want) {
			t.Errorf("the log does not have %s:\n%s", want, l.events)
		}
	}
}

// What somebody else pushed meanwhile is there with the next fetch.
func TestFetchIsFresh(t *testing.T) {
	l := newLab(t)
	work := l.clone()
	seed := filepath.Join(l.dir, "seed")
	want := l.commit(seed, "news.txt", "news\n")
	l.git(seed, "push", "-q", l.upstream, "main")
	l.git(seed, "tag", "-a", "v1", "-m", "one")
	l.git(seed, "push", "-q", l.upstream, "v1")
	l.git(work, "pull", "-q")
	if got := strings.TrimSpace(l.git(work, "rev-parse", "HEAD")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	l.git(work, "rev-parse", "v1^{commit}")
	l.git(seed, "push", "-q", l.upstream, ":v1")
	l.git(work, "fetch", "-q", "--prune", "--prune-tags")
	if out, err := l.try(work, "rev-parse", "--verify", "v1"); err == nil {
		t.Errorf("a tag that is gone upstream is still there: %s", out)
	}
}

func TestPartialAndShallowClones(t *testing.T) {
	l := newLab(t)
	for _, args := range [][]string{{"--depth=1"}, {"--filter=blob:none"}, {"--bare"}, {"--single-branch"}} {
		work := l.clone(args...)
		l.git(work, "fsck")
		if args[0] == "--bare" {
			continue
		}
		name := "agent/" + strings.Trim(args[0], "-=:0123456789")
		l.git(work, "checkout", "-q", "-b", strings.ReplaceAll(name, ":", "-"))
		l.commit(work, "x", args[0])
		l.git(work, "push", "-q", "origin", "HEAD")
	}
}

func TestAnUndeclaredRepositorySaysHowToAsk(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Supervised = true })
	l.refused("/", `request_git of the MCP server "operator" with {"repository":"https://git.example/acme/widget2"}`, "clone", l.root+"/git.example/acme/widget2", filepath.Join(t.TempDir(), "x"))
	l.git("/", "ls-remote", l.root+"/git.example/acme/widget.git")
}

func TestHeldPush(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	head := l.commit(work, "main.go", "package main\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "agent/fix")
	if l.theirs("refs/heads/agent/fix") != "" {
		t.Fatal("a held push is upstream")
	}
	if out := l.git(work, "ls-remote", "origin"); strings.Contains(out, "agent/fix") {
		t.Fatalf("a held push can be seen at the gate:\n%s", out)
	}
	diff := l.desk.diffs["t-1"]
	if !strings.Contains(diff, "+package main") || strings.Contains(diff, "README") { // which main has already
		t.Errorf("its diff is %q", diff)
	}
	if r, err := l.desk.ledger.Get("t-1"); err != nil || r.Push.Diff != fmt.Sprintf("%x", sha256.Sum256([]byte(diff))) || r.Push.Count != 1 {
		t.Errorf("what is decided is %+v, %v", r.Push, err)
	}
	if r := l.desk.decide(t, true); r.Decided.Result != control.Forwarded {
		t.Fatalf("it became %q", r.Decided.Result)
	}
	if got := l.theirs("refs/heads/agent/fix"); got != head {
		t.Errorf("upstream has %q, want %s", got, head)
	}
	l.git(work, "push", "origin", "agent/fix") // up to date

	second := l.commit(work, "main.go", "package main // more\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "agent/fix")
	if r := l.desk.decide(t, false); r.State != requests.Rejected {
		t.Fatal(r.State)
	}
	if got := l.theirs("refs/heads/agent/fix"); got != head || got == second {
		t.Errorf("upstream has %q, want %s", got, head)
	}
	l.refused(work, "the operator rejected this as t-2", "push", "origin", "agent/fix")
	l.noneHeld()
}

// noneHeld waits until no push's objects are kept for the operator any more.
func (l *lab) noneHeld() {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		left, _ := filepath.Glob(filepath.Join(l.dir, "gate", "held", "*"))
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("left behind: %v", left)
		}
	}
}

// A gate that was killed when it had forwarded an approved push, and before it had put its objects
// away, does not forward it again.
func TestAHeldPushIsForwardedOnce(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "agent/fix")
	held, kept := filepath.Join(l.dir, "gate", "held"), filepath.Join(l.dir, "kept")
	run(t, "/", nil, "cp", "-a", held, kept)
	l.desk.decide(t, true)
	l.noneHeld()
	l.stop()
	run(t, "/", nil, "cp", "-a", kept+"/.", held)
	l.start()
	l.noneHeld()
	if got := strings.Count(l.events.String(), "approved as t-1"); got != 1 {
		t.Errorf("it was forwarded %d times:\n%s", got, l.events)
	}
}
