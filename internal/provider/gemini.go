package provider

import (
	"slices"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

const geminiKey = "GEMINI_API_KEY"

// gemini is Google's Gemini CLI.
func gemini() Provider {
	return Provider{
		Template:    "gemini",
		Image:       "gemini",
		Program:     "gemini",
		Credentials: []Credential{{geminiKey, geminiRoute(geminiKey)}},
		Skills:      Home + "/.gemini/skills",
		Busy:        "esc to cancel",
		Setup:       geminiSetup,
	}
}

// geminiRoute reaches the models of the Gemini API and nothing else of it: its files, caches
// and corpora are stores for anybody's data (ATTACKS I1).
func geminiRoute(secret string) policy.Route {
	return policy.Route{
		Host:  "generativelanguage.googleapis.com",
		Paths: []string{"/v1/models", "/v1/models/*", "/v1beta/models", "/v1beta/models/*"},
		Auth:  &policy.Auth{Scheme: policy.Header, Header: "x-goog-api-key", Secret: secret},
	}
}

func geminiSetup(in Input) Setup {
	files := []File{rooted("/etc/gemini-cli/settings.json", document(geminiSettings(in)))}
	if in.Prompt != "" || in.Continue { // GEMINI.md there is its own memory
		files = append(files, File{Path: Home + "/.gemini/AGENTS.md", Mode: 0o644, UID: UID, Data: []byte(in.Prompt + "\n")})
	}
	return Setup{
		Argv: slices.Concat(geminiCommand(in.Continue), in.Args),
		Env: map[string]string{
			"GEMINI_SANDBOX": "false",                                    // a workspace's .env may want one
			"TERM":           "xterm-256color", "COLORTERM": "truecolor", // it warns of a terminal with few colours, also where there is none
			// It takes git's files away from the commands that it runs, and with them the way to
			// the gate; what stands in the environment it leaves.
			"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "include.path", "GIT_CONFIG_VALUE_0": "/etc/gitconfig",
		},
		Files: files,
	}
}

// geminiCommand is the program; one that goes on takes up the latest session of the
// workspace, if there is one.
func geminiCommand(goOn bool) []string {
	if !goOn {
		return []string{"gemini", "--approval-mode", "yolo"}
	}
	const script = `last=$(find "$HOME/.gemini/tmp" -path "*/chats/*" -name "session-*" 2>/dev/null | head -n 1)
exec gemini --approval-mode yolo ${last:+--resume latest} "$@"`
	return []string{"sh", "-c", script, "gemini"}
}

// geminiSettings are the system's, which come before the agent's own and the workspace's.
func geminiSettings(in Input) map[string]any {
	settings := map[string]any{
		"general":   map[string]any{"enableAutoUpdate": false, "enableAutoUpdateNotification": false},
		"privacy":   map[string]any{"usageStatisticsEnabled": false},
		"telemetry": map[string]any{"enabled": false},
		"ide":       map[string]any{"enabled": false},
		"context":   map[string]any{"fileName": []string{"GEMINI.md", "AGENTS.md"}},
		"security":  map[string]any{"auth": map[string]any{"selectedType": "gemini-api-key"}, "folderTrust": map[string]any{"enabled": false}, "disableYoloMode": false},
		"tools":     map[string]any{"sandbox": false},
	}
	if in.Supervise {
		settings["mcpServers"] = map[string]any{"operator": map[string]any{"httpUrl": SuperviseURL, "trust": true}}
	}
	return settings
}
