package provider

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// The credentials that Codex takes: API keys, and the login with ChatGPT.
const (
	codexLogin = "CODEX_LOGIN"
	openAIKey  = "OPENAI_API_KEY"
	codexKey   = "CODEX_API_KEY"
)

// codex is OpenAI's Codex.
func codex() Provider {
	key := func(name string) Credential { return Credential{name, openAIRoute(name)} }
	return Provider{
		Template:    "codex",
		Image:       "codex",
		Program:     "codex",
		Credentials: []Credential{{codexLogin, chatGPTRoute()}, key(openAIKey), key(codexKey)},
		Login:       codexLogin,
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

// chatGPTRoute reaches the models of a ChatGPT login, and the list of its workspaces, without
// which Codex asks no model; nothing else of its account.
func chatGPTRoute() policy.Route {
	return policy.Route{
		Host: "chatgpt.com", Auth: &policy.Auth{Scheme: policy.Bearer, Secret: codexLogin},
		Paths: []string{"/backend-api/codex/responses", "/backend-api/codex/responses/**", "/backend-api/codex/models", "/backend-api/wham/accounts/check"},
	}
}

// farEnd is when the placeholder of a login ends: Codex must not try to renew it, which the
// host does.
const farEnd = 4102444800

// unsigned is a JSON Web Token in form only.
func unsigned(claims map[string]any, signature string) string {
	part := func(v any) string {
		data, _ := json.Marshal(v) // of strings, numbers and maps
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return part(map[string]string{"alg": "none", "typ": "JWT"}) + "." + part(claims) + "." + signature
}

// codexAuth is Codex's own file, with a placeholder where a credential would be. Of a login
// it wants to know the account, which is no secret, and that it is fresh.
func codexAuth(in Input, credential string) []byte {
	if in.Credential != codexLogin {
		return document(map[string]any{"auth_mode": "apikey", openAIKey: credential})
	}
	about := unsigned(map[string]any{"exp": farEnd, "https://api.openai.com/auth": in.Account}, "none")
	return document(map[string]any{
		"auth_mode": "chatgpt", openAIKey: nil, "last_refresh": "2099-01-01T00:00:00Z",
		"tokens": map[string]any{"id_token": about, "access_token": credential, "refresh_token": "none-in-a-bottle", "account_id": in.Account.ID},
	})
}

func codexSetup(in Input) Setup {
	if i := execWord(in.Args); i >= 0 {
		in.Args, in.Interactive = slices.Concat(in.Args[:i], in.Args[i+1:]), false // it is what a run without a terminal is
	}
	files := []File{rooted("/etc/codex/config.toml", codexConfig()), rooted("/etc/codex/managed_config.toml", codexManaged(in))}
	if key := in.Placeholders[in.Credential]; key != "" { // written at each start: the operator may have taken to another login since
		files = append(files, File{Path: Home + "/.codex/auth.json", Mode: 0o600, UID: UID, Data: codexAuth(in, key)})
	}
	return Setup{Argv: codexCommand(in), Files: files}
}

// execWord is where the arguments say exec, -1 if nowhere: as the first of them, or behind options,
// which the manifest may have. Right behind one it may be that one's value.
func execWord(args []string) int {
	for i, arg := range args {
		switch first := i == 0; {
		case arg == "exec" && (first || !option(args[i-1])), arg == "e" && first:
			return i
		case !option(arg) && (first || !option(args[i-1])):
			return -1
		}
	}
	return -1
}

func option(arg string) bool { return strings.HasPrefix(arg, "-") && len(arg) > 1 }

// codexCommand is the program. Without a terminal it is codex exec; one that goes on takes up
// the session that was last written to, if there is one.
func codexCommand(in Input) []string {
	script := "exec codex " + codexFree
	resume := "resume --last --include-non-interactive"
	switch {
	case len(in.Args) > 0 && slices.Contains(codexCommands, in.Args[0]):
		return slices.Concat([]string{"codex"}, in.Args) // a command of its own, as the operator wrote it
	case !in.Interactive:
		script, resume = "exec codex exec --skip-git-repo-check "+codexFree, "resume --last"
	}
	if !in.Continue {
		return slices.Concat(strings.Fields(strings.TrimPrefix(script, "exec ")), in.Args)
	}
	if !in.Interactive {
		var before []string
		before, in.Args = beforeResume(in.Args)
		for _, word := range before {
			script += "'" + strings.ReplaceAll(word, "'", `'\''`) + "' "
		}
	}
	script = `last=$(find "$HOME/.codex/sessions" -name "*.jsonl" 2>/dev/null | head -n 1)` + "\n" + script + `${last:+` + resume + `} "$@"`
	return slices.Concat([]string{"sh", "-c", script, "codex"}, in.Args)
}

// codexFree has it neither ask nor shut itself in, since the bottle is what holds it. A repository's
// .codex/config.toml comes before the system's; the operator's own options come before these.
const codexFree = "-c approval_policy=never -c sandbox_mode=danger-full-access "

// execOptions are those of codex exec that its resume does not know, and whether a value follows.
var execOptions = map[string]bool{
	"--oss": false, "--local-provider": true, "-p": true, "--profile": true, "-s": true, "--sandbox": true, "--approve-for-me": false,
	"-C": true, "--cd": true, "--add-dir": true, "--color": true,
}

// beforeResume takes those that must stand before resume out of the arguments.
func beforeResume(args []string) (before, rest []string) {
	for i := 0; i < len(args); i++ {
		name, _, valued := strings.Cut(args[i], "=")
		follows, known := execOptions[name]
		switch {
		case args[i] == "--":
			return before, append(rest, args[i:]...)
		case !known:
			rest = append(rest, args[i])
			continue
		case follows && !valued && i+1 < len(args):
			before = append(before, args[i])
			i++
		}
		before = append(before, args[i])
	}
	return before, rest
}

// codexCommands are the words that are no prompt as the first argument.
var codexCommands = []string{"review", "login", "logout", "mcp", "plugin", "completion", "sandbox", "debug", "doctor", "apply", "a", "resume", "fork", "features", "help", "--help", "--version"}

// codexManaged is the operator's part of the configuration: root's, and before all others, also a
// repository's.
func codexManaged(in Input) []byte {
	var b strings.Builder
	if in.Prompt != "" {
		fmt.Fprintf(&b, "developer_instructions = %s\n", tomlString(in.Prompt))
	}
	if in.Supervise {
		fmt.Fprintf(&b, "\n[mcp_servers.operator]\nurl = %s\n", tomlString(SuperviseURL))
	}
	return []byte(b.String())
}

// codexConfig is the system's configuration, which is root's; the agent's own, at home, adds
// to it. Its sandbox and its questions are off, since the bottle is one; so is what would
// only be refused.
func codexConfig() []byte {
	return []byte(`approval_policy = "never"
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
}

// tomlString quotes a string. JSON's way is TOML's, but for one character that TOML wants
// written out.
func tomlString(s string) string {
	data, _ := json.Marshal(s) // a string can be marshalled
	return strings.ReplaceAll(string(data), "\x7f", `\u007f`)
}
