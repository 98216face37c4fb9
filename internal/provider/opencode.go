package provider

import (
	"slices"
	"strings"
)

// opencode is opencode, which talks to the models of several vendors: the credential that a
// bottle holds decides which.
func opencode() Provider {
	return Provider{
		Template: "opencode",
		Image:    "opencode",
		Program:  "opencode",
		Credentials: []Credential{
			{anthropicKey, anthropicKeyRoute()},
			{openAIKey, openAIRoute(openAIKey)},
			{geminiKey, geminiRoute(geminiKey)},
		},
		Skills: Home + "/.config/opencode/skills",
		Busy:   "esc interrupt",
		Setup:  opencodeSetup,
	}
}

// opencodeConfigFile comes on top of the agent's own configuration at home.
const opencodeConfigFile = "/etc/bot-bottle/opencode.json"

func opencodeSetup(in Input) Setup {
	config := map[string]any{
		"$schema": "https://opencode.ai/config.json", "autoupdate": false, "share": "disabled",
		"permission": map[string]any{"*": "allow"},
	}
	if in.Prompt != "" {
		config["instructions"] = []string{PromptFile}
	}
	if in.Supervise {
		config["mcp"] = map[string]any{"operator": map[string]any{"type": "remote", "url": SuperviseURL, "enabled": true}}
	}
	return Setup{
		Argv: opencodeCommand(in),
		Env: map[string]string{
			"OPENCODE_CONFIG":                  opencodeConfigFile,
			"OPENCODE_DISABLE_AUTOUPDATE":      "1", // the image's version is pinned
			"OPENCODE_DISABLE_DEFAULT_PLUGINS": "1", // they come from npm's registry, which no route names
			"OPENCODE_DISABLE_LSP_DOWNLOAD":    "1",
			"OPENCODE_DISABLE_MODELS_FETCH":    "1",
		},
		Files: []File{rooted(opencodeConfigFile, document(config))},
	}
}

// opencodeCommand is the program, which does not ask: also where a repository's own configuration
// has it. Without a terminal it is opencode run; one that goes on takes up the last session, if
// there is one.
func opencodeCommand(in Input) []string {
	command := "opencode --auto"
	switch {
	case len(in.Args) > 0 && slices.Contains(opencodeCommands, in.Args[0]):
		return slices.Concat([]string{"opencode"}, in.Args) // a command of its own, as the operator wrote it
	case len(in.Args) > 0 && in.Args[0] == "run":
		command, in.Args = "opencode run --auto", in.Args[1:]
	case !in.Interactive:
		command = "opencode run --auto"
	}
	if !in.Continue {
		return slices.Concat(strings.Fields(command), in.Args)
	}
	script := `last=$(find "$HOME/.local/share/opencode" -name "opencode*.db" 2>/dev/null | head -n 1)` + "\nexec " + command + ` ${last:+--continue} "$@"`
	return slices.Concat([]string{"sh", "-c", script, "opencode"}, in.Args)
}

// opencodeCommands are the words that are no message as the first argument.
var opencodeCommands = []string{"models", "session", "export", "import", "stats", "serve", "mcp", "agent", "debug", "db", "--help", "--version"}
