package e2e

import (
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// The main job: the real Claude Code answers from a bottle, standard output is the
// answer and nothing else, and the upstream gets the real key.
func TestHeadless(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "forty-two"})
	r := h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "what is the answer?")
	if strings.TrimSpace(r.Stdout) != "forty-two" {
		t.Errorf("got standard output %q", r.Stdout)
	}
	asked := false
	for _, request := range h.Standin.Requests() {
		if got := request.Header.Values("X-Api-Key"); len(got) != 1 || got[0] != h.Key {
			t.Errorf("%s %s came with %d keys, want our own", request.Method, request.Path, len(got))
		}
		asked = asked || strings.Contains(request.Body, "what is the answer?") && strings.Contains(request.Body, "You answer in one line.")
	}
	if !asked {
		t.Error("the question with the agent's prompt did not reach the upstream")
	}
	if strings.Contains(r.Stderr, h.Key) {
		t.Error("the key is on standard error")
	}
}

// The agent's own exit status is ours.
func TestExitStatusIsTheAgents(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "unused"})
	if r := h.run(1, "", "start", "-y", "--rm", "claude", "--", "--no-such-option"); !strings.Contains(r.Stderr, "no-such-option") {
		t.Errorf("got %q", r.Stderr)
	}
}

// A pipe into start reaches the agent, to its end.
func TestStandardInputReachesTheAgent(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "read it"})
	r := h.run(0, "a story about a bottle", "start", "-y", "--rm", "claude", "--", "-p")
	if strings.TrimSpace(r.Stdout) != "read it" {
		t.Errorf("got %q", r.Stdout)
	}
	for _, request := range h.Standin.Requests() {
		if strings.Contains(request.Body, "a story about a bottle") {
			return
		}
	}
	t.Error("what was piped in did not reach the upstream")
}

// The agent's tools run in the bottle, without questions.
func TestAgentRunsATool(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "done", Tool: "id -un; echo from the bottle > /workspace/proof; cat /workspace/proof"})
	r := h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "use the tool")
	if strings.TrimSpace(r.Stdout) != "done" {
		t.Errorf("got %q", r.Stdout)
	}
	for _, request := range h.Standin.Requests() {
		if strings.Contains(request.Body, "from the bottle") && strings.Contains(request.Body, "node") {
			return
		}
	}
	t.Error("the tool's output did not come back to the model")
}
