package gitgate

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// grant puts grants beside what widget's manifest says.
func (l *lab) grant(more ...requests.PushGrant) {
	l.t.Helper()
	next := l.config
	next.Repositories = []control.GitRepository{l.config.Repositories[0]}
	next.Repositories[0].More = more
	if err := l.server.Apply(next); err != nil {
		l.t.Fatal(err)
	}
}

func pushes(id string, uses int64, refs ...string) requests.PushGrant {
	return requests.PushGrant{Grant: id, Uses: uses, Push: policy.Push{Refs: refs}}
}

// used is how often a grant was used, as far as the log says, were the gate to end now.
func (l *lab) used(grant string) int64 {
	l.t.Helper()
	var uses audit.Uses
	for _, e := range l.everyPush() {
		uses.Hear(e)
	}
	uses.Lost()
	return uses.Take()[grant]
}

// usesLeft reports whether the gate would let another push pass by one of widget's grants.
func (l *lab) usesLeft() bool {
	m := l.server.find("widget")
	m.rights.mu.Lock()
	defer m.rights.mu.Unlock()
	return len(m.rights.live()) > 0
}

func TestAGrantedRefIsPushed(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Supervised = true })
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	head := l.commit(work, "main.go", "package main\n")
	l.refused(work, `request_git of the MCP server "operator" with {"repository":"widget","refs":["refs/heads/fix"]}`, "push", "origin", "fix")
	l.grant(pushes("t-1", 1, "refs/heads/fix"))
	l.git(work, "push", "origin", "fix")
	if got := l.theirs("refs/heads/fix"); got != head {
		t.Errorf("upstream has %q, want %s", got, head)
	}
	if !strings.Contains(l.events.String(), `"grant":"t-1"`) {
		t.Errorf("the log does not say by which grant:\n%s", l.events)
	}
	l.commit(work, "main.go", "package main // more\n")
	l.refused(work, "none of those that may be pushed", "push", "origin", "fix") // once is once, before the parent has heard of it
	l.grant(pushes("t-1", 1, "refs/heads/fix"))
	l.refused(work, "none of those that may be pushed", "push", "origin", "fix")
}

// A push that the upstream does not take was no use.
func TestAFailedPushIsNoUse(t *testing.T) {
	l := newLab(t)
	l.grant(pushes("t-1", 1, "refs/heads/fix"))
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	head := l.commit(work, "main.go", "package main\n")
	l.hook("pre-receive", "#!/bin/sh\nexit 1\n")
	l.refused(work, "did not take it", "push", "origin", "fix")
	l.hook("pre-receive", "#!/bin/sh\nexit 0\n")
	l.git(work, "push", "origin", "fix")
	if got := l.theirs("refs/heads/fix"); got != head {
		t.Errorf("upstream has %q, want %s", got, head)
	}
}

// A grant that ends while a push is being checked: what was allowed when it began goes
// nowhere.
func TestAttackG13_AGrantEndsBeforeAPushIsForwarded(t *testing.T) {
	l := newLab(t)
	l.grant(pushes("t-1", 0, "refs/heads/fix"))
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	l.commit(work, "main.go", "package main\n")
	m := l.server.find("widget")
	updates := []policy.RefUpdate{{Ref: "refs/heads/fix", New: strings.TrimSpace(l.git(work, "rev-parse", "HEAD"))}}
	if err := m.checkUpdate(updates[0]); err != nil {
		t.Fatal("it is not allowed while the grant lives:", err)
	}
	l.grant()
	if _, _, err := m.use(updates); err == nil {
		t.Error("it would be forwarded after the grant's end")
	}
	l.refused(work, "none of those that may be pushed", "push", "origin", "fix")
	if l.theirs("refs/heads/fix") != "" {
		t.Error("upstream has it")
	}
	updates[0].Ref = "refs/heads/agent/fix" // which the manifest allows
	if _, _, err := m.use(updates); err != nil {
		t.Fatal(err)
	}
	if err := l.server.Apply(control.GitConfig{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.use(updates); err == nil {
		t.Error("it would be forwarded to a repository that the bottle has no more")
	}
}

// Force and delete of one grant, or of the manifest, are not those of another.
func TestAttackG2_GrantsAreNotMixed(t *testing.T) {
	l := newLab(t)
	forced := pushes("t-2", 0, "refs/heads/mine")
	forced.Push.Force, forced.Push.Delete = true, true
	l.grant(pushes("t-1", 0, "refs/heads/fix"), forced)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	l.commit(work, "main.go", "package main\n")
	l.refused(work, "different grants", "push", "origin", "fix", "fix:mine")
	l.git(work, "push", "-q", "origin", "fix")
	l.git(work, "push", "-q", "origin", "fix:mine", "fix:agent/too")
	l.git(work, "commit", "-q", "--amend", "-m", "another")
	l.refused(work, "history may not be rewritten", "push", "--force", "origin", "fix")
	l.refused(work, "may not be deleted", "push", "origin", ":fix")
	l.refused(work, "may not be deleted", "push", "origin", ":agent/too")
	l.git(work, "push", "-q", "--force", "origin", "fix:mine")
	l.git(work, "push", "-q", "origin", ":mine")
}

func TestAGrantedRepositoryComesAndGoes(t *testing.T) {
	l := newLab(t)
	tools := filepath.Join(l.dir, "tools.git")
	l.git("/", "clone", "-q", "--bare", l.upstream, tools)
	place := "git.example/acme/tools"
	work := filepath.Join(t.TempDir(), "tools")
	l.refused("/", "not one of this bottle's repositories", "clone", "-q", l.root+"/"+place, work)
	next := l.config
	granted := l.config.Repositories[0]
	granted.Name, granted.Places, granted.Push = place, []string{place}, policy.Push{}
	granted.Upstream = strings.Replace(l.address(), l.upstream, tools, 1)
	granted.More = []requests.PushGrant{pushes("t-1", 0, "refs/heads/agent/**")}
	next.Repositories = append(next.Repositories[:1:1], granted)
	if err := l.server.Apply(next); err != nil {
		t.Fatal(err)
	}
	l.git("/", "clone", "-q", l.root+"/"+place+".git", work)
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	l.git(work, "push", "-q", "origin", "agent/fix")
	l.refused(work, "none of those that may be pushed", "push", "origin", "agent/fix:other")
	keys := filepath.Join(l.dir, "keys", directory(granted))
	if read(t, filepath.Join(keys, "key")) == "" {
		t.Fatal("it has no key of its own")
	}
	if err := l.server.Apply(l.config); err != nil {
		t.Fatal(err)
	}
	l.refused(work, "not one of this bottle's repositories", "fetch")
	l.refused(work, "not one of this bottle's repositories", "push", "origin", "HEAD:agent/more")
	if found, _ := filepath.Glob(filepath.Join(keys, "*")); len(found) > 0 {
		t.Errorf("its credential is still there: %v", found)
	}
	l.git("/", "ls-remote", l.url) // the others are as they were
}

// A push that waited for the operator uses up the grant that its ref was granted by, as any
// other does: or what was granted once would be pushed twice.
func TestAttackG3_AHeldPushIsAUse(t *testing.T) {
	l := newLab(t)
	l.grant(pushes("t-1", 1, "refs/heads/fix"))
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	head := l.commit(work, ".github/workflows/ci.yml", "on: push\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "fix")
	l.hook("pre-receive", "#!/bin/sh\nexit 1\n")
	if r := l.desk.decide(t, true); !strings.Contains(r.Decided.Result, "declined") { // was no use
		t.Fatalf("it became %q", r.Decided.Result)
	}
	l.hook("pre-receive", "#!/bin/sh\nexit 0\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "fix")
	if r := l.desk.decide(t, true); r.Decided.Result != control.Forwarded || l.theirs("refs/heads/fix") != head {
		t.Fatalf("it became %q", r.Decided.Result)
	}
	if got := l.used("t-1"); got != 1 {
		t.Errorf("the log has %d uses of the grant, want 1:\n%s", got, l.events)
	}
	l.commit(work, "main.go", "package main\n")
	l.refused(work, "none of those that may be pushed", "push", "origin", "fix")
}

// What the operator approves is pushed though the grant that its ref was granted by has ended
// meanwhile: this very push was shown.
func TestAHeldPushOutlivesItsGrant(t *testing.T) {
	l := newLab(t)
	l.grant(pushes("t-1", 0, "refs/heads/fix"))
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	head := l.commit(work, ".github/workflows/ci.yml", "on: push\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "fix")
	l.grant()
	if r := l.desk.decide(t, true); r.Decided.Result != control.Forwarded || l.theirs("refs/heads/fix") != head {
		t.Errorf("it became %q", r.Decided.Result)
	}
}

// The same commit waits for two repositories: these are two pushes, and two decisions.
func TestAHeldPushIsOfOneRepository(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		c.Repositories[0].Push.Hold = true
		other := c.Repositories[0]
		other.Name, other.Places = "other", []string{"other"}
		c.Repositories = append(c.Repositories, other)
	})
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	l.refused(work, "the operator decides it as t-1", "push", "origin", "agent/fix")
	l.refused(work, "the operator decides it as t-2", "push", l.root+"/other.git", "agent/fix")
}

// A push waits, and the repository's name leads elsewhere by the time it is approved: it goes
// where it was shown to go, or nowhere.
func TestAttackG2_AHeldPushGoesNowhereElse(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "agent/fix")
	other := filepath.Join(l.dir, "other.git")
	l.git("/", "clone", "-q", "--bare", l.upstream, other)
	next := l.config
	next.Repositories = []control.GitRepository{l.config.Repositories[0]}
	next.Repositories[0].Upstream = strings.Replace(l.address(), l.upstream, other, 1)
	if err := l.server.Apply(next); err != nil {
		t.Fatal(err)
	}
	if r := l.desk.decide(t, true); r.Decided.Result != "the repository is not declared any more" {
		t.Errorf("it became %q", r.Decided.Result)
	}
	for _, dir := range []string{l.upstream, other} {
		if refs := l.git(dir, "for-each-ref", "refs/heads/agent"); refs != "" {
			t.Errorf("%s has %s", dir, refs)
		}
	}
	all := l.pushes()
	if last := all[len(all)-1]; last.Decision != audit.Deny || last.Request != "t-1" || last.Repository != "widget" || len(last.Updates) != 1 || last.Reason != "approved as t-1: the repository is not declared any more" {
		t.Errorf("the log has %+v", last)
	}
}

// A repository is taken away while somebody is fetching from it and pushing to it: both end at once,
// and are not waited for.
func TestAttackG13_WhatIsOpenEndsWithItsRepository(t *testing.T) {
	l := newLab(t)
	l.clone()
	conns := []net.Conn{l.begin(receivePack, 1000, "00"), l.begin(uploadPack, 1000, "00")}
	for l.server.places.inUse() < len(conns) { // the test's own end bounds that
		time.Sleep(time.Millisecond)
	}
	if err := l.server.Apply(control.GitConfig{}); err != nil {
		t.Fatal(err)
	}
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(stallTimeout / 2))
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it is still open")
		}
	}
	l.empty("after the repository")
}

// Somebody else pushes what waits for the operator. It is there when it is approved, and no grant has let it through:
// none is used up.
func TestWhatSomebodyElsePushedIsNoUse(t *testing.T) {
	l := newLab(t)
	l.grant(pushes("t-9", 1, "refs/heads/fix"))
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	l.commit(work, ".github/workflows/ci.yml", "on: push\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "fix")
	l.git(work, "push", "-q", l.upstream, "fix")
	if r := l.desk.decide(t, true); r.Decided.Result != control.Forwarded {
		t.Fatalf("it became %q", r.Decided.Result)
	}
	if strings.Contains(l.events.String(), `"grant":"t-9"`) {
		t.Errorf("the log has a use of the grant:\n%s", l.events)
	}
	l.commit(work, "main.go", "package main\n")
	l.git(work, "push", "-q", "origin", "fix")
}
