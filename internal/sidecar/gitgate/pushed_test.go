package gitgate

import (
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// diffOf waits for what a push has changed.
func (l *lab) diffOf(old, head string) string {
	l.t.Helper()
	key := control.PushKey("widget", []audit.Update{{Old: old, New: head}})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		l.desk.mu.Lock()
		text, ok := l.desk.diffs[key]
		l.desk.mu.Unlock()
		if ok {
			return text
		}
	}
	l.t.Fatal("what was pushed is not shown")
	return ""
}

// What a push has changed that did not wait is shown to the operator: of a new branch all that
// it brings, of one that goes on what is new, bounded; and nothing of what was refused.
func TestWhatWasPushedIsShown(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Refs = []string{"refs/heads/agent/**"} })
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	first := l.commit(work, "main.go", "package main\n")
	l.git(work, "push", "-q", "origin", "agent/fix")
	if text := l.diffOf("", first); !strings.Contains(text, "+package main") {
		t.Errorf("got %q", text)
	}
	second := l.commit(work, "large", strings.Repeat("a line of many\n", 40000))
	l.git(work, "push", "-q", "origin", "agent/fix")
	if text := l.diffOf(first, second); strings.Contains(text, "+package main") || len(text) > control.MaxPushed || !strings.HasSuffix(text, "(the rest is not shown)\n") {
		t.Errorf("got %d bytes: %.200q … %q", len(text), text, text[max(0, len(text)-100):])
	}
	l.git(work, "checkout", "-q", "-b", "other")
	l.commit(work, "refused", "refused\n")
	l.refused(work, "none of those that may be pushed", "push", "origin", "other")
	l.desk.mu.Lock()
	defer l.desk.mu.Unlock()
	if len(l.desk.diffs) != 2 {
		t.Errorf("what was refused is shown: %d", len(l.desk.diffs))
	}
}
