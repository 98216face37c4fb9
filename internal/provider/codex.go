package provider

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// The API keys that Codex takes.
const (
	openAIKey = "OPENAI_API_KEY"
	codexKey  = "CODEX_API_KEY"
)

// codex is OpenAI's Codex.
func codex() Provider {
	key := func(name string) Credential { return Credential{name, openAIRoute(name)} }
	return Provider{
		Template:    "codex",
		Image:       "codex",
		Program:     "codex",
		Credentials: []Credential{key(openAIKey), key(codexKey)},
		Placeholder: codexPlaceholder,
		Skills:      Home + "/.codex/skills",
		Busy:        "esc to interrupt",
		Setup:       codexSetup,
	}
}

// openAIRoute reaches the models of OpenAI's API and nothing else of it: files, vector stores
// and containers are stores for anybody's data (ATTACKS I1).
func openAIRoute(secret string) policy.Route {
	return policy.Route{
		Host: "api.openai.com", Auth: &policy.Auth{Scheme: policy.Bearer, Secret: secret},
		Paths: []string{"/v1/models", "/v1/models/**", "/v1/responses", "/v1/responses/**", "/v1/chat/completions"},
	}
}

func codexPlaceholder(name string) string {
	if name == codexKey {
		name = openAIKey
	}
	return placeholder(name)
}

func codexSetup(in Input) Setup {
	if len(in.Args) > 0 && (in.Args[0] == "exec" || in.Args[0] == "e") {
		in.Args, in.Interactive = in.Args[1:], false // it is what a run without a terminal is
	}
	files := []File{rooted("/etc/codex/config.toml", codexConfig(in))}
	if key := in.Placeholders[in.Credential]; key != "" {
		files = append(files, owned(Home+"/.codex/auth.json", document(map[string]any{"auth_mode": "apikey", openAIKey: key})))
	}
	return Setup{Argv: slices.Concat(codexCommand(in), in.Args), Files: files}
}

// codexCommand is the program. Without a terminal it is codex exec; one that goes on takes up
// the session that was last written to, if there is one.
func codexCommand(in Input) []string {
	script := "exec codex "
	resume := "resume --last --include-non-interactive"
	switch {
	case len(in.Args) > 0 && slices.Contains(codexCommands, in.Args[0]):
		return []string{"codex"} // a command of its own, as the operator wrote it
	case !in.Interactive:
		script, resume = "exec codex exec --skip-git-repo-check ", "resume --last"
	}
	if !in.Continue {
		return strings.Fields(strings.TrimPrefix(script, "exec "))
	}
	script = `last=$(find "$HOME/.codex/sessions" -name "*.jsonl" 2>/dev/null | head -n 1)` + "\n" + script + `${last:+` + resume + `} "$@"`
	return []string{"sh", "-c", script, "codex"}
}

// codexCommands are the words that are no prompt as the first argument.
var codexCommands = []string{"review", "login", "logout", "mcp", "plugin", "completion", "sandbox", "debug", "doctor", "apply", "a", "resume", "fork", "features", "help", "--help", "--version"}

// codexConfig is the system's configuration, which is root's; the agent's own, at home, adds
// to it. Its sandbox and its questions are off, since the bottle is one; so is what would
// only be refused.
func codexConfig(in Input) []byte {
	var b strings.Builder
	if in.Prompt != "" {
		fmt.Fprintf(&b, "developer_instructions = %s\n", tomlString(in.Prompt))
	}
	b.WriteString(`approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
cli_auth_credentials_store = "file"

[projects."` + Workspace + `"]
trust_level = "trusted"

[analytics]
enabled = false

[feedback]
enabled = false

[features]
api_key_model_discovery = false
apps = false
daemon_auto_start = false
enable_request_compression = false
plugins = false
remote_plugin = false
`)
	if in.Supervise {
		fmt.Fprintf(&b, "\n[mcp_servers.operator]\nurl = %s\n", tomlString(SuperviseURL))
	}
	return []byte(b.String())
}

// tomlString quotes a string. JSON's way is TOML's, but for one character that TOML wants
// written out.
func tomlString(s string) string {
	data, _ := json.Marshal(s) // a string can be marshalled
	return strings.ReplaceAll(string(data), "\x7f", `\u007f`)
}
