package provider

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// What each agent is started with, down to the byte: a command line asks a question on the
// terminal as soon as something of it is missing, and a headless agent then hangs.
func TestGolden(t *testing.T) {
	for _, p := range all() {
		credential, placeholders := "", map[string]string{}
		if len(p.Credentials) > 0 {
			credential = p.Credentials[0].Name
			placeholders[credential] = "sk-" + strings.Repeat("k", 80) + "0123456789abcdefghAA"
		}
		for name, in := range map[string]Input{
			"fresh":    {Prompt: "You are \"X\".\nAnswer <briefly>.\x7f", Interactive: true},
			"headless": {Args: []string{"-x", "two words"}},
			"resumed":  {Continue: true, Supervise: true, Interactive: true, Args: []string{"two words"}},
			"goes-on":  {Continue: true, Prompt: "You are X.", RemoteControl: true, Args: []string{"two words"}},
		} {
			in.Credential, in.Placeholders = credential, placeholders
			golden(t, "testdata/"+p.Template+"-"+name+".txt", p.Setup(in))
		}
	}
	claude, err := For("claude")
	if err != nil {
		t.Fatal(err)
	}
	key := "sk-ant-api03-" + strings.Repeat("k", 80) + "0123456789abcdefghAA"
	golden(t, "testdata/claude-key.txt", claude.Setup(Input{Credential: anthropicKey, Placeholders: map[string]string{anthropicKey: key}, Supervise: true, Args: []string{"--model", "opus", "-p", "two words"}}))
	golden(t, "testdata/claude-nothing.txt", claude.Setup(Input{}))
}

func golden(t *testing.T, file string, setup Setup) {
	t.Helper()
	var out strings.Builder
	fmt.Fprintf(&out, "argv %q\n", setup.Argv)
	for _, name := range slices.Sorted(maps.Keys(setup.Env)) {
		fmt.Fprintf(&out, "env %s=%s\n", name, setup.Env[name])
	}
	for _, f := range setup.Files {
		fmt.Fprintf(&out, "file %s mode %o uid %d keep %t\n%s", f.Path, f.Mode, f.UID, f.Keep, f.Data)
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("%s: %s", file, diff)
	}
}

// A placeholder too short to be known by its last 20 characters is not approved, rather
// than a panic.
func TestAShortKeyIsNotApproved(t *testing.T) {
	for _, key := range []string{"", "x", strings.Repeat("x", 19)} {
		if data := string(claudeState(map[string]string{anthropicKey: key})); strings.Contains(data, "approved") {
			t.Errorf("%q: got %s", key, data)
		}
	}
}

// Attack C7: one placeholder passes for another. The canary tells them apart by searching for
// each, so none may hold another, nor be guessed from it; and none is empty.
func TestAttackC7_PlaceholdersAreToldApart(t *testing.T) {
	names := []string{
		"GEMINI_API_KEY", "OPENROUTER_API_KEY", "GROQ_API_KEY", "XAI_API_KEY", "HF_TOKEN", "CODEX_API_KEY", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "GH_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN", "NPM_TOKEN", "OPENAI_API_KEY", "OTHER", "", "A", "anthropic_api_key",
	}
	var all []string
	for range 50 {
		for _, name := range names {
			all = append(all, Placeholder(name))
		}
	}
	printable := regexp.MustCompile(`^[A-Za-z0-9_-]{26,}$`) // goes into headers, URLs, JSON and shells as it is
	tails := map[string]bool{}
	for i, one := range all {
		if !printable.MatchString(one) {
			t.Errorf("got %q", one)
		}
		if tail := one[len(one)-20:]; tails[tail] {
			t.Errorf("two end in %s", tail)
		} else {
			tails[tail] = true
		}
		for j, other := range all {
			if i != j && strings.Contains(one, other) {
				t.Errorf("%s holds %s", one, other)
			}
		}
	}
}

// Every letter and digit is drawn: a narrower alphabet would make a canary that could be
// met by chance.
func TestRandomUsesTheWholeAlphabet(t *testing.T) {
	for _, n := range []int{0, 1, 36} {
		if got := random(n); len(got) != n {
			t.Errorf("got %q for %d", got, n)
		}
	}
	seen := random(20000)
	for _, c := range alphabet {
		if !strings.ContainsRune(seen, c) {
			t.Errorf("%c is never drawn", c)
		}
	}
}
