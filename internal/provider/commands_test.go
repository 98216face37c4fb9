package provider

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Arguments that begin with a command of the agent's own are the operator's words: they are run as they
// are written, and on a terminal or not, a prompt is one to the agent.
func TestTheOperatorsOwnCommands(t *testing.T) {
	for args, want := range map[string]string{
		"codex hello":                "codex exec --skip-git-repo-check FREE hello",
		"codex exec hello":           "codex exec --skip-git-repo-check FREE hello",
		"codex e hello":              "codex exec --skip-git-repo-check FREE hello",
		"codex -m x exec hello":      "codex exec --skip-git-repo-check FREE -m x hello",
		"codex --json exec":          "codex exec --skip-git-repo-check FREE --json exec",
		"codex the exec":             "codex exec --skip-git-repo-check FREE the exec",
		"codex login status":         "codex login status",
		"codex --version":            "codex --version",
		"opencode hello":             "opencode run --auto hello",
		"opencode run hello":         "opencode run --auto hello",
		"opencode models":            "opencode models",
		"opencode --version":         "opencode --version",
		"terminal codex hello":       "codex FREE hello",
		"terminal codex exec hello":  "codex exec --skip-git-repo-check FREE hello",
		"terminal codex resume x":    "codex resume x",
		"terminal opencode":          "opencode --auto",
		"terminal opencode run this": "opencode run --auto this",
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
		want = strings.ReplaceAll(want, "FREE ", codexFree)
		if got := p.Setup(in).Argv; !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

// The agent's args of a manifest hold for a bottle that is resumed as well: options that codex exec
// knows and its resume does not stand before that.
func TestAResumedCodexHasItsOptions(t *testing.T) {
	for args, want := range map[string]string{
		"hello":                             "codex exec --skip-git-repo-check FREE resume --last hello",
		"-m x --json hello":                 "codex exec --skip-git-repo-check FREE resume --last -m x --json hello",
		"--color never -m x -p=it's hello":  "codex exec --skip-git-repo-check FREE --color never -p=it's resume --last -m x hello",
		"--oss -C /workspace/sub --cd=/ -s": "codex exec --skip-git-repo-check FREE --oss -C /workspace/sub --cd=/ -s resume --last",
		"--add-dir /a --sandbox x -- --oss": "codex exec --skip-git-repo-check FREE --add-dir /a --sandbox x resume --last -- --oss",
	} {
		argv := codex().Setup(Input{Continue: true, Args: strings.Fields(args)}).Argv
		home, bin := t.TempDir(), t.TempDir()
		if err := errors.Join(
			os.MkdirAll(filepath.Join(home, ".codex", "sessions"), 0o700),
			os.WriteFile(filepath.Join(home, ".codex", "sessions", "x.jsonl"), nil, 0o600),
			os.WriteFile(filepath.Join(bin, "codex"), []byte("#!/bin/sh\nfor word in codex \"$@\"; do printf '%s\\n' \"$word\"; done\n"), 0o755),
		); err != nil {
			t.Fatal(err)
		}
		c := exec.Command(argv[0], argv[1:]...)
		c.Env = []string{"HOME=" + home, "PATH=" + bin + ":" + os.Getenv("PATH")}
		want = strings.ReplaceAll(want, "FREE ", codexFree)
		got, err := c.Output()
		if err != nil || !slices.Equal(strings.Fields(string(got)), strings.Fields(want)) {
			t.Errorf("%s: got %q, %v, want %q", args, got, err, want)
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
