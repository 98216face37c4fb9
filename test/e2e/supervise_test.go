package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// asking is a model that fetches, is refused, asks the operator, waits, and fetches again.
func asking(conversation string) (string, map[string]any) {
	const fetch = "curl -sS -m 60 https://docs.example/echo -d granted=yes"
	id := regexp.MustCompile(`([a-z2-7]{6}-\d+) waits for the operator`).FindStringSubmatch(conversation)
	switch n := strings.Count(conversation, `"type":"tool_result"`); {
	case n == 0:
		return "Bash", map[string]any{"command": fetch, "description": "Fetch"}
	case n == 1:
		return "mcp__operator__list_policy", map[string]any{}
	case n == 2:
		return "mcp__operator__request_egress", map[string]any{"host": "docs.example", "methods": []string{"POST"}, "paths": []string{"/echo"}, "why": "The manual \x1b[2Jis there."}
	case id == nil:
		return "", nil // it shows in what came back
	case !strings.Contains(conversation, id[1]+" is approved") && n < 12:
		return "mcp__operator__check_request", map[string]any{"id": id[1], "wait_seconds": 20}
	case !strings.Contains(conversation, "echoed: ") && n < 14:
		return "Bash", map[string]any{"command": fetch + " | sed 's/^/echoed: /'", "description": "Fetch again"}
	}
	return "", nil
}

// The real Claude Code is refused, asks for a route with the operator's MCP server, is
// approved from another process, and succeeds.
func TestClaudeAsksAndIsGranted(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "done", Call: asking})
	if err := h.Write("bottles/asking.md", "---\nextends: dev\nsupervise: true\n---\n"); err != nil {
		t.Fatal(err)
	}
	if err := h.Write("agents/asker.md", "---\nbottle: asking\n---\n"); err != nil {
		t.Fatal(err)
	}
	follower := h.Command(t.Context(), "requests", "-f", "--json")
	out, err := follower.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follower.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = follower.Cancel(); _ = follower.Wait() }()
	var ran, failed bytes.Buffer
	agent := h.Command(t.Context(), "start", "-y", "--rm", "asker", "--", "-p", "read the manual")
	agent.Stdout, agent.Stderr = &ran, &failed
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Wait()
		_ = follower.Cancel() // or an agent that never asks is waited for
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		<-ended
		t.Fatalf("nothing was asked: %s %s %v", ran.String(), failed.String(), h.lastBody())
	}
	var s requests.Shown
	if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
		t.Fatalf("%s: %v", lines.Bytes(), err)
	}
	if s.State != requests.Pending || s.Delta[0] != "+ https://docs.example:443 POST /echo" || !slices.Equal(s.Why, []string{"The manual [2Jis there."}) || len(s.Risks) == 0 {
		t.Errorf("got %+v", s)
	}
	shown := h.run(0, "", "requests")
	if !strings.Contains(shown.Stdout, "wants    + https://docs.example:443 POST /echo") || strings.Contains(shown.Stdout, "\x1b") {
		t.Errorf("got %s", shown.Stdout)
	}
	h.approveEdited(s)
	if err := <-ended; err != nil || strings.TrimSpace(ran.String()) != "done" {
		t.Errorf("got %q %q, %v", ran.String(), failed.String(), err)
	}
	if body := h.lastBody(); !strings.Contains(body, "echoed: ") || !strings.Contains(body, "granted=yes") || !strings.Contains(body, "is approved") {
		t.Errorf("what came back to the model: %s", body)
	}
	log := h.run(0, "", "logs", s.Bottle, "--json", "--verify").Stdout + h.run(0, "", "logs", s.Bottle).Stdout
	for _, want := range []string{"+ https://docs.example:443 POST /echo", "approved for once as edited by the operator", s.ID} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q: %s", want, log)
		}
	}
}

// approveEdited approves what was asked for, at the address of the stand-in, once.
func (h house) approveEdited(s requests.Shown, extra ...string) {
	h.t.Helper()
	_, port, _ := net.SplitHostPort(h.Standin.Address)
	route := s.Routes[0]
	route.Address, route.Private, route.CA = gatewayName()+":"+port, true, h.Standin.CA
	data, err := json.Marshal([]any{route})
	if err == nil {
		err = h.Write("edited.json", string(data))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	c := h.Command(h.t.Context(), append([]string{"approve", s.ID, "--edit", "--once", "-y"}, extra...)...)
	c.Env = append(c.Env, fmt.Sprintf("EDITOR=cp '%s/edited.json'", h.Home), "SUPPLIED=supplied-0123456789")
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "granted "+s.ID+", once") || !strings.Contains(string(out), "may be at a private address") {
		h.t.Fatalf("got %s, %v", out, err)
	}
}

// requests are those that wait.
func (h house) requests() (found []requests.Shown) {
	h.t.Helper()
	if err := json.Unmarshal([]byte(h.run(0, "", "requests", "--json").Stdout), &found); err != nil {
		h.t.Fatal(err)
	}
	return found
}

// lastBody is the last conversation that reached the model.
func (h house) lastBody() string {
	all := h.Standin.Requests()
	slices.Reverse(all)
	for _, r := range all {
		if strings.HasPrefix(r.Path, "/v1/messages") {
			return r.Body
		}
	}
	return ""
}

// tool calls one of the operator's tools from inside, as a program of the agent's own would.
func (h house) tool(identity, name, arguments string) string {
	h.t.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, name, arguments)
	r := h.inside(identity, "curl -sS -m 60 -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '"+body+"' http://127.0.0.1:7717/mcp")
	return r.Stdout + r.Stderr
}

// asked takes the request's id out of a tool's answer.
func (h house) asked(answer string) string {
	h.t.Helper()
	id := regexp.MustCompile(`[a-z2-7]{6}-\d+`).FindString(answer)
	if id == "" {
		h.t.Fatalf("nothing was taken down: %s", answer)
	}
	return id
}

// The operator rejects, answers, grants for a while and takes back, and the agent learns
// of each.
func TestTheOperatorsVerbs(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	if err := h.Write("bottles/sleeper2.md", "---\nextends: sleeper\nsupervise: true\n---\n"); err != nil {
		t.Fatal(err)
	}
	if err := h.Write("agents/sleeper.md", "---\nbottle: sleeper2\n---\n"); err != nil {
		t.Fatal(err)
	}
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "--rm", "sleeper").Stdout)
	defer h.run(0, "", "stop", identity)
	if r := h.run(0, "", "requests"); r.Stdout != "" || !strings.Contains(r.Stderr, "nothing waits") {
		t.Errorf("got %q %q", r.Stdout, r.Stderr)
	}

	question := h.asked(h.tool(identity, "ask_operator", `{"question":"Keep the old API?","choices":["yes","no"]}`))
	h.run(2, "", "approve", question, "-y")
	h.run(0, "", "answer", question, "2")
	if got := h.tool(identity, "check_request", `{"id":"`+question+`"}`); !strings.Contains(got, "is answered: no") {
		t.Errorf("answered: got %s", got)
	}

	rejected := h.asked(h.tool(identity, "request_egress", `{"host":"evil.example","why":"x"}`))
	h.run(2, "", "answer", rejected, "text")
	h.run(0, "", "reject", rejected, "--reason", "no need")
	if got := h.tool(identity, "request_egress", `{"host":"evil.example","why":"really"}`); !strings.Contains(got, "no need") || !strings.Contains(got, `"isError":true`) {
		t.Errorf("rejected: got %s", got)
	}

	granted := h.asked(h.tool(identity, "request_egress", `{"host":"docs.example","methods":["GET"],"why":"x"}`))
	h.run(1, "", "approve", granted, "-y", "--digest", "0123")
	h.run(2, "", "approve", granted) // nobody can say yes here
	h.run(0, "", "approve", granted, "-y", "--for", "1h")
	if r := h.run(0, "", "egress", identity); !strings.Contains(r.Stdout, "granted  https://docs.example:443 GET ("+granted+", 1h)") {
		t.Errorf("shown: %s", r.Stdout)
	}
	resolves := func() string { return h.inside(identity, "getent hosts docs.example; echo $?").Stdout }
	if got := resolves(); !strings.Contains(got, "docs.example") {
		t.Errorf("granted: got %q", got)
	}
	h.run(0, "", "revoke", granted)
	if got := resolves(); strings.Contains(got, "docs.example") {
		t.Errorf("taken back: got %q", got)
	}
	h.run(1, "", "revoke", granted)
	kept, err := os.ReadFile(filepath.Join(h.Home, "state", identity, "requests.jsonl"))
	if err != nil || !strings.Contains(string(kept), `{"id":"`+granted) || !strings.Contains(string(kept), `{"id":"`+rejected) {
		t.Errorf("what is over is kept as %s, %v", kept, err)
	}

	secret := h.asked(h.tool(identity, "request_secret", `{"host":"docs.example","name":"DEPLOY_TOKEN","scheme":"bearer","methods":["POST"],"why":"x"}`))
	h.run(2, "", "approve", secret, "-y") // there is no terminal to type it on
	var s requests.Shown
	for _, found := range h.requests() {
		if found.ID == secret {
			s = found
		}
	}
	h.approveEdited(s, "--secret-from", "env:SUPPLIED")
	h.inside(identity, "curl -sS -m 60 -d x https://docs.example/echo")
	sent := h.Standin.Requests()
	if len(sent) == 0 {
		t.Fatal("nothing reached the upstream")
	}
	if got := sent[len(sent)-1].Header.Get("Authorization"); got != "Bearer supplied-0123456789" {
		t.Errorf("the upstream got %q", got)
	}

	always := h.asked(h.tool(identity, "request_egress", `{"host":"manual.example","methods":["GET"],"why":"x"}`))
	if r := h.run(0, "", "approve", always, "-y", "--always"); !strings.Contains(r.Stderr, "+     - {host: manual.example, methods: [GET]}") {
		t.Errorf("for good: got %s", r.Stderr)
	}
	if data, err := os.ReadFile(filepath.Join(h.Home, "bottles", "sleeper2.md")); err != nil || !strings.HasPrefix(string(data), "---\nextends: sleeper\nsupervise: true\negress:\n  routes:\n    - {host: manual.example, methods: [GET]}  # approved ") {
		t.Errorf("got %s, %v", data, err)
	}
	h.run(0, "", "validate")
	h.run(1, "", "approve", "nobody-1", "-y")
	if r := h.run(0, "", "requests", "--all"); !strings.Contains(r.Stdout, "the operator took it back") || !strings.Contains(r.Stdout, "no need") {
		t.Errorf("got %s", r.Stdout)
	}
}
