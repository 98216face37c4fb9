package gitgate

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// pushes are what became of pushes, in order.
func (l *lab) pushes() []audit.Event {
	l.t.Helper()
	return slices.DeleteFunc(l.everyPush(), func(e audit.Event) bool { return e.Phase != "" })
}

// sent are the beginnings of pushes that were sent.
func (l *lab) sent() []audit.Event {
	l.t.Helper()
	return slices.DeleteFunc(l.everyPush(), func(e audit.Event) bool { return e.Phase == "" })
}

func (l *lab) everyPush() []audit.Event {
	l.t.Helper()
	var all []audit.Event
	for line := range strings.Lines(l.events.String()) {
		var e audit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			l.t.Fatal(err)
		}
		if e.Kind == audit.Push {
			all = append(all, e)
		}
	}
	return all
}

// Whatever becomes of a push, there is one event that says it: who, refs, ids, verdict,
// findings and how long it took.
func TestEveryPushIsOneEvent(t *testing.T) {
	l := newLab(t)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	base := l.theirs("refs/heads/main")
	head := l.commit(work, "main.go", "package main\n")
	steps := []struct {
		name, decision, reason string
		push                   func()
	}{
		{"taken", audit.Allow, "forwarded", func() { l.git(work, "push", "-q", "origin", "agent/fix") }},
		{"a ref that is not allowed", audit.Deny, "refs/heads/main: ", func() { l.refused(work, "REFUSED", "push", "-q", "origin", "agent/fix:main") }},
		{"a secret", audit.Deny, "credential DEPLOY_TOKEN", func() {
			l.git(work, "checkout", "-q", "-b", "agent/leak")
			l.commit(work, "leak", l.config.Known[0].Value)
			l.refused(work, "REFUSED", "push", "-q", "origin", "agent/leak")
		}},
		{"a broken object", audit.Deny, "git did not take it in", func() {
			broken := strings.TrimSpace(l.gitWith(work, "tree "+strings.TrimSpace(l.git(work, "rev-parse", "HEAD^{tree}"))+"\nauthor x\n\nno committer\n", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"))
			l.refused(work, "", "push", "-q", "origin", broken+":refs/heads/agent/broken")
		}},
		{"refused upstream", audit.Deny, "the upstream did not take it", func() {
			l.hook("pre-receive", "#!/bin/sh\nexit 1\n")
			l.git(work, "checkout", "-q", "-b", "agent/other", head)
			l.commit(work, "other", "other\n")
			l.refused(work, "did not take it", "push", "-q", "origin", "agent/other")
		}},
	}
	for i, step := range steps {
		step.push()
		all := l.pushes()
		if len(all) != i+1 {
			t.Fatalf("%s: %d events, want %d", step.name, len(all), i+1)
		}
		e := all[i]
		if e.Decision != step.decision || !strings.Contains(e.Reason, step.reason) || e.Bottle != l.config.Bottle || e.Repository != "widget" || e.Millis <= 0 || e.Service != "git-gate" {
			t.Errorf("%s: %+v", step.name, e)
		}
	}
	taken, leak := l.pushes()[0], l.pushes()[2]
	if len(taken.Updates) != 1 || taken.Updates[0] != (audit.Update{Ref: "refs/heads/agent/fix", New: head}) || taken.Commits != 1 || taken.Objects != 3 || taken.Check <= 0 || taken.Forward <= 0 || taken.Check+taken.Forward > taken.Millis {
		t.Errorf("taken: %+v (main is %s)", taken, base)
	}
	if len(leak.Findings) != 1 || leak.Findings[0].Place != "leak:1" || leak.Findings[0].Secret != "DEPLOY_TOKEN" || leak.Findings[0].Commit == "" {
		t.Errorf("leak: %+v", leak.Findings)
	}
	if err := os.Remove(l.upstream + "/hooks/pre-receive"); err != nil {
		t.Fatal(err)
	}
}

// The event of a push that waits names its request: whoever reads the log finds what became of it.
func TestTheEventOfAHeldPushNamesItsRequest(t *testing.T) {
	l, work, _ := holding(t, "main.go", "package main\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "agent/fix")
	for i, e := range l.pushes() {
		if e.Decision != audit.Deny || e.Request != "t-1" || e.Reason != "it waits for the operator as t-1" {
			t.Errorf("%d: the log has %+v", i, e)
		}
	}
}
