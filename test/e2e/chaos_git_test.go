package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/test/lab"
)

// outgoing is what one bottle of the chaos pushes, and what may be upstream because of it.
type outgoing struct {
	*gitHouse
	refs   []string            // that are pushed, together or only the first
	at     map[string]string   // what each was known to be at last, "" for nothing
	may    map[string][]string // what else it may be at
	pairs  []map[string]string // what was pushed to both refs: to be there at both, or at none
	leaked []string            // commits with a secret
	told   map[string]bool     // requests that the agent was told of
	yes    map[string]int      // how often what is pushed was approved, by object id; nil where nothing waits
	n      int
}

// committers are agents whose pushes go upstream, or wait. The upstream takes its time, so that some
// instants are in the middle of it, and notes every change of its refs.
func (h house) committers() *gitHouse {
	h.t.Helper()
	g := withGit(h, `refs: ["refs/heads/agent/**"]`)
	hooks := filepath.Join(g.upstream, "hooks")
	if err := errors.Join(
		h.Write("bottles/hold.md", "---\nextends: sleeper\nsupervise: true\n"+strings.Replace(g.declared, "push: {", "push: {mode: hold, ", 1)+"---\n"),
		h.Write("agents/holder.md", "---\nbottle: hold\ngit_identity: {name: Holder, email: holder@acme.example}\n---\n"),
		os.MkdirAll(hooks, 0o755), os.WriteFile(filepath.Join(hooks, "pre-receive"), []byte("#!/bin/sh\nsleep 0.2\n"), 0o755),
		os.WriteFile(filepath.Join(hooks, "reference-transaction"), []byte("#!/bin/sh\ntest \"$1\" != committed || cat >> '"+g.arrived()+"'\n"), 0o755),
		os.WriteFile(g.arrived(), nil, 0o600),
	); err != nil {
		h.t.Fatal(err)
	}
	return &g
}

// arrived is where the upstream notes what its refs were and are.
func (h gitHouse) arrived() string { return h.upstream + ".arrived" }

// git runs git in the upstream.
func (h gitHouse) git(args ...string) string {
	h.t.Helper()
	out, err := gitCommand(h.t.Context(), append([]string{"-C", h.upstream}, args...)...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// clone makes the clone in which a bottle's agent works.
func (c *chaos) clone(identity string) {
	c.t.Helper()
	if c.pushed = nil; c.upstream == nil || c.agent != "committer" && c.agent != "holder" {
		return
	}
	p := &outgoing{gitHouse: c.upstream, may: map[string][]string{}, at: map[string]string{}, told: map[string]bool{}}
	for _, part := range []string{"a", "b"} {
		p.refs = append(p.refs, "refs/heads/agent/"+identity+"-"+part)
	}
	if c.agent == "holder" {
		p.yes = map[string]int{}
	}
	c.must("clone", "exec", identity, "--", "git", "clone", "-q", p.ssh.URL(gatewayName(), p.gitHouse.upstream), "/workspace/widget")
	c.pushed = p
}

// beside is a verb that goes on while something else fails. It is not of those that the engine fails.
func (c *chaos) beside(stdin string, args ...string) (ended chan lab.Result) {
	ended = make(chan lab.Result, 1)
	go func() {
		r, err := c.upstream.Run(context.WithoutCancel(c.t.Context()), strings.NewReader(stdin), args...)
		if err != nil {
			r = lab.Result{Code: -1, Stderr: err.Error()}
		}
		ended <- r
	}()
	return ended
}

// commit makes what is to be pushed in the bottle, by ref; nil if the bottle has ended. No two refs are at the
// same: the gate does not take one for the other.
func (c *chaos) commit(identity string, refs []string) map[string]string {
	c.pushed.n++
	script := fmt.Sprintf("cd /workspace/widget && rm -f .git/*.lock .git/refs/heads/*.lock && git commit -q --allow-empty -m 'before %[1]d' && { seq 30000; echo %[1]d; } > numbers && git add numbers && git commit -q -m 'number %[1]d' && git rev-parse HEAD HEAD^", c.pushed.n)
	r := c.run0("exec", identity, "--", "sh", "-c", script)
	if r.Code != 0 {
		c.say("no commit: status %d", r.Code)
		return nil
	}
	made := map[string]string{}
	for i, id := range strings.Fields(r.Stdout)[:len(refs)] {
		made[refs[i]] = id
	}
	if len(refs) == 2 {
		c.pushed.pairs = append(c.pushed.pairs, made)
	}
	return made
}

// pushOf is what the agent runs to push something.
func pushOf(made map[string]string) []string {
	script := "cd /workspace/widget && timeout 180 git push origin"
	for ref, id := range made {
		script += " " + id + ":" + ref
	}
	return []string{"sh", "-c", script + " 2>&1"}
}

// pushing has the agent push while something dies, and then the operator approve it while something else does.
func (c *chaos) pushing(identity string) {
	if c.dice.IntN(4) == 0 {
		c.leak(identity)
		return
	}
	made := c.commit(identity, c.pushed.refs[:1+c.dice.IntN(2)])
	for ref, id := range made {
		c.pushed.may[ref] = append(c.pushed.may[ref], id)
	}
	if made == nil {
		return
	}
	ended := c.beside("", append([]string{"exec", identity, "--"}, pushOf(made)...)...)
	if c.pushed.yes == nil || c.dice.IntN(2) == 0 {
		c.die(identity)
	}
	c.heard(<-ended, made)
	if c.pushed.yes != nil {
		c.approving(identity)
	}
}

// heard takes in what the agent was told of its push.
func (c *chaos) heard(r lab.Result, made map[string]string) {
	c.t.Helper()
	c.say("push of %d refs: status %d %s", len(made), r.Code, lastLines(r.Stdout))
	switch {
	case r.Code == 124:
		c.fail("git push does not end: %s", r.Stdout)
	case r.Code == 0 && c.pushed.yes != nil:
		c.fail("a push that has to wait did not: %s", r.Stdout)
	case r.Code == 0:
		c.now(made)
	}
	if _, after, ok := strings.Cut(r.Stdout, "the operator decides it as "); ok {
		c.pushed.told[strings.Fields(after)[0]] = true
	}
}

// now notes what refs are said to be at.
func (c *chaos) now(made map[string]string) {
	c.t.Helper()
	for ref, id := range made {
		if got := c.pushed.theirs(ref); got != id {
			c.fail("%s is said to be pushed as %s, and is at %s", ref, id, got)
		}
		c.pushed.at[ref], c.pushed.may[ref] = id, nil
	}
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-2):], " / ")
}

// leak has the agent push the bottle's own key, which it cannot have, while something dies.
func (c *chaos) leak(identity string) {
	r := <-c.beside(c.Key, "exec", identity, "--", "sh", "-c", "cd /workspace/widget && rm -f .git/*.lock && git checkout -q --detach && cat > key && git add key && git commit -q -m key && git rev-parse HEAD && git checkout -q main")
	if r.Code != 0 {
		return
	}
	head := strings.TrimSpace(r.Stdout)
	c.pushed.leaked = append(c.pushed.leaked, head)
	ended := c.beside("", "exec", identity, "--", "sh", "-c", "cd /workspace/widget && timeout 180 git push origin "+head+":"+c.pushed.refs[0]+" "+head+":"+c.pushed.refs[0]+"-leak 2>&1")
	c.die(identity)
	r = <-ended
	c.say("push of the key: status %d %s", r.Code, lastLines(r.Stdout))
	if r.Code == 0 || r.Code == 124 {
		c.fail("a secret was pushed: status %d: %s", r.Code, r.Stdout)
	}
}

// waiting are the pushes of a bottle on record, by id.
func (c *chaos) waiting() map[string]requests.Shown {
	c.t.Helper()
	var all []requests.Shown
	r := c.must("requests", "requests", "--all", "--json")
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil {
		c.fail("requests: %v: %s", err, r.Stdout)
	}
	found := map[string]requests.Shown{}
	for _, s := range all {
		if s.Kind == requests.Pushing {
			found[s.ID] = s
		}
	}
	return found
}

// approving approves what waits, while something dies.
func (c *chaos) approving(identity string) {
	all := c.waiting()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		s := all[id]
		if s.State != requests.Pending {
			continue
		}
		for _, u := range s.Push.Updates {
			c.pushed.yes[u.New]++
		}
		ended := c.beside("", "approve", id, "-y")
		c.die(identity)
		r := <-ended
		c.say("approve %s: status %d %s", id, r.Code, lastLines(r.Stdout+r.Stderr))
		if r.Code == 0 && strings.Contains(r.Stdout+r.Stderr, "forwarded") {
			c.now(madeOf(s))
		}
	}
}

func madeOf(s requests.Shown) map[string]string {
	made := map[string]string{}
	for _, u := range s.Push.Updates {
		made[u.Ref] = u.New
	}
	return made
}

// die lets something of a bottle die at some instant of a push.
func (c *chaos) die(identity string) {
	if c.dice.IntN(4) == 0 {
		time.Sleep(time.Duration(c.dice.IntN(700)) * time.Millisecond)
		if c.dice.IntN(2) == 0 {
			c.say("the upstream hangs up")
			c.upstream.ssh.Drop()
			return
		}
		c.strike(identity)
		return
	}
	victims := []string{"sidecar git-gate", "sidecar supervise", "sidecar egress", "git index-pack", "git receive-pack", "git cat-file", "git rev-list", "git push", "git send-pack", "ssh ", "sidecar git-hook", "sidecar git-gate"}
	c.killWhenThere(identity, victims[c.dice.IntN(len(victims))], time.Duration(c.dice.IntN(60))*time.Millisecond)
}

// killWhenThere waits for a process of a bundle's, and kills it some time later.
func (c *chaos) killWhenThere(identity, what string, later time.Duration) {
	found, err := c.Engine.ContainerInspect(c.t.Context(), "bot-bottle-"+identity+"-sidecar", client.ContainerInspectOptions{})
	if err != nil || found.Container.State.Pid == 0 {
		c.say("no bundle to kill anything of")
		return
	}
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		for _, p := range descendants(found.Container.State.Pid) {
			if strings.Contains(p.command, what) {
				time.Sleep(later)
				c.say("kill %q after %s: %v", what, later, syscall.Kill(p.pid, syscall.SIGKILL))
				return
			}
		}
	}
	c.say("no %q came", what)
}

// theirTruth looks at the upstream: it is whole, has no secret, and each ref is where it was or where it
// was pushed to.
func (c *chaos) theirTruth() {
	c.t.Helper()
	p := c.pushed
	if out, err := gitCommand(c.t.Context(), "-C", p.gitHouse.upstream, "fsck", "--full", "--strict", "--no-dangling").CombinedOutput(); err != nil {
		c.fail("the upstream is not whole: %s", out)
	}
	for _, id := range p.leaked {
		if gitCommand(c.t.Context(), "-C", p.gitHouse.upstream, "cat-file", "-e", id).Run() == nil {
			c.fail("the upstream has %s, which has a secret", id)
		}
	}
	if got := p.theirs(p.refs[0] + "-leak"); got != "" {
		c.fail("the upstream has a ref for a secret at %s", got)
	}
	for _, ref := range p.refs {
		if got := p.theirs(ref); got != p.at[ref] && !slices.Contains(p.may[ref], got) {
			c.fail("%s is at %q, neither at %q nor at one of %v", ref, got, p.at[ref], p.may[ref])
		}
	}
	one, two := p.arrivals(p.refs[0]), p.arrivals(p.refs[1])
	for _, pair := range p.pairs {
		if one[pair[p.refs[0]]] != two[pair[p.refs[1]]] {
			c.fail("of %v one was pushed", pair)
		}
	}
}

// arrivals are how often each id was pushed to a ref upstream.
func (p *outgoing) arrivals(ref string) map[string]int {
	p.t.Helper()
	noted, err := os.ReadFile(p.arrived())
	if err != nil {
		p.t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(noted)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == ref {
			times[f[1]]++
		}
	}
	return times
}

// undone takes back upstream what was pushed last, as its owner may: an approval that is used up
// brings it back no more.
func (c *chaos) undone() {
	c.t.Helper()
	p := c.pushed
	for _, ref := range p.refs {
		p.git("-c", "core.hooksPath=/dev/null", "update-ref", "-d", ref)
		p.at[ref], p.may[ref] = "", nil
	}
	c.say("taken back upstream")
}

// decidedPushes compares what is on record of pushes that wait with the upstream.
func (c *chaos) decidedPushes() {
	c.t.Helper()
	p := c.pushed
	all := c.waiting()
	for deadline := time.Now().Add(time.Minute); ; all = c.waiting() {
		onTheirWay := 0
		for _, s := range all {
			if s.OnItsWay() {
				onTheirWay++
			}
		}
		if onTheirWay == 0 {
			break
		}
		if time.Now().After(deadline) {
			c.fail("it is not told what became of an approved push: %+v", all)
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for id := range p.told {
		if _, ok := all[id]; !ok {
			c.fail("the agent was told of %s, of which nothing is on record", id)
		}
	}
	forwarded, known := map[string]int{}, map[string]bool{}
	for _, s := range all {
		for ref, id := range madeOf(s) {
			known[ref+" "+id] = true
			if s.State == requests.Approved && s.Decided.Result == requests.Forwarded {
				forwarded[ref+" "+id]++
			}
		}
	}
	for what := range known {
		ref, id, _ := strings.Cut(what, " ")
		if came := p.arrivals(ref)[id]; came > forwarded[what] || came == 0 && forwarded[what] > 0 {
			c.fail("%s of %s came %d times, and %d are on record as forwarded: %+v", id, ref, came, forwarded[what], all)
		}
	}
}

// pushesOn pushes once more, which succeeds: at once, or once it was approved.
func (c *chaos) pushesOn(identity string) {
	c.t.Helper()
	p := c.pushed
	c.theirTruth()
	if p.yes != nil {
		c.decidedPushes()
	}
	for _, ref := range p.refs {
		p.at[ref] = p.theirs(ref)
	}
	made := c.commit(identity, p.refs)
	if made == nil {
		c.fail("the agent cannot commit any more")
		return
	}
	push := append([]string{"exec", identity, "--"}, pushOf(made)...)
	r := c.run0(push...)
	if p.yes == nil {
		if r.Code != 0 {
			c.fail("the next push: status %d: %s", r.Code, r.Stdout)
			return
		}
		c.now(made)
		return
	}
	_, after, ok := strings.Cut(r.Stdout, "the operator decides it as ")
	if r.Code == 0 || !ok {
		c.fail("the next push does not wait: status %d: %s", r.Code, r.Stdout)
		return
	}
	id := strings.Fields(after)[0]
	p.told[id] = true
	for _, head := range made {
		p.yes[head]++
	}
	if r := c.must("approve", "approve", id, "-y"); !strings.Contains(r.Stdout+r.Stderr, "forwarded") {
		c.fail("approve says %s%s", r.Stdout, r.Stderr)
	}
	c.now(made)
	if c.dice.IntN(2) == 0 { // and the same once more is another push
		c.undone()
		r := c.run0(push...)
		_, after, ok := strings.Cut(r.Stdout, "the operator decides it as ")
		if r.Code == 0 || !ok || strings.Fields(after)[0] == id {
			c.fail("what was approved once does not wait: status %d: %s", r.Code, r.Stdout)
			return
		}
		p.told[strings.Fields(after)[0]] = true
		c.must("reject", "reject", strings.Fields(after)[0])
	}
	c.theirTruth()
}

// onRecord compares the log of a bottle with what came to the upstream: all of that was checked, and is
// there; and an approval is of one push.
func (c *chaos) onRecord(log string) {
	c.t.Helper()
	p := c.pushed
	said := map[string]bool{}
	for line := range strings.Lines(log) {
		var e audit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			c.fail("the log has %q: %v", line, err)
		}
		for _, u := range e.Updates {
			if e.Kind == audit.Push && e.Decision == audit.Allow {
				said[u.Ref+" "+u.New] = true
			}
		}
		if e.Kind == audit.Ask && e.Request != "" {
			said[e.Request] = true
		}
	}
	for _, ref := range p.refs {
		for id, times := range p.arrivals(ref) {
			if !said[ref+" "+id] {
				c.fail("%s was pushed to %s, which the log does not tell: %s", id, ref, log)
			}
			if p.yes != nil && times > p.yes[id] {
				c.fail("%s was approved %d times, and sent %d times", id, p.yes[id], times)
			}
		}
	}
	for id := range p.told {
		if !said[id] {
			c.fail("the agent was told of %s, of which the log has nothing: %s", id, log)
		}
	}
}

// traffic is what a bottle sends while things die, each request with a path of its own.
func (c *chaos) traffic(identity string) (stop func()) {
	if identity == "" {
		return func() {}
	}
	const script = "n=0; while test ! -e /tmp/enough-%[1]s && test $n -lt 400; do n=$((n+1)); curl -sk -m 9 -o /dev/null -d number-$n-%[1]s https://api.anthropic.com/sent-%[1]s/$n; done; true"
	c.trips++
	name := fmt.Sprintf("%s-%d", identity, c.trips)
	command := c.direct.Command(context.WithoutCancel(c.t.Context()), "exec", identity, "--", "sh", "-c", fmt.Sprintf(script, name))
	command.Stdout, command.Stderr = new(bytes.Buffer), new(bytes.Buffer)
	if err := command.Start(); err != nil {
		c.t.Fatal(err)
	}
	return func() {
		_, _ = c.direct.Run(c.t.Context(), nil, "exec", identity, "--", "touch", "/tmp/enough-"+name)
		_ = command.Wait()
	}
}

// sentOnRecord compares the log with what the upstream of a bottle heard: a request that it heard was
// allowed, and looked at by pipelock where there is one.
func (c *chaos) sentOnRecord(identity, log string) {
	c.t.Helper()
	looked := map[string]bool{}
	for line := range strings.Lines(log) {
		var e audit.Event
		if json.Unmarshal([]byte(line), &e) == nil && e.Kind == audit.Request && e.Decision == audit.Allow {
			looked[e.Path] = c.agent != "guarded" || e.Phase != "" || e.Pipelock != nil && len(e.Pipelock.Scans) > 0
		}
	}
	heard := 0
	for _, r := range c.Standin.Requests() {
		if !strings.HasPrefix(r.Path, "/sent-"+identity+"-") {
			continue
		}
		heard++
		if allowed, ok := looked[r.Path]; !ok {
			c.fail("the upstream heard of %s, and the log does not", r.Path)
		} else if !allowed {
			c.fail("the upstream heard of %s, which pipelock did not look at", r.Path)
		}
	}
	c.say("%d requests were heard", heard)
}
