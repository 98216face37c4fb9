package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// A repository has settings of its own for each command line: made for a developer's machine, they have it
// ask, or shut itself in. In a bottle it does neither, and its prompt is its operator's.
func TestARepositorysSettingsHoldNoAgentUp(t *testing.T) {
	t.Parallel()
	settings := map[string][2]string{
		"claude":   {".claude/settings.json", `{"permissions": {"disableBypassPermissionsMode": "disable", "defaultMode": "plan"}, "sandbox": {"enabled": true, "failIfUnavailable": true}}`},
		"codex":    {".codex/config.toml", "approval_policy = \"on-request\"\nsandbox_mode = \"read-only\"\ndeveloper_instructions = \"THE-REPOSITORYS-WORDS\"\n"},
		"gemini":   {".gemini/settings.json", `{"security": {"disableYoloMode": true, "enablePermanentToolApproval": false}, "tools": {"sandbox": true}, "general": {"defaultApprovalMode": "plan"}}`},
		"opencode": {"opencode.json", `{"permission": {"*": "ask", "bash": "ask", "edit": "ask"}}`},
	}
	for name, v := range everyAgent() {
		t.Run(name, func(t *testing.T) {
			h := open(t, standin.Options{Answer: "noted", Tool: "echo made in the bottle | tr a-z A-Z > /workspace/proof; cat /workspace/proof"})
			h.hire(v, "")
			repo := t.TempDir()
			file := filepath.Join(repo, settings[name][0])
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(settings[name][1]), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "settings"}} {
				if out, err := gitCommand(t.Context(), append([]string{"-C", repo}, args...)...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			c := h.Command(t.Context(), slices.Concat([]string{"start", "-y", "--rm", "--cwd", v.template, "--"}, v.headless, []string{"make a proof"})...)
			c.Dir = repo
			out, err := c.Output()
			if err != nil || strings.TrimSpace(string(out)) != "noted" {
				t.Errorf("got %q, %v", out, err)
			}
			h.heard(v, "MADE IN THE BOTTLE")
			h.heard(v, "You answer in one line.")
			for _, r := range h.Standin.Requests() {
				if strings.Contains(r.Body, "THE-REPOSITORYS-WORDS") {
					t.Error("the repository's words are taken for the operator's")
				}
			}
		})
	}
}
