package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// bottleOf loads one bottle; the problems with it instead, if there are any.
func bottleOf(t *testing.T, matter string) (Bottle, string) {
	t.Helper()
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, "bottles"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "bottles/dev.md"), []byte("---\n"+matter+"\n---\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Load(home, "", home)
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, p := range m.Problems {
		problems = append(problems, p.String())
	}
	return m.Bottles["dev"], strings.Join(problems, "\n")
}

func TestPipelock(t *testing.T) {
	digest := "ghcr.io/luckypipewrench/pipelock:2.3.0@sha256:" + strings.Repeat("0a", 32)
	for matter, want := range map[string]*Pipelock{
		"supervise: true":                   nil,
		"pipelock: false":                   nil,
		"pipelock: true":                    {Answers: true},
		"pipelock: {binary: /opt/pipelock}": {Binary: "/opt/pipelock", Answers: true},
		"pipelock: {answers: false}":        {},
		"pipelock: {image: '" + digest + "', min_version: '2.3'}": {Image: digest, MinVersion: "2.3", Answers: true},
	} {
		b, problems := bottleOf(t, matter)
		if diff := cmp.Diff(want, b.Pipelock); diff != "" || problems != "" {
			t.Errorf("%s: %s %s", matter, problems, diff)
		}
	}
	for matter, want := range map[string]string{
		"pipelock: yes please":                                             "pipelock must be true, false or a mapping",
		"pipelock: {image: pipelock:latest}":                               "named by its digest",
		"pipelock: {min_version: latest}":                                  "min_version \"latest\" is not one",
		"pipelock: {min_version: 2.3}":                                     "pipelock.min_version must be text",
		"pipelock: {binary: /x, image: '" + digest + "'}":                  "an image or a binary, not both",
		"pipelock: {answers: perhaps}":                                     "pipelock.answers must be true or false",
		"pipelock: {enabled: true}":                                        "unknown key pipelock.enabled",
		"egress: {routes: [{host: a.example, pipelock: {budget: 9MiB}}]}":  "a budget is at most 8 MiB",
		"egress: {routes: [{host: a.example, pipelock: {over: perhaps}}]}": "must be one of deny, allow",
	} {
		if _, problems := bottleOf(t, matter); !strings.Contains(problems, want) {
			t.Errorf("%s: got %q, want %q", matter, problems, want)
		}
	}
}

func TestPipelockOfARoute(t *testing.T) {
	for matter, want := range map[string]*policy.Pipelock{
		"":                  nil,
		", pipelock: true":  nil,
		", pipelock: false": {Off: true},
		", pipelock: {budget: 2MiB, over: allow}": {Budget: 2 << 20, Over: policy.OverAllow},
		", pipelock: {answers: false}":            {NoAnswers: true},
		", pipelock: {answers: true}":             {},
	} {
		b, problems := bottleOf(t, "egress: {routes: [{host: a.example"+matter+"}]}")
		if problems != "" || len(b.Routes) != 1 {
			t.Fatalf("%s: %s", matter, problems)
		}
		if diff := cmp.Diff(want, b.Routes[0].Pipelock); diff != "" {
			t.Errorf("%s: %s", matter, diff)
		}
	}
}

func TestLogin(t *testing.T) {
	b, problems := bottleOf(t, "secrets: {CODEX_LOGIN: {login: codex}}")
	if problems != "" || b.Secrets["CODEX_LOGIN"].Login != "codex" {
		t.Errorf("got %+v, %s", b.Secrets, problems)
	}
	for matter, want := range map[string]string{
		"secrets: {CODEX_LOGIN: {login: claude}}":         "must be one of codex",
		"secrets: {CODEX_LOGIN: {login: codex, env: X}}":  "exactly one of env, command, file, login",
		"secrets: {CODEX_LOGIN: {login: codex, ttl: 5m}}": "ttl is for what a command gives",
	} {
		if _, problems := bottleOf(t, matter); !strings.Contains(problems, want) {
			t.Errorf("%s: got %q, want %q", matter, problems, want)
		}
	}
}
