//go:build linux

package bundle

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// gated is a bundle without a repository, whose agent may ask for one.
func gated(t *testing.T, known ...requests.Request) *running {
	t.Helper()
	c := config(t)
	c.Supervise, c.Requests, c.Git = true, known, &control.GitConfig{Bottle: "dev-abcdef"}
	r := launch(t, self(t), c)
	r.awaitReady(t)
	return r
}

// gate reports whether the gate runs, and whether the bottle finds its socket.
func (r *running) gate(t *testing.T) (runs, found bool) {
	t.Helper()
	runs = slices.ContainsFunc(children(t), func(pid int) bool {
		command, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		return strings.Contains(string(command), "sidecar\x00git-gate")
	})
	_, err := os.Stat(filepath.Join(r.dir, "git-gate.sock"))
	return runs, err == nil
}

func (r *running) askGit(t *testing.T, repository string, refs ...string) string {
	t.Helper()
	var asked requests.Request
	if text, failed := call(t, r.agent(t), "request_git", object{"repository": repository, "refs": refs, "why": "x"}, &asked); failed {
		t.Fatal(text)
	}
	return asked.ID
}

// A bottle without a repository has no gate. With the first one that is granted it is started, and knows
// it; with the next it is told. One that cannot be started grants nothing, and can be tried again.
func TestTheGateStartsWithItsFirstRepository(t *testing.T) {
	r := gated(t)
	if runs, found := r.gate(t); runs || found {
		t.Fatalf("before: it runs %v, its socket is there %v", runs, found)
	}
	broken := r.askGit(t, "https://broken.example/acme/widget")
	shown := r.request(t, broken)
	for range 2 {
		_, err := r.operate().Decide(t.Context(), broken, requests.Decision{Digest: shown.Digest, Approve: true})
		if err == nil || !strings.Contains(err.Error(), "it is broken") || r.request(t, broken).State != requests.Pending {
			t.Errorf("a gate that cannot be started: got %v, %+v", err, r.request(t, broken))
		}
	}
	if runs, found := r.gate(t); runs || found {
		t.Error("it is there with nothing granted")
	}
	r.approve(t, r.askGit(t, "https://git.example/acme/one"), requests.Scope{For: policy.Span(time.Hour)})
	if runs, found := r.gate(t); !runs || !found {
		t.Errorf("it runs %v, its socket is there %v", runs, found)
	}
	r.says(t, "begins with", "acme/one")
	second := r.askGit(t, "https://git.example/acme/two")
	r.approve(t, second, requests.Scope{})
	r.says(t, "goes on with", "acme/two")
	rewrites := func() string {
		data, _ := os.ReadFile(filepath.Join(r.dir, control.GitRewrites))
		return string(data)
	}
	if !strings.Contains(rewrites(), "acme/one") || !strings.Contains(rewrites(), "acme/two") {
		t.Errorf("git in the bottle is not led to them: %s", rewrites())
	}
	if _, err := r.operate().Revoke(t.Context(), second); err != nil || strings.Contains(rewrites(), "acme/two") {
		t.Errorf("taken back: %v, %s", err, rewrites())
	}
}

// A bottle that is resumed with a repository that is still granted has its gate from the start.
func TestAResumedBottleHasItsGate(t *testing.T) {
	r := gated(t)
	id := r.askGit(t, "https://git.example/acme/one")
	r.approve(t, id, requests.Scope{For: policy.Span(time.Hour)})
	again := gated(t, r.request(t, id).Request)
	if runs, found := again.gate(t); !runs || !found {
		t.Errorf("it runs %v, its socket is there %v", runs, found)
	}
	again.says(t, "begins with", "acme/one")
}

// Beside a machine, whose sockets are all there from the start, a gate is behind its own as soon as
// there may be a repository, and none where there may not.
func TestBesideAMachineTheGateIsThereFromTheStart(t *testing.T) {
	c := config(t)
	has := func(onHost bool) bool {
		return slices.ContainsFunc(parts(c, onHost), func(p part) bool { return p.name == control.GitGate })
	}
	if has(true) || has(false) {
		t.Error("a bottle that may have no repository has a gate")
	}
	c.Supervise, c.Git = true, &control.GitConfig{Bottle: "dev-abcdef"}
	if !has(true) || has(false) {
		t.Errorf("got %v on a host, %v in a container", has(true), has(false))
	}
}

// ATTACK F5: the operator gives the bottle a credential while it works, or replaces one. An upstream echoes
// it, and the agent pushes it. The gate looks for it as for those that it began with, which it goes on to
// look for.
func TestAttackF5_TheGateLooksForWhatIsNew(t *testing.T) {
	c := config(t)
	c.Supervise, c.Git = true, &control.GitConfig{Bottle: "dev-abcdef", Known: slices.Clone(c.Egress.Secrets)}
	r := launch(t, self(t), c)
	r.awaitReady(t)
	r.approve(t, r.askGit(t, "https://git.example/acme/one"), requests.Scope{For: policy.Span(time.Hour)})
	first := c.Egress.Secrets[0]
	r.says(t, first.Value)
	if err := r.operate().SetSecrets(t.Context(), []control.NewValue{{Name: first.Name, Value: "replaced-REALrealREAL-0123"}}); err != nil {
		t.Fatal(err)
	}
	r.says(t, "replaced-REALrealREAL-0123", first.Value)
	var asked requests.Request
	if text, failed := call(t, r.agent(t), "request_secret", object{"name": "DEPLOY_TOKEN", "host": "deploy.example", "scheme": "bearer", "why": "x"}, &asked); failed {
		t.Fatal(text)
	}
	shown := r.request(t, asked.ID)
	if _, err := r.operate().Decide(t.Context(), shown.ID, requests.Decision{Digest: shown.Digest, Approve: true, Secret: "supplied-REALrealREAL-0123"}); err != nil {
		t.Fatal(err)
	}
	r.says(t, "supplied-REALrealREAL-0123", "replaced-REALrealREAL-0123")
	if _, err := r.operate().Revoke(t.Context(), shown.ID); err != nil {
		t.Fatal(err)
	}
	r.approve(t, r.askGit(t, "https://git.example/acme/two"), requests.Scope{}) // the gate hears of its configuration again
	r.says(t, "acme/two", "supplied-REALrealREAL-0123")
}
