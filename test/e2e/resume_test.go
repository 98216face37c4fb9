package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/test/faults"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// identityOf takes the identity out of what start says.
func identityOf(t *testing.T, stderr string) string {
	t.Helper()
	found := regexp.MustCompile(`([a-z0-9-]+-[a-z2-7]{6}) is up`).FindStringSubmatch(stderr)
	if found == nil {
		t.Fatalf("nothing is up: %s", stderr)
	}
	return found[1]
}

// The real Claude Code ends; resumed, it knows what was said, its files are there, its key
// is still worth nothing, and the log goes on where it was.
func TestResumeContinuesTheConversation(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "noted", Tool: "echo kept > /workspace/file; echo kept > ~/file"})
	identity := identityOf(t, h.run(0, "", "start", "-y", "claude", "--", "-p", "remember the word xylophone").Stderr)
	h.removeAtEnd(identity)
	before := len(h.Standin.Requests())
	if err := h.Write("bottles/dev.md", strings.Replace(h.read("bottles/dev.md"), "secrets:", "env: {EDITOR: ed}\nresources: {pids: 333}\nsecrets:", 1)); err != nil {
		t.Fatal(err)
	}
	if r := h.run(0, "", "resume", "--dry-run", identity); !strings.Contains(r.Stdout, "since its last run:") || !strings.Contains(r.Stdout, ", memory 4096 MiB, processes 1024") || !strings.Contains(r.Stdout, ", memory 4096 MiB, processes 333\n") {
		t.Errorf("the preflight does not say what changed: %s", r.Stdout)
	}
	r := h.run(0, "", "resume", "-y", identity, "--", "-p", "which word?")
	if strings.TrimSpace(r.Stdout) != "noted" {
		t.Errorf("got %q %q", r.Stdout, r.Stderr)
	}
	remembered := false
	for _, request := range h.Standin.Requests()[before:] {
		remembered = remembered || strings.Contains(request.Body, "xylophone") && strings.Contains(request.Body, "which word?")
		if key := request.Header.Get("X-Api-Key"); key != "" && key != h.Key {
			t.Errorf("the upstream got %q", key)
		}
	}
	if !remembered {
		t.Error("the conversation did not go on")
	}
	if log := h.run(0, "", "logs", identity, "--json"); strings.Count(log.Stdout, `"event":"begin"`) != 2 {
		t.Errorf("got %s", log.Stdout)
	}
	h.run(0, "", "logs", identity, "--verify")
}

func (h house) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.Home, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// The CLI, the agent's container and the bundle die at once, as with the machine. What was
// done is there, the log is whole, and what was left behind is gone.
func TestResumeAfterACrash(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "noted"})
	h.sleeper()
	var out, said bytes.Buffer
	start := h.Command(t.Context(), "start", "-y", "sleeper")
	start.Stdout, start.Stderr = &out, &said
	if err := start.Start(); err != nil {
		t.Fatal(err)
	}
	identity := h.awaitOne()
	h.removeAtEnd(identity)
	if r := h.run(0, "", "exec", identity, "--", "sh", "-c", "echo work > /workspace/file; sync; cat /workspace/file"); r.Stdout != "work\n" {
		t.Fatalf("got %+v", r)
	}
	placeholder := strings.TrimSpace(h.inside(identity, "echo $ANTHROPIC_API_KEY").Stdout)
	_ = start.Process.Signal(syscall.SIGKILL)
	_ = start.Wait()
	for _, container := range []string{"agent", "sidecar"} {
		h.kill(identity, container)
	}
	h.run(0, "", "resume", "-y", "--detach", identity)
	if got := h.inside(identity, "cat /workspace/file; env").Stdout; !strings.HasPrefix(got, "work\n") || strings.Contains(got, h.Key) || !strings.Contains(got, "ANTHROPIC_API_KEY="+placeholder) {
		t.Errorf("got %s", got)
	}
	if again := h.run(2, "", "resume", "-y", identity); !strings.Contains(again.Stderr, "attach "+identity) {
		t.Errorf("running: got %s", again.Stderr)
	}
	h.run(0, "", "stop", identity)
	h.run(0, "", "logs", identity, "--verify")
	if log := h.read("state/" + identity + "/audit.jsonl"); strings.Count(log, `"event":"`+audit.Begin+`"`) != 2 {
		t.Errorf("got %s", log)
	}
}

// A resume that fails takes nothing with it: neither home nor workspace nor the record.
func TestAFailedResumeLosesNothing(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.kept()
	h.removeAtEnd(identity)
	h.run(2, "", "resume", "-y", "nobody-aaaaaa")
	h.run(2, "", "resume", "-y", "../"+identity)
	if h.on == smolvm { // it has its image and its processors: its hypervisor fails, and then its guest
		h.failsToResume(identity)
	} else {
		h.isRefusedAResume(identity)
	}
	if r := h.run(0, "", "list", "all"); !strings.Contains(r.Stdout, identity) {
		t.Errorf("the record is gone: %s", r.Stdout)
	}
	h.run(0, "", "resume", "-y", "--detach", identity)
	if got := h.inside(identity, "cat /workspace/file").Stdout; got != "work\n" {
		t.Errorf("got %q", got)
	}
	h.run(0, "", "stop", identity)
	h.run(0, "", "logs", identity, "--verify")
	h.run(0, "", "rm", "-y", identity)
	h.run(2, "", "resume", "-y", identity)
}

// A resume that fails does not take away how the agent had ended, while no process held it.
func TestAFailedResumeKeepsHowItEnded(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.exited()
	if h.on == smolvm {
		h.failsToResume(identity)
	} else {
		h.isRefusedAResume(identity)
	}
	if r := h.run(0, "", "list", "all"); !strings.Contains(lineOf(r.Stdout, identity), "ended with status 137") {
		t.Errorf("got %s", r.Stdout)
	}
	h.run(0, "", "logs", identity, "--verify")
}

// isRefusedAResume asks for processors that the engine does not have, for an image that cannot be built, and
// then of an engine that does not start its container, with the bundle on its way.
func (h house) isRefusedAResume(identity string) {
	h.t.Helper()
	good, modest := h.read("sleeper/Dockerfile"), h.read("bottles/dev.md")
	for _, change := range []struct {
		file, good, bad string
		status          int
	}{
		{"bottles/dev.md", modest, strings.Replace(modest, "secrets:", "resources: {cpus: 900}\nsecrets:", 1), 1},
		{"sleeper/Dockerfile", good, good + "RUN false\n", 125},
	} {
		if err := h.Write(change.file, change.bad); err != nil {
			h.t.Fatal(err)
		}
		h.run(change.status, "", "resume", "-y", "--detach", identity)
		if err := h.Write(change.file, change.good); err != nil {
			h.t.Fatal(err)
		}
	}
	proxy, err := faults.Start(h.t.TempDir(), strings.TrimPrefix(lab.Endpoint(), "unix://"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = proxy.Close() }()
	proxy.FailOnly(func(call string) bool { return endpoint(call) == endpoints["ContainerStart"] }, 1, faults.Refuse)
	if h.at("DOCKER_HOST="+proxy.Host).run(125, "", "resume", "-y", "--detach", identity); proxy.Fired() == "" {
		h.t.Error("the engine started all")
	}
}

// removeAtEnd stops and removes a bottle when the test ends.
func (h house) removeAtEnd(identity string) {
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		_, _ = h.Run(ctx, nil, "stop", identity)
		_, _ = h.Run(ctx, nil, "rm", "-y", identity)
	})
}

// awaitOne waits until a bottle is up, and returns its identity.
func (h house) awaitOne() string {
	h.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		logs, _ := filepath.Glob(filepath.Join(h.Home, "state", "*-*", "audit.jsonl"))
		if len(logs) == 1 && strings.Contains(h.read(strings.TrimPrefix(logs[0], h.Home)), `"event":"`+audit.Begin+`"`) {
			if identity := filepath.Base(filepath.Dir(logs[0])); h.on == onDocker || strings.Contains(h.run(0, "", "list").Stdout, identity) {
				return identity // in a machine, the services come first
			}
		}
	}
	h.t.Fatal("no bottle runs")
	return ""
}

// kept is a stopped bottle with a file in its workspace.
func (h house) kept() string {
	h.t.Helper()
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.run(0, "", "exec", identity, "--", "sh", "-c", "echo work > /workspace/file")
	h.run(0, "", "stop", identity)
	return identity
}

// Everything dies while a request waits and a grant has time left. The bottle that is
// resumed has both, and not the grant that was for as long as it ran.
func TestRequestsOutliveACrash(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	for name, content := range map[string]string{"bottles/sleeper2.md": "---\nextends: sleeper\nsupervise: true\n---\n", "agents/sleeper.md": "---\nbottle: sleeper2\n---\n"} {
		if err := h.Write(name, content); err != nil {
			t.Fatal(err)
		}
	}
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.removeAtEnd(identity)
	ask := func(host string) string {
		return h.asked(h.tool(identity, "request_egress", `{"host":"`+host+`","methods":["GET"],"why":"x"}`))
	}
	session, hour, waits := ask("session.example"), ask("hour.example"), ask("waits.example")
	h.run(0, "", "approve", session, "-y", "--session")
	h.run(0, "", "approve", hour, "-y", "--for", "1h")
	for _, container := range []string{"agent", "sidecar"} {
		h.kill(identity, container)
	}
	h.run(0, "", "resume", "-y", "--detach", identity)
	if found := h.requests(); len(found) != 1 || found[0].ID != waits {
		t.Errorf("got %+v", found)
	}
	if got := h.inside(identity, "getent hosts hour.example session.example waits.example; true").Stdout; !strings.Contains(got, "hour.example") || strings.Contains(got, "session") || strings.Contains(got, "waits") {
		t.Errorf("got %q", got)
	}
	h.run(0, "", "approve", waits, "-y")
	if got := h.tool(identity, "check_request", `{"id":"`+waits+`"}`); !strings.Contains(got, "is approved") {
		t.Errorf("got %s", got)
	}
	h.run(0, "", "stop", identity)
	h.run(0, "", "logs", identity, "--verify")
	if log := h.run(0, "", "logs", identity).Stdout; !strings.Contains(log, "the bottle was started again") {
		t.Errorf("got %s", log)
	}
}

// A bottle whose agent never spoke, or spoke without a terminal, is resumed with one, and
// stays: Claude's own --continue would end at once.
func TestResumeOnATerminal(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "noted"})
	silent := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "claude").Stdout)
	h.removeAtEnd(silent)
	h.run(0, "", "stop", silent)
	spoke := identityOf(t, h.run(0, "", "start", "-y", "claude", "--", "-p", "remember the word xylophone").Stderr)
	h.removeAtEnd(spoke)
	for identity, want := range map[string]string{silent: "bypass permissions on", spoke: "xylophone"} {
		s := h.terminal("resume", "-y", identity)
		s.wait(want)
		s.wait("bypass permissions on")
		h.run(0, "", "stop", identity)
		s.end()
		s.cooked()
	}
}
