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

// What Claude Code is started with, down to the byte: it asks a question on the terminal as
// soon as something of it is missing, and a headless agent then hangs.
func TestClaudeGolden(t *testing.T) {
	p, err := For("claude")
	if err != nil {
		t.Fatal(err)
	}
	key, token := "sk-ant-api03-"+strings.Repeat("k", 80)+"0123456789abcdefghAA", "sk-ant-oat01-"+strings.Repeat("t", 93)+"AA"
	for name, in := range map[string]Input{
		"key":     {Placeholders: map[string]string{"ANTHROPIC_API_KEY": key}, PromptFile: "/etc/bot-bottle/prompt.md", Interactive: true, Args: []string{"--model", "opus", "-p", "two words"}},
		"token":   {Placeholders: map[string]string{"CLAUDE_CODE_OAUTH_TOKEN": token, "GH_TOKEN": "ghp_x"}, RemoteControl: true},
		"nothing": {},
		"resumed": {Placeholders: map[string]string{"ANTHROPIC_API_KEY": key}, Continue: true, Supervise: true, Args: []string{"-p", "two words"}},
	} {
		var out strings.Builder
		setup := p.Setup(in)
		fmt.Fprintf(&out, "argv %q\n", setup.Argv)
		for _, name := range slices.Sorted(maps.Keys(setup.Env)) {
			fmt.Fprintf(&out, "env %s=%s\n", name, setup.Env[name])
		}
		for _, f := range setup.Files {
			fmt.Fprintf(&out, "file %s mode %o uid %d\n%s", f.Path, f.Mode, f.UID, f.Data)
		}
		golden := "testdata/claude-" + name + ".txt"
		if *update {
			if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), out.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The arguments of one bottle are not written over those of the next.
func TestSetupSharesNothing(t *testing.T) {
	p, _ := For("claude")
	args := make([]string, 1, 10)
	args[0] = "-p"
	one, two := p.Setup(Input{Args: args}), p.Setup(Input{Args: append(args, "x")})
	one.Argv[len(one.Argv)-1] = "changed"
	one.Env["DISABLE_AUTOUPDATER"] = "0"
	if args[0] != "-p" || two.Argv[len(two.Argv)-2] != "-p" || two.Env["DISABLE_AUTOUPDATER"] != "1" {
		t.Errorf("got %v, %v", args, two)
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
	p, _ := For("claude")
	names := []string{
		"ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "GH_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN", "NPM_TOKEN", "OPENAI_API_KEY", "OTHER", "", "A", "anthropic_api_key",
	}
	var all []string
	for range 50 {
		for _, name := range names {
			all = append(all, p.Placeholder(name))
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

// Each provider is complete: a missing function would be a panic at the first start.
func TestEveryProviderIsComplete(t *testing.T) {
	for _, p := range all() {
		if p.Template == "" || p.Image == "" || p.Placeholder == nil || p.Setup == nil || len(p.Credentials) == 0 {
			t.Errorf("got %+v", p)
		}
		if found, err := For(p.Template); err != nil || found.Template != p.Template {
			t.Errorf("%s: got %v, %v", p.Template, found.Template, err)
		}
		if setup := p.Setup(Input{}); len(setup.Argv) == 0 {
			t.Errorf("%s runs nothing", p.Template)
		}
	}
}
