package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/browser"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// The report of a real agent's work, out of a real log, in a real browser: while the bottle
// runs and after it is gone.
func TestReportOfARealBottle(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{
		Answer: "done",
		Tool:   "curl -s https://evil.example/; curl -s https://api.anthropic.com/v1/other; curl -s -X POST -d x https://api.anthropic.com/v1/files; echo ok",
	})
	if r := h.run(0, "", "start", "-y", "claude", "--", "-p", "look around", "--dangerously-skip-permissions"); strings.TrimSpace(r.Stdout) != "done" {
		t.Fatalf("got %q", r.Stdout)
	}
	identity := ""
	for line := range strings.Lines(h.run(0, "", "list", "all").Stdout) {
		if strings.HasPrefix(line, "claude-") {
			identity, _, _ = strings.Cut(line, " ")
		}
	}
	path := filepath.Join(h.Home, "page.html")
	h.run(0, "", "report", identity, "-o", path)
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{identity, "The audit log is whole.", "no route allows evil.example", "ANTHROPIC_API_KEY", "The agent ended with status 0.", "sha256:"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(string(page), h.Key) {
		t.Error("the page holds the real key")
	}
	b, err := browser.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	events, err := b.Open(t.Context(), "file://"+path, browser.Look{Width: 1280, Height: 1400})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Method == "Log.entryAdded" || e.Method == "Runtime.exceptionThrown" {
			t.Errorf("the browser says %s", e.Params)
		}
	}
	if into := os.Getenv("BOT_BOTTLE_SHOT"); into != "" {
		png, err := b.Screenshot(t.Context(), true)
		if err := errors.Join(err, os.WriteFile(into, png, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	h.run(0, "", "rm", "-y", identity)
	h.run(2, "", "report", identity)
}

// A bottle whose agent or bundle is suspended can be stopped.
func TestStopOfAPausedBottle(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	for _, role := range []string{"agent", "sidecar"} {
		identity := h.idle()
		if h.on == smolvm {
			if role == "sidecar" { // what a smolvm does about a machine that hangs is its own affair
				h.stopHung(identity, h.bundlePID(identity))
			}
			continue
		}
		if _, err := h.Engine.ContainerPause(t.Context(), "bot-bottle-"+identity+"-"+role, client.ContainerPauseOptions{}); err != nil {
			t.Fatal(err)
		}
		if r := h.run(0, "", "list"); !strings.Contains(r.Stdout, "paused") {
			t.Errorf("%s: got %s", role, r.Stdout)
		}
		h.run(0, "", "stop", identity)
		h.run(0, "", "logs", identity, "--verify")
	}
}

// stopHung stops a bottle of which a process on the host is suspended.
func (h house) stopHung(identity string, pid int) {
	h.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		h.t.Fatal(err)
	}
	h.run(0, "", "stop", identity)
	h.run(0, "", "logs", identity, "--verify")
}
