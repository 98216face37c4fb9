package e2e

import (
	"bytes"
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// The log of a bottle that nobody on the host reads along with is whole, meanwhile and
// after, and tells what was done.
func TestLogs(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	follow := h.Command(t.Context(), "logs", "-f", "--json", identity)
	var followed bytes.Buffer
	follow.Stdout = &followed
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	h.inside(identity, `curl -sS https://api.anthropic.com/api/hello; curl -sS --max-time 10 https://evil.example/`)
	h.awaitLog(identity, "evil.example")
	r := h.run(0, "", "logs", identity)
	for _, want := range []string{"begin", "GET     api.anthropic.com/api/hello", "deny", "evil.example"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("logs lacks %q:\n%s%s", want, r.Stdout, r.Stderr)
		}
	}
	if r := h.run(0, "", "logs", "--verify", identity); !strings.Contains(r.Stdout, "open: it goes on") {
		t.Errorf("got %s", r.Stdout)
	}
	h.run(0, "", "stop", identity)
	if err := follow.Wait(); err != nil {
		t.Errorf("follow: %v", err)
	}
	file := h.Home + "/state/" + identity + "/audit.jsonl"
	kept, err := os.ReadFile(file)
	if err != nil || followed.String() != string(kept) {
		t.Errorf("followed\n%s\nkept\n%s%v", followed.String(), kept, err)
	}
	if r := h.run(0, "", "logs", "--verify", identity); strings.Contains(r.Stdout, "open") || !strings.Contains(r.Stdout, ": whole: ") {
		t.Errorf("got %s", r.Stdout)
	}
	if err := os.WriteFile(file, bytes.Replace(kept, []byte("evil.example"), []byte("good.example"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := h.run(1, "", "logs", "--verify", identity); !strings.Contains(r.Stderr, "is not whole: line ") {
		t.Errorf("got %s", r.Stderr)
	}
}

// Attack H5, invariant 3: the process that reads a bottle's log is killed, half a line is
// written, and the bottle goes on. Nothing of it is lost, and the log is whole.
func TestAttackH5_TheReaderIsKilled(t *testing.T) {
	dockerOnly(t, "a bundle on the host writes the log itself, and nobody reads it for that")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	c := h.Command(context.WithoutCancel(t.Context()), "start", "-y", "--rm", "sleeper")
	var stderr lockedBuffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	identity := h.awaitRunning(&stderr)
	h.inside(identity, `curl -sS https://api.anthropic.com/before`)
	h.awaitLog(identity, "/before")
	if err := c.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	file := h.Home + "/state/" + identity + "/audit.jsonl"
	if read, err := os.ReadFile(file); err != nil || os.WriteFile(file, read[:len(read)-20], 0o600) != nil {
		t.Fatal(err)
	}
	h.inside(identity, `curl -sS https://api.anthropic.com/after`)
	h.awaitLog(identity, "/after")
	h.run(0, "", "logs", "--verify", identity)
	h.run(0, "", "stop", identity)
	if r := h.run(0, "", "logs", "--verify", identity); strings.Contains(r.Stdout, "open") {
		t.Errorf("got %s", r.Stdout)
	}
	if r := h.run(0, "", "logs", identity); strings.Count(r.Stdout, "/before") != 1 || strings.Count(r.Stdout, "/after") != 1 {
		t.Errorf("got %s", r.Stdout)
	}
}

// awaitLog waits until a bottle's log has a text in it.
func (h house) awaitLog(identity, text string) {
	h.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if r := h.run(0, "", "logs", "--json", identity); strings.Contains(r.Stdout, text) {
			return
		}
	}
	h.t.Fatalf("the log does not have %s", text)
}
