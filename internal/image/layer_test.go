package image

import (
	"os"
	"path/filepath"
	"testing"
)

// What is approved for good composes: with what the operator wrote, and with what was approved before.
func TestLayersInADockerfile(t *testing.T) {
	first, second := Layer{Packages: []string{"jq"}}, Layer{Dockerfile: "RUN mkdir /x\nENV X=1"}
	text := []byte("FROM ${BOT_BOTTLE_BASE}\nUSER root\nRUN touch /mine\nUSER somebody\n\n\n")
	text, err := first.AddTo(text, "k-1", "2026-01-02")
	if err != nil {
		t.Fatal(err)
	}
	if text, err = second.AddTo(text, "k-12", "2026-01-03"); err != nil {
		t.Fatal(err)
	}
	want := "FROM ${BOT_BOTTLE_BASE}\nUSER root\nRUN touch /mine\nUSER somebody\n\n# approved 2026-01-02, k-1\n" + first.Lines() + "USER node\n\n# approved 2026-01-03, k-12\nUSER root\nRUN mkdir /x\nENV X=1\nUSER node\n"
	if string(text) != want {
		t.Errorf("got:\n%s\nwant:\n%s", text, want)
	}
	for id, want := range map[string]bool{"k-1": true, "k-12": true, "k-2": false, "2": false, "": false} {
		if Holds(text, id) != want {
			t.Errorf("%q: it holds it: %v", id, !want)
		}
	}
	for _, own := range []string{"", "# mine\n", "# mine \\\n", "RUN a \\\n  b\n", "# syntax=x\n# mine\n"} {
		if _, err := first.AddTo([]byte(own), "k-1", "2026-01-02"); err != nil {
			t.Errorf("%q: %v", own, err)
		}
	}
	for _, own := range []string{"# escape=`\nFROM x\n", "#syntax=y\n#  ESCAPE = `\n", "RUN a \\\n", "FROM x\nRUN a \\\n\n"} {
		if after, err := first.AddTo([]byte(own), "k-1", "2026-01-02"); err == nil {
			t.Errorf("%q: got %s", own, after)
		}
	}
}

// Attack C10: an agent's lines that were approved for good are a part of the operator's Dockerfile,
// and read there what the operator's own builds are given: a proxy with its password.
func TestAttackC10_ApprovedLinesSeeNoProxysPassword(t *testing.T) {
	b := Builder{Getenv: func(name string) string {
		return map[string]string{"HTTP_PROXY": "http://user:word@proxy.example:3128", "https_proxy": "http://proxy.example:3128", "npm_config_registry": "https://registry.example/word"}[name]
	}}
	own, err := Layer{Dockerfile: "RUN env"}.AddTo([]byte("# mine\n"), "k-1", "2026-01-02")
	if err != nil {
		t.Fatal(err)
	}
	for text, credentials := range map[string]bool{"# mine\nRUN env\n": true, string(own): false} {
		file := filepath.Join(t.TempDir(), "Dockerfile")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := customContext(Custom{Dockerfile: file}, "base:1")
		if err != nil {
			t.Fatal(err)
		}
		o := b.options("bot-bottle/custom:x", job{untrusted: in.agents, arguments: map[string]string{baseArgument: "base:1"}})
		if _, has := o.BuildArgs["HTTP_PROXY"]; has != credentials {
			t.Errorf("%q: it sees the proxy's password: %v", text, has)
		}
		if o.BuildArgs[baseArgument] == nil || *o.BuildArgs[baseArgument] != "base:1" || o.BuildArgs["https_proxy"] == nil {
			t.Errorf("%q: got %v", text, o.BuildArgs)
		}
	}
}
