package requests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// What is shown of a push says where each ref is now, and which repository it is.
func TestAPushShowsWhatTheRefsAreNow(t *testing.T) {
	const before, after = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"
	l := New("k")
	r := mustAsk(t, l, t0, Ask{Kind: Pushing, Push: &Push{
		Repository: "widget", Upstream: "https://github.com/acme/widget", Reasons: []string{"it is to be held"},
		Updates: []policy.RefUpdate{
			{Ref: "refs/heads/agent/new", New: after},
			{Ref: "refs/heads/agent/old", Old: before, New: after, Forced: true},
			{Ref: "refs/heads/agent/gone", Old: before},
		},
	}})
	s := l.Show(r, base())
	if want := []string{"refs/heads/agent/new is not there", "refs/heads/agent/old is at 111111111111", "refs/heads/agent/gone is at 111111111111"}; !slices.Equal(s.SoFar, want) {
		t.Errorf("so far: got %q", s.SoFar)
	}
	if want := []string{
		"+ widget: refs/heads/agent/new at 222222222222",
		"+ widget: refs/heads/agent/old from 111111111111 to 222222222222",
		"- widget: refs/heads/agent/gone, was at 111111111111",
		"  widget is https://github.com/acme/widget",
	}; !slices.Equal(s.Delta, want) {
		t.Errorf("wants: got %q", s.Delta)
	}
	if !strings.Contains(strings.Join(s.Risks, "\n"), "rewrites the history of refs/heads/agent/old") {
		t.Errorf("got %q", s.Risks)
	}
}

// That the manifest has every push wait is why it waits, and no risk of this one.
func TestThatEveryPushWaitsIsNoRisk(t *testing.T) {
	p := pushed()
	p.Reasons = []string{AsEvery("widget")}
	l := New("k")
	s := l.Show(mustAsk(t, l, t0, Ask{Kind: Pushing, Push: &p}), base())
	if len(s.Risks) > 0 || !slices.Contains(s.Lines(), Line{Key: "waits", Text: "as every push of widget does"}) {
		t.Errorf("risks %q, lines %v", s.Risks, s.Lines())
	}
	p.Updates, p.Reasons = slices.Clone(p.Updates), []string{AsEvery("other"), AsEvery("widget"), "it changes Makefile"}
	p.Updates[0].New = strings.Repeat("2", 40)
	if s := l.Show(mustAsk(t, l, t0, Ask{Kind: Pushing, Push: &p}), base()); !slices.Equal(s.Risks, []string{AsEvery("other"), "it changes Makefile"}) {
		t.Errorf("risks %q", s.Risks)
	}
}

// ATTACK: a push changes more than is listed, and what matters comes last. What is left out is
// counted.
func TestAttackG10_WhatIsLeftOutOfAPushIsCounted(t *testing.T) {
	p := pushed()
	for i := range 100 {
		p.Commits = append(p.Commits, Commit{ID: strings.Repeat("3", 40), Author: "a\x1b[2J", Subject: "s\u202e"})
		p.Stat = append(p.Stat, fmt.Sprintf("file-%02d | 1 +", i))
		p.Reasons = append(p.Reasons, fmt.Sprintf("it changes hooks/%02d\x1b]0;x\x07", i))
	}
	p.Count = 100
	p.Repository, p.Upstream, p.Updates[0].Ref, p.Updates[0].New = "widget\x1b", "https://a.example/\x1b", "refs/heads/agent/fix\x1b", "\x1b"+p.Updates[0].New
	l := New("k")
	r := mustAsk(t, l, t0, Ask{Kind: Pushing, Push: &p})
	if len(r.Push.Commits) != maxCommits || len(r.Push.Stat) != maxStat+1 || len(r.Push.Reasons) != maxReasons+1 {
		t.Errorf("it keeps %d commits, %d files, %d reasons", len(r.Push.Commits), len(r.Push.Stat), len(r.Push.Reasons))
	}
	var all []string
	for _, line := range l.Show(r, base()).Lines() {
		all = append(all, line.Text)
		if strings.ContainsFunc(line.Text, func(r rune) bool { return r < 0x20 || r == 0x202e }) {
			t.Errorf("%q is not plain", line.Text)
		}
	}
	for _, want := range []string{"and 90 more", "“and 40 more, which are not shown here”", "and 80 more, which are not shown here"} {
		if !slices.Contains(all, want) {
			t.Errorf("%q is not among\n%s", want, strings.Join(all, "\n"))
		}
	}
}

// pushed is a push as the gate tells of it.
func pushed() Push {
	return Push{
		Repository: "widget", Upstream: "https://github.com/acme/widget", Diff: strings.Repeat("d", 64),
		Updates: []policy.RefUpdate{{Ref: "refs/heads/agent/fix", New: strings.Repeat("1", 40)}},
	}
}

// The gate shows a push again when the operator has just approved it: it is the one that is on its way, and no other to
// decide about. Once it has come to its end, the same is another.
func TestAPushOnItsWayIsTheSame(t *testing.T) {
	l := New("k")
	p := pushed()
	a := Ask{Kind: Pushing, Push: &p}
	r := mustAsk(t, l, t0, a)
	if _, err := decide(l, r, Decision{Approve: true}); err != nil {
		t.Fatal(err)
	}
	if same := mustAsk(t, l, t0.Add(time.Minute), a); same.ID != r.ID || same.State != Approved {
		t.Errorf("it is %s, %s", same.ID, same.State)
	}
	other := pushed()
	other.Updates[0].New = strings.Repeat("9", 40)
	if another := mustAsk(t, l, t0.Add(2*time.Minute), Ask{Kind: Pushing, Push: &other}); another.ID == r.ID {
		t.Error("another push is taken for it")
	}
	if _, err := l.Finish(r.ID, "refused"); err != nil {
		t.Fatal(err)
	}
	if another := mustAsk(t, l, t0.Add(3*time.Minute), a); another.ID == r.ID || another.State != Pending {
		t.Errorf("it is %s, %s", another.ID, another.State)
	}
}
