package e2e

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// vendor is an agent's command line with the API that it talks to.
type vendor struct {
	template, host, secret string
	auth                   string   // how its key travels, in a manifest
	headless               []string // what goes before a question without a terminal
	policy                 string   // its name of the operator's tool list_policy
	ready, leave           string   // on a terminal: shown when it takes a question; typed to end it
}

func vendors() map[string]vendor {
	return map[string]vendor{
		"codex":    {"codex", standin.OpenAIHost, "OPENAI_API_KEY", "scheme: bearer", nil, "mcp__operator__list_policy", "Ask Codex", "/quit"},
		"gemini":   {"gemini", standin.GeminiHost, "GEMINI_API_KEY", "scheme: header, header: x-goog-api-key", []string{"-p"}, "mcp_operator_list_policy", "Type your message", "/quit"},
		"opencode": {"opencode", standin.Host, "ANTHROPIC_API_KEY", "scheme: header, header: x-api-key", nil, "operator_list_policy", "Ask anything", "/exit"},
	}
}

// hire writes a bottle and an agent of a vendor's name, whose API the stand-in is. more
// goes into the bottle's front matter.
func (h house) hire(v vendor, more string) {
	h.t.Helper()
	_, port, err := net.SplitHostPort(h.Standin.Address)
	if err != nil {
		h.t.Fatal(err)
	}
	for name, content := range map[string]string{
		"bottles/" + v.template + ".md": `---
agent_provider: {template: ` + v.template + `}
secrets: {` + v.secret + `: {env: ANTHROPIC_API_KEY}}
egress:
  routes:
    - host: ` + v.host + `
      auth: {` + v.auth + `, secret: ` + v.secret + `}
      ca: ../standin.pem
      address: ` + gatewayName() + `:` + port + `
      private: true
` + more + `---
`,
		"agents/" + v.template + ".md": "---\nbottle: " + v.template + "\n---\nYou answer in one line.\n",
	} {
		if err := h.Write(name, content); err != nil {
			h.t.Fatal(err)
		}
	}
}

// heard wants a request with all words, and the real key on every one.
func (h house) heard(v vendor, words ...string) {
	h.t.Helper()
	asked := false
	for _, request := range h.Standin.Requests() {
		if !strings.Contains(strings.Join([]string{request.Header.Get("X-Api-Key"), request.Header.Get("X-Goog-Api-Key"), request.Header.Get("Authorization")}, " "), h.Key) {
			h.t.Errorf("%s %s came without our key", request.Method, request.Path)
		}
		all := true
		for _, word := range words {
			all = all && strings.Contains(request.Body, word)
		}
		asked = asked || all
	}
	if !asked {
		h.t.Errorf("no request held %q", words)
	}
}

// Every command line answers on a terminal, without a question before it.
func TestEveryAgentAnswersOnATerminal(t *testing.T) {
	t.Parallel()
	for name, v := range vendors() {
		t.Run(name, func(t *testing.T) {
			h := open(t, standin.Options{Answer: "PINEAPPLE-7731"})
			h.hire(v, "")
			s := h.terminal("start", "-y", "--rm", v.template)
			s.wait(v.ready)
			s.enter("which fruit")
			s.wait("PINEAPPLE-7731")
			if code := s.leave(v.leave); code != 0 {
				t.Errorf("got status %d", code)
			}
			s.cooked()
		})
	}
}

// leave tells an agent to end until it does: one that still comes up may take the command for a
// prompt.
func (s *screen) leave(command string) int {
	s.t.Helper()
	ended := make(chan int, 1)
	go func() { ended <- s.end() }()
	for {
		s.send(command)
		time.Sleep(200 * time.Millisecond) // what is sent at once is pasted, not typed
		s.send("\r")
		select {
		case code := <-ended:
			return code
		case <-time.After(10 * time.Second):
		}
	}
}

// with runs the program with more in its environment.
func (h house) with(env string, args ...string) lab.Result {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	c := h.Command(h.t.Context(), args...)
	c.Env, c.Stdout, c.Stderr = append(c.Env, env), &stdout, &stderr
	if err := c.Run(); err != nil {
		h.t.Fatalf("%v: %v\nstdout: %s\nstderr: %s", args, err, &stdout, &stderr)
	}
	return lab.Result{Stdout: stdout.String(), Stderr: stderr.String()}
}

// skilled gives an agent a skill, and returns the home in which the operator keeps it.
func (h house) skilled(agent string) string {
	h.t.Helper()
	home := h.t.TempDir()
	skill := filepath.Join(home, ".claude", "skills", "bottling")
	if err := errors.Join(
		os.MkdirAll(skill, 0o755),
		os.WriteFile(filepath.Join(skill, "SKILL.md"), []byte("---\nname: bottling\ndescription: How to fill a KUMQUAT-4411 bottle.\n---\nFill it.\n"), 0o644),
		os.WriteFile(filepath.Join(skill, "fill.sh"), []byte("#!/bin/sh\necho filled with kumquats\n"), 0o755),
		h.Write("agents/"+agent+".md", "---\nbottle: "+agent+"\nskills: [bottling]\n---\nYou answer in one line.\n"),
	); err != nil {
		h.t.Fatal(err)
	}
	return home
}

// Every command line works without a terminal: standard output is the answer and nothing
// else, the upstream gets the real key and the prompt. A tool of its own runs in the bottle without a
// question, and so does a skill's script; and resumed, it goes on with the conversation.
func TestEveryAgentWorksAndGoesOn(t *testing.T) {
	t.Parallel()
	all := vendors()
	all["claude"] = vendor{template: "claude", host: standin.Host, secret: "ANTHROPIC_API_KEY", auth: "scheme: header, header: x-api-key", headless: []string{"-p"}}
	for name, v := range all {
		t.Run(name, func(t *testing.T) {
			h := open(t, standin.Options{Answer: "noted", Tool: "id -un; find ~ -name fill.sh -exec {} ';'; echo kept > /workspace/proof"})
			h.hire(v, "")
			env := "HOME=" + h.skilled(v.template)
			ask := func(verb, question string) string {
				r := h.with(env, slices.Concat([]string{verb[:strings.IndexByte(verb, ' ')], "-y", verb[strings.IndexByte(verb, ' ')+1:], "--"}, v.headless, []string{question})...)
				if strings.TrimSpace(r.Stdout) != "noted" {
					t.Errorf("got %q, %s", r.Stdout, r.Stderr)
				}
				return r.Stderr
			}
			identity := identityOf(t, ask("start "+v.template, "remember papaya"))
			h.removeAtEnd(identity)
			h.heard(v, "remember papaya", "You answer in one line.", "KUMQUAT-4411")
			h.heard(v, "filled with kumquats", "node")
			ask("resume "+identity, "which fruit")
			h.heard(v, "papaya", "which fruit")
			if log := h.run(0, "", "logs", identity, "--json").Stdout; name == "claude" && strings.Contains(log, `"decision":"deny"`) {
				t.Errorf("it asks for what it does not need: %s", log)
			}
		})
	}
}

// Resumed on a terminal, every command line shows the conversation that it held without one, and takes a
// question.
func TestEveryAgentGoesOnOnATerminal(t *testing.T) {
	t.Parallel()
	for name, v := range vendors() { // Claude Code's own is TestResumeOnATerminal
		t.Run(name, func(t *testing.T) {
			h := open(t, standin.Options{Answer: "PINEAPPLE-7731"})
			h.hire(v, "")
			identity := identityOf(t, h.run(0, "", slices.Concat([]string{"start", "-y", v.template, "--"}, v.headless, []string{"remember papaya"})...).Stderr)
			h.removeAtEnd(identity)
			s := h.terminal("resume", "-y", identity)
			s.wait("PINEAPPLE-7731")
			if name != "opencode" { // its words for it are those of an empty conversation
				s.wait(v.ready)
			}
			h.run(0, "", "stop", identity)
			s.end()
			s.cooked()
		})
	}
}

// Another provider takes over a bottle: its workspace stays, and nothing of the one before
// is in its way.
func TestSwitchingTheProviderKeepsTheWorkspace(t *testing.T) {
	dockerOnly(t, "a machine keeps the image that it was made with")
	t.Parallel()
	h := open(t, standin.Options{Answer: "noted", Tool: "cat /workspace/proof || echo made by the first | tr a-z A-Z > /workspace/proof"})
	first, second := vendors()["codex"], vendors()["gemini"]
	h.hire(first, "")
	identity := identityOf(t, h.run(0, "", "start", "-y", "codex", "--", "begin").Stderr)
	h.removeAtEnd(identity)
	h.hire(second, "")
	if err := h.Write("bottles/codex.md", h.read("bottles/gemini.md")); err != nil {
		t.Fatal(err)
	}
	before := len(h.Standin.Requests())
	if r := h.run(0, "", "resume", "-y", identity, "--", "-p", "go on"); strings.TrimSpace(r.Stdout) != "noted" {
		t.Errorf("got %q, %s", r.Stdout, r.Stderr)
	}
	for _, request := range h.Standin.Requests()[before:] {
		if strings.Contains(request.Body, "MADE BY THE FIRST") {
			return
		}
	}
	t.Error("the second agent did not find what the first had written")
}

// Every command line calls its operator's tools, without a question.
func TestEveryAgentAsksItsOperator(t *testing.T) {
	t.Parallel()
	for name, v := range vendors() {
		t.Run(name, func(t *testing.T) {
			h := open(t, standin.Options{Answer: "asked", Call: func(conversation string) (string, map[string]any) {
				if strings.Contains(conversation, `_call_output"`) || strings.Contains(conversation, `"functionResponse"`) || strings.Contains(conversation, `"tool_result"`) {
					return "", nil
				}
				return v.policy, map[string]any{}
			}})
			h.hire(v, "supervise: true\n")
			r := h.run(0, "", slices.Concat([]string{"start", "-y", "--rm", v.template, "--"}, v.headless, []string{"what is allowed"})...)
			if strings.TrimSpace(r.Stdout) != "asked" {
				t.Errorf("got %q, %s", r.Stdout, r.Stderr)
			}
			for _, request := range h.Standin.Requests() {
				for _, mark := range []string{`_call_output"`, `"functionResponse"`, `"tool_result"`} {
					if _, result, ok := strings.Cut(request.Body, mark); ok && strings.Contains(result, v.host) {
						return
					}
				}
			}
			t.Error("what the tool says did not come back to the model")
		})
	}
}

// Every command line clones, edits, commits and pushes through the gate, as its prompt's
// author would.
func TestEveryAgentPushesThroughTheGate(t *testing.T) {
	t.Parallel()
	for name, v := range vendors() {
		t.Run(name, func(t *testing.T) {
			work := `git clone -q "$UPSTREAM" w && cd w && git checkout -q -b agent/fix && echo hi > hi && git add hi && git commit -q -m hi && git push -q origin agent/fix`
			h := openGit(t, standin.Options{Answer: "pushed", Tool: work}, `refs: ["refs/heads/agent/**"]`)
			h.hire(v, "env: {UPSTREAM: '"+h.ssh.URL(gatewayName(), h.upstream)+"'}\n"+h.declared)
			if err := h.Write("agents/"+v.template+".md", "---\nbottle: "+v.template+"\ngit_identity: {name: Agent, email: agent@acme.example}\n---\n"); err != nil {
				t.Fatal(err)
			}
			r := h.run(0, "", slices.Concat([]string{"start", "-y", "--rm", v.template, "--"}, v.headless, []string{"fix it"})...)
			if strings.TrimSpace(r.Stdout) != "pushed" || h.theirs("refs/heads/agent/fix") == "" {
				t.Errorf("got %q, upstream has %q: %s", r.Stdout, h.theirs("refs/heads/agent/fix"), r.Stderr)
			}
		})
	}
}

// Codex speaks over its WebSocket from the first try: one that were refused would cost its
// five retries before every answer.
func TestCodexSpeaksOverItsWebSocket(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "forty-two"})
	v := vendors()["codex"]
	h.hire(v, "")
	identity := identityOf(t, h.run(0, "", "start", "-y", "codex", "--", "exec", "what is the answer").Stderr)
	h.removeAtEnd(identity)
	spoken := 0
	for _, request := range h.Standin.Requests() {
		if request.Method == "WEBSOCKET" && request.Header.Get("Authorization") == "Bearer "+h.Key {
			spoken++
		} else if request.Method == "POST" {
			t.Errorf("it fell back to %s", request.Path)
		}
	}
	if spoken == 0 {
		t.Error("nothing was said over a WebSocket with our key")
	}
	if log := h.run(0, "", "logs", identity, "--json").Stdout; strings.Contains(log, `"decision":"deny"`) {
		t.Errorf("it asks for what it does not need: %s", log)
	}
}
