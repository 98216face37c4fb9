package policy

import "testing"

// ATTACK F7: a file that servers or the next checkout act on, in a spelling that is another one for git, and the same for
// a file system: letters that fold to plain ones, characters that are dropped, short names, streams.
func TestAttackF7_SpellingsOfSensitivePaths(t *testing.T) {
	for _, path := range []string{
		".v\u017fcode/tasks.json", ".VSCODE/tasks.json", "sub/.v\u017fcode/tasks.json", ".github/wor\u212aflows/ci.yml", ".hu\u017fky/pre-commit", "CODEOWNER\u017f",
		".pre-commit-con\ufb01g.yaml", ".env\u200crc", ".vs\ufeffcode/tasks.json", ".\u206aclaude/settings.json", ".vscode./tasks.json", ".vscode /tasks.json", ".envrc. .",
		".vscode::$INDEX_ALLOCATION/tasks.json", ".envrc::$DATA", ".vscode\\tasks.json", "VSCODE~1/tasks.json", "sub/claude~1/settings.json", "MCP~1.JSO", "GI7EBA~1",
	} {
		if action, _ := (Push{}).PathAction(path); action != HoldPath {
			t.Errorf("%q: %s", path, action)
		}
	}
	for _, path := range []string{"main.go", "docs/a.b/c", "a~b", "notes~", "backup.~1~", "stra\u00dfe/\u017f.go", "src/file.txt~1", "vscode/tasks.json", "x:y", "a. /b"} {
		if action, _ := (Push{}).PathAction(path); action != AllowPath {
			t.Errorf("%q: %s", path, action)
		}
	}
}

// What the manifest says of a path counts for what git has it as; a spelling is never better off than that, nor better than
// what it may be taken for.
func TestAttackF7_ASpellingIsNoWayOut(t *testing.T) {
	p := Push{Paths: map[string]PathAction{"docs/**": AllowPath, "locked/**": RefusePath, ".vscode/**": AllowPath}}
	for path, want := range map[string]PathAction{
		"docs/.vscode/tasks.json": AllowPath, ".vscode/tasks.json": AllowPath, ".v\u017fcode/tasks.json": AllowPath,
		"docs:x/.vscode/tasks.json": HoldPath, "loc\u212aed/x": RefusePath, "LOCKED /x": RefusePath, "locked:x": RefusePath, "docs/VSCODE~1/x": AllowPath, "LOCKED~1/x": HoldPath,
	} {
		if action, _ := p.PathAction(path); action != want {
			t.Errorf("%q: %s, want %s", path, action, want)
		}
	}
}

// ATTACK E4: what an agent's program, or bot-bottle itself, does at its next start in a checkout is written in these.
func TestAttackE4_WhatAgentsStartWithIsHeld(t *testing.T) {
	for _, path := range []string{
		".claude/settings.json", ".mcp.json", ".gemini/settings.json", ".codex/config.toml", "opencode.json", "sub/opencode.jsonc", ".opencode/plugin/x.ts", ".cursor/mcp.json", ".zed/tasks.json",
		"x.code-workspace", ".bot-bottle/agents/implementer.md", "sub/.bot-bottle/agents/implementer.md",
	} {
		if action, _ := (Push{}).PathAction(path); action != HoldPath {
			t.Errorf("%s: %s", path, action)
		}
	}
}
