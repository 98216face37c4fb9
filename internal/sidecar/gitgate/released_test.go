package gitgate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// holding is a lab whose every push waits, with one that does.
func holding(t *testing.T, path, content string, change ...func(*control.GitConfig)) (l *lab, work, head string) {
	t.Helper()
	l = newLab(t, append([]func(*control.GitConfig){func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true }}, change...)...)
	work = l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	head = l.commit(work, path, content)
	l.refused(work, "NOT PUSHED YET", "push", "origin", "agent/fix")
	return l, work, head
}

// mustNotGo approves the push that waits, which goes nowhere, for a reason that all are told.
func (l *lab) mustNotGo(why ...string) {
	l.t.Helper()
	r := l.desk.decide(l.t, true)
	all := l.pushes()
	last := all[len(all)-1]
	for _, part := range why {
		if !strings.Contains(r.Decided.Result, part) {
			l.t.Errorf("it became %q, which does not say %q", r.Decided.Result, part)
		}
		if last.Decision != audit.Deny || last.Request != r.ID || !strings.Contains(last.Reason, part) {
			l.t.Errorf("the log has %+v, which does not say %q", last, part)
		}
	}
	if got := l.theirs("refs/heads/agent/fix"); got != "" {
		l.t.Errorf("upstream has %s", got)
	}
	l.noneHeld()
}

// ATTACK F5: a push is parked with what nobody knows to be a secret yet. It becomes one of the
// bottle's credentials, or a rule finds it, while the operator is asked: live, or between the bottle's end and its
// resume. The approval is of a push without it.
func TestAttackF5_ASecretThatIsKnownByTheTimeItIsApproved(t *testing.T) {
	const value = "fresh-Wk3pZ8vTq5nR"
	learns := func(c *control.GitConfig) {
		c.Known = append(slices.Clip(c.Known), control.Secret{Name: "FRESH_TOKEN", Value: value, Placeholder: "bb-placeholder-fresh-5512"})
	}
	for name, comes := range map[string]func(*lab){
		"live": func(l *lab) {
			next := l.config
			learns(&next)
			if err := l.server.Apply(next); err != nil {
				l.t.Fatal(err)
			}
		},
		"with a resume": func(l *lab) {
			l.stop()
			learns(&l.config)
			l.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, work, head := holding(t, "config.txt", "one\nkey "+value+"\n")
			comes(l)
			l.mustNotGo("credential FRESH_TOKEN in config.txt:2, commit " + head[:10])
			last := l.pushes()[1]
			if len(last.Findings) != 1 || last.Findings[0].Place != "config.txt:2" || last.Findings[0].Secret != "FRESH_TOKEN" {
				t.Errorf("the log has findings %+v", last.Findings)
			}
			l.git(work, "remote", "set-url", "origin", l.url)
			out := l.refused(work, "credential FRESH_TOKEN in config.txt:2", "push", "origin", "agent/fix")
			everything := out + l.events.String() + fmt.Sprint(l.desk.ledger.All())
			if strings.Contains(everything, value) {
				t.Errorf("it is told what the secret is: %s", everything)
			}
		})
	}
}

// What a rule lets pass when a push is parked, and not any more when it is approved.
func TestAttackF5_ARuleThatIsInForceByTheTimeItIsApproved(t *testing.T) {
	key := read(t, filepath.Join(modules(t)["github.com/moby/moby/client"], "testdata", "key.pem"))
	l, _, _ := holding(t, "deploy.pem", key, func(c *control.GitConfig) { c.Scan = map[string]dlp.Action{"private-key": dlp.Alert} })
	l.stop()
	l.config.Scan = nil
	l.start()
	l.mustNotGo("a secret (private-key) in deploy.pem")
}

// ATTACK G2, G13: what the manifest allows, or the repository itself, has changed when a push is approved. The
// approval stands for nothing of that.
func TestAttackG2_AnApprovedPushIsJudgedByWhatIsAllowedNow(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*control.GitRepository, *control.GitConfig)
		why    string
	}{
		"its ref is none":       {func(r *control.GitRepository, _ *control.GitConfig) { r.Push.Refs = []string{"refs/heads/other/**"} }, "none of those that may be pushed (refs/heads/other/**)"},
		"its branch is guarded": {func(r *control.GitRepository, _ *control.GitConfig) { r.Push.Protect = []string{"agent/*"} }, "a protected branch"},
		"its path is refused": {func(r *control.GitRepository, _ *control.GitConfig) {
			r.Push.Paths = map[string]policy.PathAction{"main.go": policy.RefusePath}
		}, "main.go may not be changed from here"},
		"its author is another": {func(_ *control.GitRepository, c *control.GitConfig) { c.Name = "Another" }, "not by Another"},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, _ := holding(t, "main.go", "package main\n")
			l.stop()
			c.change(&l.config.Repositories[0], &l.config)
			l.start()
			l.mustNotGo(c.why)
		})
	}
}

// ATTACK G13: the repository is taken away while an approved push waits for its turn. Another one in its place, with
// another credential, is the same to the operator: the same name, the same upstream.
func TestAttackG13_ARepositoryEndsBeforeAnApprovedPushIsSent(t *testing.T) {
	for name, c := range map[string]struct {
		stays bool
		want  string
	}{"gone": {false, "the repository is not declared any more"}, "replaced": {true, control.Forwarded}} {
		t.Run(name, func(t *testing.T) {
			l, _, head := holding(t, "main.go", "package main\n")
			m := l.server.find("widget")
			m.mu.Lock() // as somebody who pushes
			result := make(chan string, 1)
			go func() { result <- l.desk.decide(t, true).Decided.Result }()
			for l.server.places.inUse() == 0 { // until it is being carried out
				time.Sleep(time.Millisecond)
			}
			next := l.config
			next.Repositories = nil
			if c.stays {
				next.Repositories = slices.Clone(l.config.Repositories)
				next.Repositories[0].Places = []string{"widget"}
			}
			if err := l.server.Apply(next); err != nil {
				t.Fatal(err)
			}
			m.mu.Unlock()
			if got := <-result; got != c.want {
				t.Errorf("it became %q, want %q", got, c.want)
			}
			if got := l.theirs("refs/heads/agent/fix"); (got == head) != c.stays {
				t.Errorf("upstream has %q", got)
			}
		})
	}
}

// ATTACK G2, G3: a push needs two grants, which no push may use together, and waits for the operator, whose approval
// is of neither: both would be there after it.
func TestAttackG2_AHeldPushDoesNotMixGrants(t *testing.T) {
	l := newLab(t)
	l.grant(pushes("t-1", 1, "refs/heads/fix"), pushes("t-2", 1, "refs/heads/mine"))
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	l.commit(work, ".github/workflows/ci.yml", "on: push\n")
	l.refused(work, "its refs are allowed by different grants: push them one at a time", "push", "origin", "fix", "fix:mine")
	if all := l.desk.ledger.All(); len(all) > 0 {
		t.Errorf("the operator is asked about %+v", all)
	}
}

// An approval stands for the grant that the push was shown with, and for no more than that allowed.
func TestAttackG2_AnApprovalStandsForNoMoreThanItsGrant(t *testing.T) {
	l := newLab(t)
	l.grant(pushes("t-1", 0, "refs/heads/fix"))
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	l.commit(work, ".github/workflows/ci.yml", "on: push\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "fix", "fix:agent/fix")
	l.stop()
	l.config.Repositories[0].Push.Refs = nil // which allowed agent/fix
	l.start()
	l.mustNotGo("refs/heads/agent/fix: it is none of those that may be pushed")
	if got := l.theirs("refs/heads/fix"); got != "" {
		t.Errorf("a part of it is upstream: %s", got)
	}
}

// The gate is killed when the upstream has taken an approved push, and it has not written that down. The next one
// finds out what became of it, whatever has happened to the ref since, and sends nothing a second time.
func TestKilledWhenTheUpstreamHasAnApprovedPush(t *testing.T) {
	type made struct {
		*lab
		old, head string
	}
	for name, c := range map[string]struct {
		push  []string // what is pushed; nil for the branch
		since func(made)
		want  string
		says  string
	}{
		"it is there":     {want: control.Forwarded, says: "the upstream has it already"},
		"it was deleted":  {push: []string{":agent/old"}, want: control.Forwarded, says: "the upstream has it already"},
		"it was built on": {since: func(m made) { m.update("agent/fix", m.child(m.head)) }, want: control.Forwarded, says: "the upstream has it already"},
		"it was built on after it was forced": {push: []string{"+agent/fix:agent/old"}, since: func(m made) { m.update("agent/old", m.child(m.head)) },
			want: "whether it was upstream before is not known"},
		"another took its place": {since: func(m made) { m.update("agent/fix", m.child(m.old)) }, want: "refs/heads/agent/fix has moved since: whether it was upstream before is not known"},
		"it was taken away":      {since: func(m made) { m.git(m.upstream, "update-ref", "-d", "refs/heads/agent/fix") }, want: control.Forwarded, says: "forwarded"}, // as it was before
	} {
		for _, over := range []string{"ssh", "https"} {
			t.Run(name+" over "+over, func(t *testing.T) {
				allowed := func(c *control.GitConfig) {
					c.Repositories[0].Push = policy.Push{Refs: []string{"refs/heads/agent/**"}, Hold: true, Force: true, Delete: true}
				}
				var l *lab
				if over == "ssh" {
					l = newLab(t, allowed)
				} else {
					l, _ = newHTTPSLab(t, allowed)
				}
				l.git(l.upstream, "update-ref", "refs/heads/agent/old", l.child("main"))
				v := newVictim(l)
				work := l.clone()
				l.git(work, "checkout", "-q", "-b", "agent/fix")
				m := made{l, l.theirs("refs/heads/agent/old"), l.commit(work, "main.go", "package main\n")}
				push := c.push
				if push == nil {
					push = []string{"agent/fix"}
				}
				l.refused(work, "NOT PUSHED YET", append([]string{"push", "origin"}, push...)...)
				d := l.doorAt("post-receive", "") // the upstream's refs are changed, and it has not said so to the end
				became := make(chan string, 1)
				go func() { became <- l.desk.decide(t, true).Decided.Result }()
				d.await()
				v.kill()
				d.open()
				for len(l.working()) > 0 {
					time.Sleep(time.Millisecond)
				}
				if err := os.Remove(filepath.Join(l.upstream, "hooks", "post-receive")); err != nil {
					t.Fatal(err)
				}
				if c.since != nil {
					c.since(m)
				}
				before := l.git(l.upstream, "for-each-ref")
				l.hook("pre-receive", "#!/bin/sh\ntouch '"+filepath.Join(l.dir, "again")+"'\n")
				v.begin()
				got := <-became
				if got != c.want && !strings.Contains(got, c.want) {
					t.Errorf("it became %q, want %q", got, c.want)
				}
				l.noneHeld()
				_, err := os.Stat(filepath.Join(l.dir, "again"))
				after := l.git(l.upstream, "for-each-ref")
				if again := c.says == "forwarded"; err == nil != again || (before != after) != again {
					t.Errorf("it was sent again (%v): upstream had\n%s\nand has\n%s", err == nil, before, after)
				}
				v.kill() // which waits for all that it has said
				var told []string
				for _, e := range l.pushes() {
					if strings.HasPrefix(e.Reason, "approved as ") {
						told = append(told, e.Decision+" "+e.Reason)
					}
				}
				want := audit.Allow + " approved as t-1: " + c.says
				if c.says == "" {
					want = audit.Deny + " approved as t-1: " + got
				}
				if len(told) != 1 || told[0] != want {
					t.Errorf("the log has %q, want %q", told, want)
				}
				v.sound()
			})
		}
	}
}

// child makes a commit upstream, on another one.
func (l *lab) child(of string) string {
	l.t.Helper()
	return strings.TrimSpace(l.git(l.upstream, "commit-tree", "-p", of, "-m", "on "+of, of+"^{tree}"))
}

func (l *lab) update(branch, id string) {
	l.t.Helper()
	l.git(l.upstream, "update-ref", "refs/heads/"+branch, id)
}

// A grant that was used by a push of which the gate did not get to tell is used, once.
func TestAttackG3_AKilledGatesPushIsAUse(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		c.Repositories[0].More = []requests.PushGrant{pushes("t-9", 1, "refs/heads/fix")}
	})
	v := newVictim(l)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	l.commit(work, ".github/workflows/ci.yml", "on: push\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "fix")
	d := l.doorAt("post-receive", "")
	became := make(chan string, 1)
	go func() { became <- l.desk.decide(t, true).Decided.Result }()
	d.await()
	v.kill()
	d.open()
	for len(l.working()) > 0 {
		time.Sleep(time.Millisecond)
	}
	if err := os.Remove(filepath.Join(l.upstream, "hooks", "post-receive")); err != nil {
		t.Fatal(err)
	}
	if got := l.used("t-9"); got != 1 {
		t.Errorf("before the next gate the log has %d uses of the grant, want 1:\n%s", got, l.events)
	}
	v.config.Repositories[0].More[0].Used = 1 // as the parent has heard
	v.begin()
	if got := <-became; got != control.Forwarded {
		t.Errorf("it became %q", got)
	}
	l.commit(work, "main.go", "package main\n")
	l.refused(work, "none of those that may be pushed", "push", "origin", "fix")
	v.kill() // which waits for all that it has said
	if got := l.used("t-9"); got != 1 {
		t.Errorf("the log has %d uses of the grant, want 1:\n%s", got, l.events)
	}
}

// What is written down of a held push is replaced as a whole: a crash in the middle of that leaves what
// was there, or the operator's approval would be of nothing.
func TestWhatIsHeldIsWrittenInOnePiece(t *testing.T) {
	h := &held{ID: "t-1", dir: t.TempDir()}
	h.Push.Text = strings.Repeat("x", 1<<20)
	if err := h.write(); err != nil {
		t.Fatal(err)
	}
	before, err := os.Open(filepath.Join(h.dir, heldFile)) // whoever finds it now finds all of it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = before.Close() }()
	h.ID = "t-2"
	if err := h.write(); err != nil {
		t.Fatal(err)
	}
	var was held
	if err := json.NewDecoder(before).Decode(&was); err != nil || was.ID != "t-1" || len(was.Push.Text) != 1<<20 {
		t.Errorf("what was there became %s, %v", was.ID, err)
	}
	if now, err := readHeld(h.dir); err != nil || now.ID != "t-2" {
		t.Errorf("there is %+v, %v", now, err)
	}
	if left, _ := os.ReadDir(h.dir); len(left) != 1 {
		t.Errorf("beside it there are %v", left)
	}
}

// The gate is killed when it has asked for a decision, and has not written down under which id. The next gate asks
// again, and a push that comes again is the same.
func TestAHeldPushWhoseIDWasLostIsTheSame(t *testing.T) {
	l, work, head := holding(t, "main.go", "package main\n")
	l.stop()
	dirs, _ := filepath.Glob(filepath.Join(l.dir, "gate", "held", "*"))
	h, err := readHeld(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	h.ID = ""
	if err := h.write(); err != nil {
		t.Fatal(err)
	}
	l.start()
	for end := time.Now().Add(time.Minute); h.ID == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the id is not written down")
		}
		if h, err = readHeld(dirs[0]); err != nil {
			t.Fatal(err)
		}
	}
	l.git(work, "remote", "set-url", "origin", l.url)
	l.refused(work, "the operator decides it as t-1", "push", "origin", "agent/fix")
	if r := l.desk.decide(t, true); r.Decided.Result != control.Forwarded || l.theirs("refs/heads/agent/fix") != head {
		t.Errorf("it became %q", r.Decided.Result)
	}
}

// ATTACK G13: a repository that ends after an approved push was judged, and before it is sent.
func TestAttackG13_NoApprovalStandsForARepositoryThatHasEnded(t *testing.T) {
	l := newLab(t)
	m := l.server.find("widget")
	main := l.theirs("refs/heads/main")
	u := policy.RefUpdate{Ref: "refs/heads/agent/fix", New: main}
	p := &push{server: l.server, mirror: m, check: l.server.checks.Load(), ctx: t.Context(), approved: &held{ID: "t-1", dir: t.TempDir()}}
	p.approved.Push.Updates = []policy.RefUpdate{u}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := p.judgeApproved(m.local); len(v.refused) > 0 {
		t.Fatal(v.refused)
	}
	m.rights.end()
	v := &verdict{updates: p.approved.Push.Updates}
	if err := p.deliver(m.local, v); !errors.Is(err, errUndeclared) {
		t.Errorf("deliver = %v, want %v", err, errUndeclared)
	}
	if got := l.theirs("refs/heads/agent/fix"); got != "" {
		t.Errorf("upstream has %q", got)
	}
	m.rights = newRights(nil) // for who ends the lab
}

// A gate that cannot find out what became of a push says that it does not know.
func TestWhatBecameOfAnApprovedPushCannotBeFoundOut(t *testing.T) {
	l := newLab(t)
	for name, from := range map[string]string{"no answer": l.config.Repositories[0].Upstream, "not declared": "https://elsewhere.example/widget.git"} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(l.upstream); err != nil {
				t.Fatal(err)
			}
			h := &held{ID: "t-1", dir: t.TempDir(), Sending: true}
			h.Push.Repository, h.Push.Upstream = "widget", from
			h.Push.Updates = []policy.RefUpdate{{Ref: "refs/heads/agent/fix", New: strings.Repeat("1", 40)}}
			const doubt = "whether it was upstream before is not known"
			if got, _ := l.server.carryOut(t.Context(), h); !strings.Contains(got, doubt) {
				t.Errorf("it became %q", got)
			}
			h.Sending = false
			if got, _ := l.server.carryOut(t.Context(), h); strings.Contains(got, doubt) {
				t.Errorf("one that was not sent became %q", got)
			}
		})
	}
}
