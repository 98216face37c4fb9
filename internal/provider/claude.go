package provider

import (
	"slices"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// The two credentials that Claude Code takes.
const (
	anthropicKey = "ANTHROPIC_API_KEY"
	claudeOAuth  = "CLAUDE_CODE_OAUTH_TOKEN"
)

// claude is Claude Code. A subscription's token comes before an API key: with both,
// the key would silently move the agent off its subscription (ATTACKS C12).
func claude() Provider {
	return Provider{
		Template: "claude",
		Image:    "claude",
		Program:  "claude",
		Credentials: []Credential{
			{claudeOAuth, anthropicRoute(policy.Auth{Scheme: policy.Bearer, Secret: claudeOAuth})},
			{anthropicKey, anthropicKeyRoute()},
		},
		Skills: Home + "/.claude/skills",
		Busy:   "esc to interrupt",
		Remote: true,
		Setup:  claudeSetup,
	}
}

// anthropicRoute reaches all of Anthropic's API but its files, a store for anybody's data
// (ATTACKS I1); a route of one's own may allow it.
func anthropicRoute(auth policy.Auth) policy.Route {
	return policy.Route{Host: "api.anthropic.com", Auth: &auth, Deny: []policy.Deny{{Paths: []string{"/v1/files", "/v1/files/**"}}}}
}

func anthropicKeyRoute() policy.Route {
	return anthropicRoute(policy.Auth{Scheme: policy.Header, Header: "x-api-key", Secret: anthropicKey})
}

func claudeSetup(in Input) Setup {
	argv, files := claudeCommand(in.Continue), []File{owned(Home+"/.claude.json", claudeState(in.Placeholders)), rooted("/etc/claude-code/managed-settings.json", claudeManaged())}
	if in.RemoteControl { // its flag takes a word that follows for a name
		argv = append(argv, "--remote-control")
	}
	if in.Supervise { // its flag takes all the words up to the next flag
		argv = append(argv, "--mcp-config", claudeMCP)
		files = append(files, rooted(claudeMCP, []byte(`{"mcpServers": {"operator": {"type": "http", "url": "`+SuperviseURL+`", "alwaysLoad": true}}}`+"\n")))
	}
	argv = append(argv, "--dangerously-skip-permissions")
	if in.Prompt != "" {
		argv = append(argv, "--append-system-prompt-file", PromptFile)
	}
	return Setup{
		Argv: slices.Concat(argv, in.Args),
		Env: map[string]string{
			"DISABLE_AUTOUPDATER":                      "1", // the image's version is pinned
			"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", // telemetry goes to hosts that no route names
		},
		Files: files,
	}
}

// claudeManaged are settings that come before a repository's, which may keep it from skipping questions,
// or want a sandbox: what holds it is the bottle. Rules that ask or deny by name stay in force: they may
// be about more than this machine.
func claudeManaged() []byte {
	return document(map[string]any{
		"permissions": map[string]any{
			"defaultMode": "bypassPermissions",
			"allow":       []string{"Bash", "Edit", "NotebookEdit", "Read", "Skill", "WebFetch", "WebSearch", "Write", "mcp__operator"}, // where that mode is switched off
		},
		"sandbox": map[string]any{"enabled": false, "failIfUnavailable": false},
	})
}

// claudeCommand is the program; it goes on with the conversation that was last written to, if
// there is one. Claude's own --continue ends at once where there is none, and takes one
// that was held without a terminal for none.
func claudeCommand(goOn bool) []string {
	if !goOn {
		return []string{"claude"}
	}
	const script = `last=$(ls -t "$HOME"/.claude/projects/-workspace/????????-????-*.jsonl 2>/dev/null | head -n 1)
exec claude ${last:+--resume "$(basename "$last" .jsonl)"} "$@"`
	return []string{"sh", "-c", script, "claude"}
}

// claudeMCP tells Claude Code of the operator's MCP server. Not in its home, the agent cannot
// change it.
const claudeMCP = "/etc/bot-bottle/mcp.json"

// claudeState is what Claude Code writes after its first questions have been answered:
// the onboarding, the warning about skipped permissions, the trust in the workspace,
// and the use of the key in the environment, which it knows by its last 20 characters.
func claudeState(placeholders map[string]string) []byte {
	state := map[string]any{
		"hasCompletedOnboarding":        true,
		"bypassPermissionsModeAccepted": true,
		"theme":                         "dark",
		"projects":                      map[string]any{Workspace: map[string]any{"hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true}},
	}
	if key := placeholders[anthropicKey]; len(key) >= 20 {
		state["customApiKeyResponses"] = map[string]any{"approved": []string{key[len(key)-20:]}, "rejected": []string{}}
	}
	return document(state)
}
