package bottletest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// A context that is cancelled makes every call return, with the same promises: what it tells is true, and what it
// was asked of goes on.
func cancelledCallsHarmNothing(t *testing.T, h Harness) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	b := h.launchSpec(t, h.kept(t, wait))
	if r, err := b.Exec(t.Context(), "echo work > /workspace/work", bottle.Node); err != nil || r.Code != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	h.cancelled(t, over, b.Name())
	if active, err := h.Backend.Active(over); err == nil && len(active) == 0 {
		t.Error("it was not listed, though it runs")
	}
	if found, err := h.Backend.Open(over, b.Name()); err == nil {
		_ = found.Detach()
	} else if errors.Is(err, bottle.ErrNotRunning) {
		t.Errorf("Open: got %v, though it runs", err)
	}
	if err := h.Backend.Remove(over, b.Name()); err == nil {
		t.Error("it was removed while it runs")
	}
	if err := h.Backend.Build(over, b.Name(), image.Layer{Dockerfile: "RUN true"}, nil); err == nil || errors.Is(err, bottle.ErrNotRunning) {
		t.Errorf("Build: got %v", err)
	}
	if code, err := b.Run(over, []string{"rm", "/workspace/work"}, bottle.Node, bottle.IO{}); err == nil {
		t.Errorf("a command that nobody wants any more: got %d", code)
	}
	if err := b.CopyIn(over, t.TempDir(), "/workspace/d"); err == nil {
		t.Error("a copy that nobody wants any more was made")
	}
	if r, err := b.Exec(t.Context(), "cat /workspace/work", bottle.Node); err != nil || string(r.Stdout) != "work\n" {
		t.Errorf("it was harmed: %+v, %v", r, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	h.cancelled(t, over, b.Name())
	if err := h.Backend.Remove(over, b.Name()); err == nil { // it was faster
		if _, err := h.Backend.Files(t.Context(), b.Name()); !errors.Is(err, bottle.ErrGone) {
			t.Errorf("of what was removed there are files: %v", err)
		}
		return
	}
	again := h.launchSpec(t, h.resumed(t, b.Name(), wait))
	if r, err := again.Exec(t.Context(), "cat /workspace/work", bottle.Node); err != nil || string(r.Stdout) != "work\n" {
		t.Errorf("what was stopped was harmed: %+v, %v", r, err)
	}
	if err := errors.Join(again.Close(), h.Backend.Remove(t.Context(), b.Name())); err != nil {
		t.Error(err)
	}
}

// cancelled makes the calls that may be made of a bottle whether or not it runs, of which nothing comes.
func (h Harness) cancelled(t *testing.T, over context.Context, identity string) {
	t.Helper()
	if files, err := h.Backend.Files(over, identity); err == nil {
		_ = files.Close()
	} else if errors.Is(err, bottle.ErrGone) {
		t.Errorf("Files: got %v", err)
	}
	streams := bottle.IO{Stdin: strings.NewReader("0000"), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}
	if code, err := h.Backend.UploadPack(over, identity, "none", streams); err == nil && code == 0 || errors.Is(err, bottle.ErrGone) {
		t.Errorf("UploadPack: got %d, %v", code, err)
	}
	if cast, err := h.Backend.Transcript(over, identity); err == nil {
		_, _ = io.Copy(io.Discard, cast)
		_ = cast.Close()
	}
	if log, err := h.Backend.Audit(over, identity, true); err == nil {
		_, _ = io.Copy(io.Discard, log)
		_ = log.Close()
	}
	if _, err := h.Backend.Prepare(over, h.resumed(t, identity, wait)); errors.Is(err, bottle.ErrGone) {
		t.Errorf("Prepare: got %v", err)
	}
	plan, err := h.Backend.PrepareCleanup(over, bottle.CleanupOptions{})
	if err != nil {
		return
	}
	for _, l := range plan.Leftovers() {
		if l.Identity == identity && !l.Kept {
			t.Errorf("left over: %s %s (%s)", l.Kind, l.Name, l.Why)
		}
	}
}

// A bottle whose record is damaged, or gone, is not resumed; it is removed for good like any other.
func aDamagedRecordIsRemoved(t *testing.T, h Harness) {
	for how, harm := range map[string]func(record string) error{
		"damaged": func(record string) error { return os.WriteFile(record, []byte("{"), 0o600) },
		"gone":    os.Remove,
	} {
		b := h.launchSpec(t, h.kept(t, wait))
		if err := errors.Join(b.Close(), harm(filepath.Join(h.State.Dir(b.Name()), "metadata.json"))); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Backend.Prepare(t.Context(), h.resumed(t, b.Name(), wait)); err == nil {
			t.Errorf("%s: it is resumed", how)
		}
		if err := h.Backend.Remove(t.Context(), b.Name()); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if files, err := h.Backend.Files(t.Context(), b.Name()); !errors.Is(err, bottle.ErrGone) {
			t.Errorf("%s: Files: got %v, %v, want ErrGone", how, files, err)
		}
		if _, err := os.Lstat(h.State.Dir(b.Name())); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: its directory is left: %v", how, err)
		}
	}
}

// A plan can be shown, and printed as it is, without a secret in it.
func aPlanPrintsNoSecret(t *testing.T, h Harness) {
	spec := h.Spec(t, "true")
	var resolved []string
	resolve := spec.Secrets
	spec.Secrets = func(ctx context.Context, s manifest.SecretSource) (secret.Value, error) {
		v, err := resolve(ctx, s)
		resolved = append(resolved, v.Reveal())
		return v, err
	}
	plan, err := h.Backend.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	if err := plan.WriteSummary(&shown); err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(&shown, "%v %+v %#v", plan, plan, plan)
	if len(resolved) == 0 {
		t.Error("no secret was resolved")
	}
	for _, s := range resolved {
		if s == "" || strings.Contains(shown.String(), s) {
			t.Errorf("%q is in what is shown", s)
		}
	}
}

// What an agent showed on its terminal is kept when its bottle is taken down, less what has the shape of a token.
func whatWasShownIsKept(t *testing.T, h Harness) {
	token := "ghp_" + "x8Kd2Lq9Vt3Zr7Wn5Bc1Mf6Hj4Ps0Ya8Ge2D"
	spec := h.onTerminal(t, "echo shown; echo "+token+"; exit 3")
	spec.Remove = false
	b := h.launchSpec(t, spec)
	out := &awaited{}
	streams, _ := seat(out, bottle.Size{Width: 90, Height: 25})
	if code, err := b.Agent(t.Context(), streams); err != nil || code != 3 || !out.has(token) {
		t.Errorf("got %d, %v, %q", code, err, out.all.String())
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	all := h.State.Transcripts(b.Name())
	if len(all) != 1 {
		t.Fatalf("got transcripts %v", all)
	}
	if text, err := os.ReadFile(all[0]); err != nil || !strings.Contains(string(text), "shown") || strings.Contains(string(text), token) {
		t.Errorf("it is %s, %v", text, err)
	}
	if err := h.Backend.Remove(t.Context(), b.Name()); err != nil {
		t.Error(err)
	}
}
