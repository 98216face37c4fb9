// Package bottletest is the conformance suite that every backend passes. It says in code
// what bottle.Driver says in words.
package bottletest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/filecopy"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Harness is a backend under test.
type Harness struct {
	Backend bottle.Backend
	State   state.Store // where it keeps records, logs and transcripts
	// Spec describes a bottle whose agent, called script, runs a POSIX sh script, and that is
	// removed as a whole when it ends.
	Spec func(t *testing.T, script string) bottle.Spec
}

// wait is the script of an agent that does nothing until it is ended.
const wait = "exec sleep 1000"

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if err := h.Backend.Available(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T, Harness){
		"PrepareCreatesNothing":      prepareCreatesNothing,
		"PrepareValidates":           prepareValidates,
		"AgentFromItsFirstByte":      agentFromItsFirstByte,
		"AgentGetsItsInput":          agentGetsItsInput,
		"ExecAndCopyIn":              execAndCopyIn,
		"FilesInAndOut":              filesInAndOut,
		"CloseIsIdempotent":          closeIsIdempotent,
		"DetachAndOpen":              detachAndOpen,
		"OneBottleForAnIdentity":     oneBottleForAnIdentity,
		"CancelledLaunchLeavesNone":  cancelledLaunchLeavesNone,
		"CancelEndsTheAgentsSession": cancelEndsTheAgentsSession,
		"RunningIsNotRemoved":        runningIsNotRemoved,
		"AuditIsToldMeanwhile":       auditIsToldMeanwhile,
		"AnotherRunContinuesTheLog":  anotherRunContinuesTheLog,
		"ATerminalOutlivesItsViewer": aTerminalOutlivesItsViewer,
		"ATerminalFromItsFirstByte":  aTerminalFromItsFirstByte,
		"CommandsAreTheirOwn":        commandsAreTheirOwn,
		"CancelEndsACommand":         cancelEndsACommand,
		"ACommandHasATerminal":       aCommandHasATerminal,
		"WhatRunsIsTold":             whatRunsIsTold,
		"OneOfTwoLaunches":           oneOfTwoLaunches,
		"StoppedResumedRemoved":      stoppedResumedRemoved,
		"TheEndThatNobodySaw":        theEndThatNobodySaw,
		"EndedFromElsewhere":         endedFromElsewhere,
		"FilesKeepItStopped":         filesKeepItStopped,
		"CloseAsksTheAgent":          closeAsksTheAgent,
		"ARepositoryComesAlong":      aRepositoryComesAlong,
		"AFailedResumeHarmsNothing":  aFailedResumeHarmsNothing,
		"CleanupLeavesTheLiving":     cleanupLeavesTheLiving,
		"CancelledCallsHarmNothing":  cancelledCallsHarmNothing,
		"ADamagedRecordIsRemoved":    aDamagedRecordIsRemoved,
		"APlanPrintsNoSecret":        aPlanPrintsNoSecret,
		"WhatWasShownIsKept":         whatWasShownIsKept,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
	t.Run("NothingIsLeft", func(t *testing.T) {
		nothingRuns(t, h)
		plan, err := h.Backend.PrepareCleanup(t.Context(), bottle.CleanupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range plan.Leftovers() {
			t.Errorf("left behind: %s %s (%s)", l.Kind, l.Name, l.Why)
		}
		tell := func(l bottle.Leftover, err error) { t.Errorf("%s: %v", l.Name, err) }
		if err := errors.Join(plan.Run(t.Context(), tell), plan.Run(t.Context(), tell)); err != nil {
			t.Errorf("a cleanup could not be repeated: %v", err)
		}
	})
}

func (h Harness) launch(t *testing.T, script string) bottle.Bottle {
	t.Helper()
	return h.launchSpec(t, h.Spec(t, script))
}

func (h Harness) launchSpec(t *testing.T, spec bottle.Spec) bottle.Bottle {
	t.Helper()
	plan, err := h.Backend.Prepare(t.Context(), spec)
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
	if b.Name() != plan.Identity() || !slices.Contains(b.AgentArgv(nil, true), b.Name()) {
		t.Errorf("got name %s and %q, want %s", b.Name(), b.AgentArgv(nil, true), plan.Identity())
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
	if err := plan.MakeImages(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if h.runs(t, plan.Identity()) {
		t.Error("a prepared bottle runs")
	}
	if n := h.clean(t, plan.Identity(), nil); n != 0 {
		t.Errorf("%d things are left of it", n)
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
	result, err = b.Exec(t.Context(), `cd /workspace/copied && cat file && readlink link && stat -c %U . file link`, bottle.Node)
	if err != nil || string(result.Stdout) != "content/etc/shadow\nnode\nnode\nnode\n" {
		t.Errorf("got %+v, %v", result, err)
	}
	if b.CopyIn(t.Context(), filepath.Join(dir, "missing"), "/workspace/missing") == nil || b.CopyIn(t.Context(), dir, "/no/such/place") == nil {
		t.Error("what cannot be copied was")
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

// Files go in and out of a running bottle; paths are the bottle's, whatever its links say.
func filesInAndOut(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	if r, err := b.Exec(t.Context(), `mkdir /workspace/d && ln -s d /workspace/l && ln -s / /workspace/root`, bottle.Node); err != nil || r.Code != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	files, err := h.Backend.Files(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got, err := files.Stat(t.Context(), "/workspace/l"); err != nil || got != (bottle.FileInfo{Path: "/workspace/d", Dir: true}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := files.Stat(t.Context(), "/workspace/root/no-such-file"); !errors.Is(err, bottle.ErrNoFile) {
		t.Errorf("got %v, want ErrNoFile", err)
	}
	var in bytes.Buffer
	if err := errors.Join(filecopy.PackFile(&in, "f", 1000, strings.NewReader("carried"), 7), files.Put(t.Context(), "/workspace/l", &in)); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Exec(t.Context(), `cat /workspace/d/f; stat -c %U /workspace/d/f`, bottle.Node); err != nil || string(r.Stdout) != "carriednode\n" {
		t.Errorf("got %s%s, %v", r.Stdout, r.Stderr, err)
	}
	archive, err := files.Get(t.Context(), "/workspace/root/workspace/d/f")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := filecopy.UnpackFile(archive, &out); errors.Join(err, archive.Close()) != nil || out.String() != "carried" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	if _, err := h.Backend.Files(t.Context(), "nobody-aaaaaa"); !errors.Is(err, bottle.ErrGone) {
		t.Errorf("of no bottle: got %v, want ErrGone", err)
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
	if _, err := h.Backend.Prepare(t.Context(), h.resumed(t, b.Name(), wait)); !errors.Is(err, bottle.ErrGone) {
		t.Errorf("resumed, though it was to be removed: got %v, want ErrGone", err)
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

// A launch that is interrupted, wherever that is, leaves nothing.
func cancelledLaunchLeavesNone(t *testing.T, h Harness) {
	for _, late := range []time.Duration{0, 20 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond} {
		plan, err := h.Backend.Prepare(t.Context(), h.kept(t, wait))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(late, cancel)
		if late == 0 {
			cancel()
		}
		b, err := plan.Launch(ctx, nil)
		timer.Stop()
		cancel()
		if err == nil { // it was faster
			if err := errors.Join(b.Close(), h.Backend.Remove(t.Context(), b.Name())); err != nil || late == 0 {
				t.Errorf("after %s: %v", late, err)
			}
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after %s: got %v, want context.Canceled", late, err)
		}
		if h.runs(t, plan.Identity()) {
			t.Errorf("after %s: it runs", late)
		}
		if n := h.clean(t, plan.Identity(), nil); n != 0 {
			t.Errorf("after %s: %d things are left", late, n)
		}
		if _, err := h.Backend.Files(t.Context(), plan.Identity()); !errors.Is(err, bottle.ErrGone) {
			t.Errorf("after %s: Files: got %v, want ErrGone", late, err)
		}
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

// keptLog is the log that is kept of a bottle.
func (h Harness) keptLog(t *testing.T, identity string) []byte {
	t.Helper()
	log, err := h.State.AuditLog(identity)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(log)
	if err := errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
	return data
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
	told, err := io.ReadAll(followed)
	if err := errors.Join(err, followed.Close()); err != nil {
		t.Error(err)
	}
	kept := h.keptLog(t, b.Name())
	if !bytes.HasPrefix(kept, told) || len(told) == 0 {
		t.Errorf("told were %q, of\n%s", told, kept)
	}
	if report, err = audit.Verify(bytes.NewReader(kept), audit.Expect{Bottle: b.Name()}); err != nil || report.Runs != 1 || report.Open {
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
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	head, torn, err := audit.ReadHead(bytes.NewReader(h.keptLog(t, first.Name())))
	if err != nil || head.Lines == 0 || torn > 0 {
		t.Fatalf("got %+v, %d, %v", head, torn, err)
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

// onTerminal describes a bottle whose agent has a terminal.
func (h Harness) onTerminal(t *testing.T, script string) bottle.Spec {
	spec := h.Spec(t, script)
	spec.TTY, spec.Stdin, spec.Term, spec.Size = true, false, "xterm-256color", bottle.Size{Width: 90, Height: 25}
	return spec
}

// awaited is a terminal that calls then once it has shown a word.
type awaited struct {
	mu   sync.Mutex
	word string
	then func()
	all  bytes.Buffer
}

func (w *awaited) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	if w.then != nil && strings.Contains(w.all.String(), w.word) {
		w.then()
		w.then = nil
	}
	return len(p), nil
}

// seat is a terminal of a size, with keys to type.
func seat(out *awaited, s bottle.Size) (bottle.IO, *io.PipeWriter) {
	in, keys := io.Pipe()
	sizes := make(chan bottle.Size, 1)
	sizes <- s
	return bottle.IO{Stdin: in, Stdout: out, Stderr: out, TTY: true, Size: sizes, View: bottle.View{DetachKeys: []byte{0x10, 0x11}}}, keys
}

// The agent's terminal is the bottle's own: whoever looks at it goes, by a signal or by keys,
// and comes back to the same screen, with another size; it can be looked at without that.
func aTerminalOutlivesItsViewer(t *testing.T, h Harness) {
	b := h.launchSpec(t, h.onTerminal(t, `stty size; trap 'stty size' WINCH; echo ready; while :; do read line || continue; case $line in end) exit 6;; esac; echo "got $line"; done`))
	ctx, cancel := context.WithCancel(t.Context())
	first := &awaited{word: "ready", then: cancel}
	streams, _ := seat(first, bottle.Size{Width: 90, Height: 25})
	if _, err := b.Agent(ctx, streams); !errors.Is(err, bottle.ErrDetached) || !strings.Contains(first.all.String(), "25 90") {
		t.Fatalf("got %v, and %q", err, first.all.String())
	}
	found, err := h.Backend.Open(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	watched, err := found.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := watched.Snapshot(t.Context())
	if err := errors.Join(err, watched.Close()); err != nil || s.LastLine != "ready" || s.Width != 90 || s.Height != 25 {
		t.Errorf("got %+v, %v", s, err)
	}
	left := &awaited{word: "ready"}
	streams, keys := seat(left, bottle.Size{Width: 90, Height: 25})
	left.then = func() { go func() { _, _ = keys.Write([]byte{0x10, 0x11}) }() }
	if _, err := found.Agent(t.Context(), streams); !errors.Is(err, bottle.ErrDetached) {
		t.Errorf("by keys: got %v, want ErrDetached", err)
	}
	second := &awaited{word: "ready"}
	streams, keys = seat(second, bottle.Size{Width: 70, Height: 20})
	second.then = func() { go func() { _, _ = keys.Write([]byte("words\n")) }() }
	go func() {
		for !second.has("got words") || !second.has("20 70") {
			time.Sleep(10 * time.Millisecond)
		}
		_, _ = keys.Write([]byte("end\n"))
	}()
	if code, err := found.Agent(t.Context(), streams); err != nil || code != 6 {
		t.Errorf("got %d, %v, and %q", code, err, second.all.String())
	}
	if cast, err := h.Backend.Transcript(t.Context(), b.Name()); err != nil {
		t.Error(err)
	} else if text, err := io.ReadAll(cast); err != nil || !strings.Contains(string(text), "got words") || cast.Close() != nil {
		t.Errorf("the transcript is %s, %v", text, err)
	}
	if err := errors.Join(found.Detach(), b.Close()); err != nil {
		t.Error(err)
	}
}

func (w *awaited) has(word string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.all.String(), word)
}

// An agent that ends at once has been seen all the same, and without a terminal it cannot be
// watched.
func aTerminalFromItsFirstByte(t *testing.T, h Harness) {
	b := h.launchSpec(t, h.onTerminal(t, `printf 'first and last'; exit 7`))
	out := &awaited{}
	streams, _ := seat(out, bottle.Size{Width: 90, Height: 25})
	if code, err := b.Agent(t.Context(), streams); err != nil || code != 7 || !strings.Contains(out.all.String(), "first and last") {
		t.Errorf("got %d, %v, %q", code, err, out.all.String())
	}
	headless := h.launch(t, wait)
	if _, err := h.Backend.Transcript(t.Context(), headless.Name()); !errors.Is(err, bottle.ErrNoTerminal) {
		t.Errorf("Transcript: got %v, want ErrNoTerminal", err)
	}
	for _, identity := range []string{"nobody-aaaaaa", "../../x"} {
		if _, err := h.Backend.Transcript(t.Context(), identity); !errors.Is(err, bottle.ErrNotRunning) {
			t.Errorf("Transcript of %s: got %v, want ErrNotRunning", identity, err)
		}
	}
	if _, err := headless.Watch(t.Context()); !errors.Is(err, bottle.ErrNoTerminal) {
		t.Errorf("got %v, want ErrNoTerminal", err)
	}
	if err := headless.Close(); err != nil {
		t.Error(err)
	}
}
