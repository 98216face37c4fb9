package provider

import (
	"slices"
	"strings"
	"testing"
)

// Arguments that begin with a command of the agent's own are the operator's words: they are run as they
// are written, and on a terminal or not, a prompt is one to the agent.
func TestTheOperatorsOwnCommands(t *testing.T) {
	for args, want := range map[string]string{
		"codex hello":                "codex exec --skip-git-repo-check hello",
		"codex exec hello":           "codex exec --skip-git-repo-check hello",
		"codex e hello":              "codex exec --skip-git-repo-check hello",
		"codex login status":         "codex login status",
		"codex --version":            "codex --version",
		"opencode hello":             "opencode run hello",
		"opencode run hello":         "opencode run hello",
		"opencode models":            "opencode models",
		"opencode --version":         "opencode --version",
		"terminal codex hello":       "codex hello",
		"terminal codex exec hello":  "codex exec --skip-git-repo-check hello",
		"terminal codex resume x":    "codex resume x",
		"terminal opencode":          "opencode",
		"terminal opencode run this": "opencode run this",
	} {
		words := strings.Fields(args)
		in := Input{Interactive: words[0] == "terminal"}
		if in.Interactive {
			words = words[1:]
		}
		p, err := For(words[0])
		if err != nil {
			t.Fatal(err)
		}
		in.Args = words[1:]
		if got := p.Setup(in).Argv; !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

// The models' hosts are those of the default routes, each once.
func TestModelHosts(t *testing.T) {
	want := []string{"api.anthropic.com", "api.openai.com", "chatgpt.com", "generativelanguage.googleapis.com"}
	if got := ModelHosts(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
