package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/test/sshd"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// gitHouse is a lab with a real sshd in front of a bare repository, which the bottles of
// agent "committer" may use.
type gitHouse struct {
	house
	upstream string
	ssh      *sshd.Server
	declared string // the repository, in a bottle's front matter
}

func gatewayName() string { return upstreamHost }

func openGit(t *testing.T, o standin.Options, push string) gitHouse {
	t.Helper()
	return withGit(open(t, o), push)
}

// withGit adds the upstream, and the agent.
func withGit(of house, push string) gitHouse {
	t, h := of.t, gitHouse{house: of}
	t.Helper()
	h.sleeper()
	root := t.TempDir()
	h.upstream = filepath.Join(root, "acme", "widget.git")
	seed := filepath.Join(root, "seed")
	for _, args := range [][]string{
		{"init", "-q", "--bare", "-b", "main", h.upstream}, {"init", "-q", "-b", "main", seed},
		{"-C", seed, "commit", "-q", "--allow-empty", "-m", "the beginning"}, {"-C", seed, "push", "-q", h.upstream, "main"},
	} {
		if out, err := gitCommand(t.Context(), args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	gateway, _, err := net.SplitHostPort(h.Standin.Address)
	if err != nil {
		t.Fatal(err)
	}
	if h.ssh, err = sshd.Start(t.TempDir(), gateway); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.ssh.Close)
	known := filepath.Join(root, "known_hosts")
	if err := os.WriteFile(known, []byte(h.ssh.KnownHosts(gatewayName())), 0o600); err != nil {
		t.Fatal(err)
	}
	h.declared = fmt.Sprintf("git:\n  - name: widget\n    upstream: %s\n    identity_file: %s\n    known_hosts: %s\n    push: {%s}\n",
		h.ssh.URL(gatewayName(), h.upstream), h.ssh.KeyFile, known, push)
	for name, content := range map[string]string{
		"bottles/git.md":      "---\nextends: sleeper\nsupervise: true\n" + h.declared + "---\n",
		"agents/committer.md": "---\nbottle: git\ngit_identity: {name: Committer, email: committer@acme.example}\n---\n",
	} {
		if err := h.Write(name, content); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// start starts a bottle that ends with the test.
func (h gitHouse) start(args ...string) string {
	h.t.Helper()
	identity := strings.TrimSpace(h.run(0, "", append([]string{"start", "-y", "--detach", "--rm", "committer"}, args...)...).Stdout)
	h.removeAtEnd(identity)
	return identity
}

// theirs is what a ref is upstream, "" for none.
func (h gitHouse) theirs(ref string) string {
	h.t.Helper()
	out, _ := gitCommand(h.t.Context(), "-C", h.upstream, "rev-parse", "--verify", "--quiet", ref).Output()
	return strings.TrimSpace(string(out))
}

// sh runs a script in the bottle as its user.
func (h gitHouse) sh(want int, identity, script string) string {
	h.t.Helper()
	r := h.run(want, "", "exec", identity, "--", "sh", "-c", script)
	return r.Stdout + r.Stderr
}

// In a bottle, plain git clones, fetches and pushes under the upstream's usual URLs, and
// neither a key nor a way round the gate is there.
func TestGitThroughTheGate(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"]`)
	identity := h.start()
	url := h.ssh.URL(gatewayName(), h.upstream)
	out := h.sh(0, identity, "cd /workspace && git clone -q "+url+" widget && cd widget && git checkout -q -b agent/fix && echo hi > hi && git add hi && git commit -q -m hi && git push origin agent/fix && git rev-parse HEAD && git log -1 --format=%ae")
	head := h.theirs("refs/heads/agent/fix")
	if head == "" || !strings.Contains(out, head) || !strings.Contains(out, "committer@acme.example") || !strings.Contains(out, "checked 1 commit") {
		t.Errorf("upstream has %q: %s", head, out)
	}
	for _, spelling := range []string{
		url + ".git", strings.TrimSuffix(url, ".git"), "https://" + gatewayName() + h.upstream, "git@" + gatewayName() + ":" + h.upstream, gatewayName() + ":" + strings.TrimSuffix(h.upstream, ".git"),
	} {
		if out := h.sh(0, identity, "git ls-remote '"+strings.ReplaceAll(spelling, ".git.git", ".git")+"'"); !strings.Contains(out, head) {
			t.Errorf("%s: %s", spelling, out)
		}
	}
	for script, want := range map[string]string{
		"git ls-remote ssh://git@" + gatewayName() + "/other/repo.git":                                                     "not one of its own",
		"git ls-remote http://127.0.0.1:9418/other/repo.git":                                                               "request_git",
		"cd /workspace/widget && git push origin HEAD:main":                                                                "none of those that may be pushed",
		"cd /workspace/widget && git push origin HEAD:refs/for/main":                                                       "only branches",
		"cd /workspace/widget && git push --force origin HEAD~1:agent/fix":                                                 "history may not be rewritten",
		"cd /workspace/widget && git push origin :agent/fix":                                                               "may not be deleted",
		"cd /workspace/widget && git commit -q --amend --author 'Op <op@x.example>' -m x && git push origin HEAD:agent/op": "is by Op",
	} {
		r, err := h.Run(t.Context(), nil, "exec", identity, "--", "sh", "-c", script)
		if err != nil || r.Code == 0 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: status %d, %v: %s", script, r.Code, err, r.Stderr)
		}
	}
	if found := h.inside(identity, "env; cat /proc/*/environ /etc/gitconfig; find / -xdev -name '*id_*' -o -xdev -name known_hosts -not -path '/proc/*' 2>/dev/null | head; grep -rl 'PRIVATE KEY' /home /etc /run /workspace /opt 2>/dev/null").Stdout; strings.Contains(found, "PRIVATE KEY") || strings.Contains(found, h.ssh.KeyFile) {
		t.Errorf("the bottle has a key: %s", found)
	}
	h.run(0, "", "logs", identity, "--verify")
	log := h.run(0, "", "logs", identity, "--json").Stdout
	for _, want := range []string{`"event":"push"`, `"event":"fetch"`, head, `"decision":"deny"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s: %s", want, log)
		}
	}
}

// A push that waits is shown with its commits and diff, and approved from another process.
func TestHeldPushIsApproved(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"], mode: hold`)
	identity := h.start()
	out := h.run(1, "", "exec", identity, "--", "sh", "-c", "cd /workspace && git clone -q "+h.ssh.URL(gatewayName(), h.upstream)+" widget && cd widget && git checkout -q -b agent/fix && echo held-content > hi && git add hi && git commit -q -m 'say hi' && git push origin agent/fix").Stderr
	if !strings.Contains(out, "NOT PUSHED YET") || h.theirs("refs/heads/agent/fix") != "" {
		t.Fatalf("it is not held: %s", out)
	}
	shown := h.run(0, "", "requests").Stdout
	for _, want := range []string{"refs/heads/agent/fix", "say hi", "Committer <committer@acme.example>"} {
		if !strings.Contains(shown, want) {
			t.Errorf("what is shown lacks %q: %s", want, shown)
		}
	}
	_, suffix, _ := strings.Cut(identity, "-")
	id := suffix + "-1"
	if diff := h.run(0, "", "requests", "--diff", id).Stdout; !strings.Contains(diff, "+held-content") {
		t.Errorf("the diff is %s", diff)
	}
	if said := h.run(0, "", "approve", id, "-y"); !strings.Contains(said.Stderr+said.Stdout, "forwarded") {
		t.Errorf("approve says %s %s", said.Stdout, said.Stderr)
	}
	if h.theirs("refs/heads/agent/fix") == "" {
		t.Error("what was approved is not upstream")
	}
	if log := h.run(0, "", "logs", identity).Stdout; !strings.Contains(log, "forwarded") {
		t.Errorf("the log: %s", log)
	}
}

// With --cwd --dirty the repository at hand is in the workspace as it is here, and its
// remote leads to the gate.
func TestCwdWorksOnTheGate(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"]`)
	here := filepath.Join(t.TempDir(), "widget")
	for _, args := range [][]string{
		{"clone", "-q", h.upstream, here}, {"-C", here, "remote", "set-url", "origin", h.ssh.URL(gatewayName(), h.upstream)},
		{"-C", here, "remote", "add", "private", "https://token@elsewhere.example/x"}, {"-C", here, "checkout", "-q", "-b", "agent/here"},
	} {
		if out, err := gitCommand(t.Context(), args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	for name, content := range map[string]string{"tracked": "one\n", "untracked": "two\n"} {
		if err := os.WriteFile(filepath.Join(here, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := gitCommand(t.Context(), "-C", here, "add", "tracked").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(here, "tracked"), []byte("one and more\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := h.Command(t.Context(), "start", "-y", "--detach", "--rm", "--cwd", "--dirty", "committer")
	c.Dir = here
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	identity := strings.TrimSpace(string(out))
	h.removeAtEnd(identity)
	got := h.sh(0, identity, "cd /workspace && until test ! -e .git/bot-bottle-checkout; do sleep 0.1; done; git status --porcelain --branch; git remote; cat tracked; git commit -q -a -m mine && git push origin HEAD 2>&1; git fetch -q && git branch -r")
	for _, want := range []string{"## agent/here\nAM tracked\n", "\norigin\none and more\n", "checked 1 commit", "origin/main", "origin/agent/here"} {
		if !strings.Contains(got, want) {
			t.Errorf("the workspace lacks %q: %s", want, got)
		}
	}
	if h.theirs("refs/heads/agent/here") == "" {
		t.Error("what was pushed is not upstream")
	}
}

// What an agent committed is pulled into the repository at hand, from a bottle that runs and
// from one that has ended.
func TestPull(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, "")
	here := filepath.Join(t.TempDir(), "widget")
	if out, err := gitCommand(t.Context(), "clone", "-q", h.upstream, here).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	at := func(args ...string) string {
		t.Helper()
		c := h.Command(t.Context(), args...)
		c.Dir = here
		var stderr strings.Builder
		c.Stderr = &stderr
		out, err := c.Output()
		if err != nil {
			t.Fatalf("bot-bottle %v: %v: %s", args, err, stderr.String())
		}
		return string(out) + stderr.String()
	}
	identity := strings.TrimSpace(strings.Split(at("start", "-y", "--detach", "--cwd", "committer"), "\n")[0])
	h.removeAtEnd(identity)
	h.sh(0, identity, "cd /workspace && until test ! -e .git/bot-bottle-checkout; do sleep 0.1; done; git checkout -q -b fix && echo hi > hi && git add hi && git commit -q -m 'say hi'")
	if out := at("pull", identity); !strings.Contains(out, "refs/bottles/"+identity+"/fix") || !strings.Contains(out, "say hi") || !strings.Contains(out, "hi | 1 +") {
		t.Errorf("got %s", out)
	}
	h.sh(0, identity, "cd /workspace && git commit -q --allow-empty -m 'the last one'")
	h.run(0, "", "stop", identity)
	if out := at("pull", identity, "--json"); !strings.Contains(out, "the last one") {
		t.Errorf("got %s", out)
	}
	if out := at("pull", identity, "--path", "/workspace"); !strings.Contains(out, "has nothing new") {
		t.Errorf("got %s", out)
	}
	if out, err := gitCommand(t.Context(), "-C", here, "log", "--format=%s", "refs/bottles/"+identity+"/fix").Output(); err != nil || !strings.HasPrefix(string(out), "the last one\nsay hi\n") {
		t.Errorf("got %s, %v", out, err)
	}
	c := h.Command(t.Context(), "pull", identity, "--path", "elsewhere")
	c.Dir = here
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "there is no repository at /workspace/elsewhere in the bottle: say where it is with --path") {
		t.Errorf("got %s, %v", out, err)
	}
}

// An agent is refused a repository, asks for it as the refusal says, and has it once the
// operator has approved, under its usual URL in the bottle that runs; and not any more once
// that is taken back.
func TestARepositoryIsAskedForAndGranted(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"]`)
	tools := filepath.Join(filepath.Dir(h.upstream), "tools.git")
	if out, err := gitCommand(t.Context(), "clone", "-q", "--bare", h.upstream, tools).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	identity, url := h.start(), h.ssh.URL(gatewayName(), tools)
	said := h.sh(128, identity, "git ls-remote "+url)
	call := regexp.MustCompile(`request_git of the MCP server "operator" with \{"repository":"([^"]+)"\}`).FindStringSubmatch(said)
	if call == nil {
		t.Fatalf("the refusal does not say how to ask: %s", said)
	}
	asked := h.asked(h.tool(identity, "request_git", `{"repository":"`+call[1]+`","refs":["agent/**"],"why":"x"}`))
	if r := h.run(0, "", "requests"); !strings.Contains(r.Stdout, "with the credential of widget") || !strings.Contains(r.Stdout, "would be used at another repository") {
		t.Errorf("shown: %s", r.Stdout)
	}
	h.run(0, "", "approve", asked, "-y", "--for", "1h")
	h.sh(0, identity, "cd /workspace && git clone -q "+url+" tools && cd tools && git checkout -q -b agent/fix && git commit -q --allow-empty -m fix && git push -q origin agent/fix && git ls-remote "+url)
	if out, err := gitCommand(t.Context(), "-C", tools, "rev-parse", "--verify", "agent/fix").CombinedOutput(); err != nil {
		t.Errorf("upstream has no agent/fix: %s", out)
	}
	if got := h.tool(identity, "list_policy", "{}"); !strings.Contains(got, "granted as "+asked) {
		t.Errorf("list_policy: %s", got)
	}
	h.run(0, "", "revoke", asked)
	h.sh(128, identity, "git ls-remote "+url)
	h.sh(1, identity, "cd /workspace/tools && git push origin HEAD:agent/more 2>&1 | grep -q 'not one of' && exit 1")

	refs := h.asked(h.tool(identity, "request_git", `{"repository":"widget","refs":["fix"],"why":"x"}`))
	h.run(0, "", "approve", refs, "-y", "--once")
	h.sh(0, identity, "cd /workspace && git clone -q "+h.ssh.URL(gatewayName(), h.upstream)+" widget && cd widget && git commit -q --allow-empty -m fix && git push -q origin HEAD:fix")
	if h.theirs("refs/heads/fix") == "" {
		t.Error("a granted ref was not pushed")
	}
	h.sh(1, identity, "cd /workspace/widget && git commit -q --allow-empty -m more && git push origin HEAD:fix")
	h.run(0, "", "logs", identity, "--verify")
}

// A bottle without a repository has no gate until it is granted one. Before that, git says how to ask;
// after it, plain git works under the usual URL, also once the bottle was stopped and resumed.
func TestTheFirstRepositoryStartsTheGate(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"]`)
	if err := h.Write("bottles/git.md", "---\nextends: sleeper\nsupervise: true\n---\n"); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(home, ".ssh"), 0o700), os.WriteFile(filepath.Join(home, ".ssh", "known_hosts"), []byte(h.ssh.KnownHosts(gatewayName())), 0o600)); err != nil {
		t.Fatal(err)
	}
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "committer").Stdout)
	h.removeAtEnd(identity)
	defer h.run(0, "", "rm", "--force", identity)
	always := h.on == smolvm // a supervised bottle in a machine has its gate from the start
	running := func() bool {
		if always {
			return h.bundleRuns(identity, "git-gate")
		}
		top, err := h.Engine.ContainerTop(t.Context(), "bot-bottle-"+identity+"-sidecar", client.ContainerTopOptions{Arguments: []string{"-eo", "pid,args"}})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(fmt.Sprint(top.Processes), "sidecar git-gate")
	}
	listed := func(when string, want ...control.Service) {
		t.Helper()
		var all []bottle.ActiveAgent
		if err := json.Unmarshal([]byte(h.run(0, "", "list", "--json").Stdout), &all); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(a bottle.ActiveAgent) bool { return a.Slug == identity })
		if i < 0 || !slices.Equal(all[i].Services, want) {
			t.Errorf("%s: listed are %+v, want %v", when, all, want)
		}
	}
	ungated, gated := []control.Service{control.Egress, control.Supervise}, []control.Service{control.Egress, control.GitGate, control.Supervise}
	if always {
		ungated = gated
	}
	listed("before", ungated...)
	url := h.ssh.URL(gatewayName(), h.upstream)
	if said := h.sh(128, identity, "git ls-remote http://127.0.0.1:9418/acme/widget"); running() != always || !strings.Contains(said, "call request_git") {
		t.Errorf("before: the gate runs %v: %s", running(), said)
	}
	asked := h.asked(h.tool(identity, "request_git", `{"repository":"`+url+`","refs":["agent/**"],"why":"x"}`))
	approve := h.Command(t.Context(), "approve", asked, "-y", "--for", "1h", "--key-from", h.ssh.KeyFile)
	approve.Env = append(approve.Env, "HOME="+home)
	if out, err := approve.CombinedOutput(); err != nil || !running() {
		t.Fatalf("%v: %s", err, out)
	}
	listed("granted", gated...)
	h.sh(0, identity, "cd /workspace && git clone -q "+url+" widget && cd widget && git checkout -q -b agent/fix && git commit -q --allow-empty -m fix && git push -q origin agent/fix")
	if h.theirs("refs/heads/agent/fix") == "" {
		t.Error("upstream has no agent/fix")
	}
	h.run(0, "", "revoke", asked)
	h.sh(128, identity, "git ls-remote "+url)
	h.run(0, "", "stop", identity)
	h.run(0, "", "resume", "-y", "--detach", identity)
	if running() != always {
		t.Error("it is resumed with a gate for nothing, or without one")
	}
	listed("resumed", ungated...)
	h.run(0, "", "logs", identity, "--verify")
}
