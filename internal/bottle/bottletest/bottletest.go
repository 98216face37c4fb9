// Package bottletest is the conformance suite that every backend passes. It says in code
// what bottle.Driver says in words.
package bottletest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
)

// Harness is a backend under test.
type Harness struct {
	Backend bottle.Backend
	// Spec describes a bottle whose agent runs a POSIX sh script, and that is removed as
	// a whole when it ends.
	Spec func(t *testing.T, script string) bottle.Spec
}

// wait is the script of an agent that does nothing until it is ended.
const wait = "exec sleep 1000"

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, Harness){
		"PrepareCreatesNothing":      prepareCreatesNothing,
		"PrepareValidates":           prepareValidates,
		"AgentFromItsFirstByte":      agentFromItsFirstByte,
		"AgentGetsItsInput":          agentGetsItsInput,
		"ExecAndCopyIn":              execAndCopyIn,
		"CloseIsIdempotent":          closeIsIdempotent,
		"DetachAndOpen":              detachAndOpen,
		"OneBottleForAnIdentity":     oneBottleForAnIdentity,
		"CancelledLaunchLeavesNone":  cancelledLaunchLeavesNone,
		"CancelEndsTheAgentsSession": cancelEndsTheAgentsSession,
		"RunningIsNotRemoved":        runningIsNotRemoved,
		"AuditIsToldMeanwhile":       auditIsToldMeanwhile,
		"AnotherRunContinuesTheLog":  anotherRunContinuesTheLog,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
	t.Run("NothingIsLeft", func(t *testing.T) {
		nothingRuns(t, h)
		plan, err := h.Backend.PrepareCleanup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !plan.Empty() {
			var b strings.Builder
			_ = plan.WriteSummary(&b)
			t.Errorf("left behind:\n%s", b.String())
		}
		if err := errors.Join(plan.Run(t.Context()), plan.Run(t.Context())); err != nil {
			t.Errorf("a cleanup could not be repeated: %v", err)
		}
	})
}

func (h Harness) launch(t *testing.T, script string) bottle.Bottle {
	t.Helper()
	plan, err := h.Backend.Prepare(t.Context(), h.Spec(t, script))
	if err != nil {
		t.Fatal(err)
	}
	b, err := plan.Launch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if b.Name() != plan.Identity() {
		t.Errorf("got name %s, want %s", b.Name(), plan.Identity())
	}
	return b
}

func (h Harness) runs(t *testing.T, identity string) bool {
	t.Helper()
	active, err := h.Backend.Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(active, func(a bottle.ActiveAgent) bool { return a.Slug == identity })
}

func nothingRuns(t *testing.T, h Harness) {
	t.Helper()
	if active, err := h.Backend.Active(t.Context()); err != nil || len(active) > 0 {
		t.Errorf("running: %v, %v", active, err)
	}
}

func prepareCreatesNothing(t *testing.T, h Harness) {
	plan, err := h.Backend.Prepare(t.Context(), h.Spec(t, "true"))
	if err != nil {
		t.Fatal(err)
	}
	var summary strings.Builder
	if err := plan.WriteSummary(&summary); err != nil || !strings.Contains(summary.String(), plan.Identity()) {
		t.Errorf("got summary %q, %v", summary.String(), err)
	}
	if h.runs(t, plan.Identity()) {
		t.Error("a prepared bottle runs")
	}
	if _, err := h.Backend.Open(t.Context(), plan.Identity()); !errors.Is(err, bottle.ErrNotRunning) {
		t.Errorf("Open: got %v, want ErrNotRunning", err)
	}
}

func prepareValidates(t *testing.T, h Harness) {
	spec := h.Spec(t, "true")
	spec.Agent = "no-such-agent"
	if _, err := h.Backend.Prepare(t.Context(), spec); err == nil {
		t.Error("an unknown agent was prepared")
	}
	spec = h.Spec(t, "true")
	spec.Identity = "../../x"
	if _, err := h.Backend.Prepare(t.Context(), spec); err == nil {
		t.Error("a path was taken for an identity")
	}
}

func agentFromItsFirstByte(t *testing.T, h Harness) {
	b := h.launch(t, `printf first; printf error >&2; exit 7`)
	var stdout, stderr bytes.Buffer
	code, err := b.Agent(t.Context(), bottle.IO{Stdout: &stdout, Stderr: &stderr})
	if err != nil || code != 7 || stdout.String() != "first" || stderr.String() != "error" {
		t.Errorf("got %d, %v, %q, %q", code, err, stdout.String(), stderr.String())
	}
}

func agentGetsItsInput(t *testing.T, h Harness) {
	b := h.launch(t, `cat; echo end`)
	var stdout bytes.Buffer
	code, err := b.Agent(t.Context(), bottle.IO{Stdin: strings.NewReader("input "), Stdout: &stdout, Stderr: &stdout})
	if err != nil || code != 0 || stdout.String() != "input end\n" {
		t.Errorf("got %d, %v, %q", code, err, stdout.String())
	}
}

func execAndCopyIn(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	result, err := b.Exec(t.Context(), `echo out; echo err >&2; exit 3`, bottle.Node)
	if err != nil || result.Code != 3 || string(result.Stdout) != "out\n" || string(result.Stderr) != "err\n" {
		t.Errorf("got %+v, %v", result, err)
	}
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o644), os.Symlink("/etc/shadow", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	if err := b.CopyIn(t.Context(), dir, "/workspace/copied"); err != nil {
		t.Fatal(err)
	}
	result, err = b.Exec(t.Context(), `cd /workspace/copied && cat file && readlink link`, bottle.Node)
	if err != nil || string(result.Stdout) != "content/etc/shadow\n" {
		t.Errorf("got %+v, %v", result, err)
	}
	var many sync.WaitGroup
	for range 4 {
		many.Go(func() {
			if r, err := b.Exec(t.Context(), "true", bottle.Node); err != nil || r.Code != 0 {
				t.Errorf("at once: got %+v, %v", r, err)
			}
		})
	}
	many.Wait()
	var stdout bytes.Buffer
	if code, err := b.Run(t.Context(), []string{"no-such-command"}, bottle.Node, bottle.IO{Stdout: &stdout, Stderr: &stdout}); err != nil || code != 127 {
		t.Errorf("a missing command: got %d, %v", code, err)
	}
}

func closeIsIdempotent(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	if !h.runs(t, b.Name()) {
		t.Error("it does not run")
	}
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if h.runs(t, b.Name()) {
		t.Error("it still runs")
	}
	if _, err := h.Backend.Open(t.Context(), b.Name()); !errors.Is(err, bottle.ErrNotRunning) {
		t.Errorf("Open: got %v, want ErrNotRunning", err)
	}
	if err := h.Backend.Build(t.Context(), b.Name(), image.Layer{Dockerfile: "RUN true"}, nil); !errors.Is(err, bottle.ErrNotRunning) {
		t.Errorf("Build: got %v, want ErrNotRunning", err)
	}
}

func detachAndOpen(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	if err := errors.Join(b.Detach(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if !h.runs(t, b.Name()) {
		t.Fatal("Close ended a bottle that had been detached from")
	}
	again, err := h.Backend.Open(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := again.Exec(t.Context(), "echo here", bottle.Root); err != nil || string(r.Stdout) != "here\n" {
		t.Errorf("got %+v, %v", r, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if h.runs(t, b.Name()) {
		t.Error("it still runs")
	}
}

func oneBottleForAnIdentity(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	spec := h.Spec(t, wait)
	spec.Identity = b.Name()
	plan, err := h.Backend.Prepare(t.Context(), spec)
	if err == nil {
		_, err = plan.Launch(t.Context(), nil)
	}
	if err == nil {
		t.Error("a second bottle of one identity was launched")
	}
	if r, err := b.Exec(t.Context(), "echo alive", bottle.Node); err != nil || string(r.Stdout) != "alive\n" {
		t.Errorf("the first was harmed: %+v, %v", r, err)
	}
}

func cancelledLaunchLeavesNone(t *testing.T, h Harness) {
	plan, err := h.Backend.Prepare(t.Context(), h.Spec(t, wait))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := plan.Launch(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if h.runs(t, plan.Identity()) {
		t.Error("it runs")
	}
}

func cancelEndsTheAgentsSession(t *testing.T, h Harness) {
	b := h.launch(t, `echo ready; `+wait)
	ctx, cancel := context.WithCancel(t.Context())
	seen := &trigger{then: cancel}
	if _, err := b.Agent(ctx, bottle.IO{Stdout: seen, Stderr: seen}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// trigger calls then at the first byte.
type trigger struct{ then func() }

func (w *trigger) Write(p []byte) (int, error) { w.then(); return len(p), nil }

func runningIsNotRemoved(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	if err := h.Backend.Remove(t.Context(), b.Name()); !errors.Is(err, bottle.ErrRunning) {
		t.Errorf("got %v, want ErrRunning", err)
	}
	if !h.runs(t, b.Name()) {
		t.Error("it was ended")
	}
}

// auditNow verifies what there is of a running bottle's audit log.
func (h Harness) auditNow(t *testing.T, identity string) audit.Report {
	t.Helper()
	now, err := h.Backend.Audit(t.Context(), identity, false)
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(now, audit.Expect{Bottle: identity})
	if err := errors.Join(err, now.Close()); err != nil {
		t.Fatal(err)
	}
	return report
}

// The audit log of a running bottle can be read meanwhile, also by who only follows it, and
// its chain is whole.
func auditIsToldMeanwhile(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	report := h.auditNow(t, b.Name())
	for deadline := time.Now().Add(time.Minute); report.Runs == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		report = h.auditNow(t, b.Name()) // its first line may be on its way still
	}
	if report.Runs != 1 || !report.Open {
		t.Errorf("while it runs: got %+v", report)
	}
	followed, err := h.Backend.Audit(t.Context(), b.Name(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	report, err = audit.Verify(followed, audit.Expect{Bottle: b.Name()})
	if err := errors.Join(err, followed.Close()); err != nil || report.Open {
		t.Errorf("to its end: got %+v, %v", report, err)
	}
	for _, identity := range []string{b.Name(), "../../x"} {
		if _, err := h.Backend.Audit(t.Context(), identity, false); !errors.Is(err, bottle.ErrNotRunning) {
			t.Errorf("%s: got %v, want ErrNotRunning", identity, err)
		}
	}
}

// A bottle that is launched again goes on with its log: the run's first line is numbered
// after the last of the run before, and names it.
func anotherRunContinuesTheLog(t *testing.T, h Harness) {
	first := h.launch(t, wait)
	whole, err := h.Backend.Audit(t.Context(), first.Name(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	head, torn, err := audit.ReadHead(whole)
	if err := errors.Join(err, whole.Close()); err != nil || torn > 0 {
		t.Fatalf("got %d, %v", torn, err)
	}
	spec := h.Spec(t, wait)
	spec.Identity = first.Name()
	plan, err := h.Backend.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	second, err := plan.Launch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	run, err := h.Backend.Audit(t.Context(), second.Name(), true) // waits for its first line
	if err != nil {
		t.Fatal(err)
	}
	e, _, _ := audit.NewReader(run, second.Name()).Next() // out of its place without the run before
	if e.Kind != audit.Begin || e.Seq != head.Lines+1 || e.Prev != head.Hash {
		t.Errorf("got %+v after %+v", e, head)
	}
	if err := errors.Join(run.Close(), second.Close()); err != nil {
		t.Error(err)
	}
}
