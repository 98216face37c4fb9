package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Whatever is wrong is said in one line with what to do, and nothing is created.
func TestBadInput(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	for name, content := range map[string]string{
		"bottles/nosecret.md":   "---\nsecrets: {A: {env: BOT_BOTTLE_TEST_UNSET}, B: {file: /nonexistent/b}}\n---\n",
		"agents/nosecret.md":    "---\nbottle: nosecret\nskills: [no-such-skill, ../x]\n---\n",
		"bottles/nofile.md":     "---\nagent_provider: {dockerfile: ./no-such.Dockerfile}\n---\n",
		"agents/nofile.md":      "---\nbottle: nofile\n---\n",
		"bottles/badkey.md":     "---\nruntme: auto\negress:\n  routes:\n    - host: a.example\n      method: [GET]\n---\n",
		"agents/badkey.md":      "---\nbottle: badkey\n---\n",
		"agents/nobottle.md":    "---\nbottle: dve\n---\n",
		"bottles/failing.md":    "---\nagent_provider: {dockerfile: " + filepath.Join(h.Home, "failing", "Dockerfile") + "}\n---\n",
		"failing/Dockerfile":    "RUN echo it is broken here; exit 3\n",
		"agents/failing.md":     "---\nbottle: failing\n---\n",
		"bottles/unreadable.md": "---\nruntime: runsc-not\n---\n",
		"bottles/codex.md":      "---\nagent_provider: {image: debian:bookworm-slim}\n---\n",
		"agents/codex.md":       "---\nbottle: codex\n---\n",
	} {
		if err := h.Write(name, content); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		code int
		args []string
		want []string
	}{
		"unknown agent":      {1, []string{"start", "-y", "cluade"}, []string{`there is no agent "cluade" (did you mean "claude"?)`, "known agents: "}},
		"odd name":           {1, []string{"start", "-y", "../../x"}, []string{`there is no agent "../../x"`}},
		"control characters": {1, []string{"start", "-y", "\x1b]0;x\x07"}, []string{"there is no agent"}},
		"unknown backend":    {2, []string{"start", "-y", "--backend", "dokcer", "claude"}, []string{`unknown backend "dokcer"`, "known backends: docker"}},
		"unknown flag":       {2, []string{"start", "--no-such", "claude"}, []string{"start has no flag --no-such", "try: bot-bottle start --help"}},
		"unknown verb":       {2, []string{"strat"}, []string{`there is no verb "strat" (did you mean "start"?)`, "try: bot-bottle --help"}},
		"no agent":           {2, []string{"start"}, []string{"start needs the name of an agent"}},
		"two agents":         {2, []string{"start", "a", "b"}, []string{"start takes one agent"}},
		"no answer possible": {2, []string{"start", "claude"}, []string{"cannot ask: standard input is not a terminal", "-y"}},
		"secrets and skills": {1, []string{"start", "-y", "nosecret"}, []string{
			`skill "no-such-skill": there is no directory`, `skill "../x"`, "secret A: the environment variable BOT_BOTTLE_TEST_UNSET is not set", "secret B: "}},
		"no Dockerfile":    {1, []string{"start", "-y", "nofile"}, []string{"no-such.Dockerfile is not a file"}},
		"unknown key":      {1, []string{"start", "-y", "badkey"}, []string{`badkey.md:2: unknown key runtme (did you mean "runtime"?)`, `badkey.md:6: unknown key egress.routes.method (did you mean "methods"?)`}},
		"unknown bottle":   {1, []string{"start", "-y", "nobottle"}, []string{`nobottle.md:2: there is no bottle "dve" (did you mean "dev"?)`}},
		"failed build":     {125, []string{"start", "-y", "failing"}, []string{"cannot build image bot-bottle/custom:", "it is broken here"}},
		"image by a tag":   {1, []string{"start", "-y", "codex"}, []string{"an image is named by its digest"}},
		"validate":         {1, []string{"validate"}, []string{"badkey.md:2:", "unreadable.md:2: runtime must be one of auto, runc, runsc", "nobottle.md:2:"}},
		"stop what is not": {1, []string{"stop", "claude-aaaaaa"}, []string{"claude-aaaaaa: no such bottle is running", "bot-bottle list"}},
	} {
		r := h.run(c.code, "", c.args...)
		for _, want := range c.want {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("%s: standard error lacks %q:\n%s", name, want, r.Stderr)
			}
		}
		if r.Stdout != "" || strings.ContainsAny(r.Stderr, "\x1b\x07") {
			t.Errorf("%s: got standard output %q, standard error %q", name, r.Stdout, r.Stderr)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(h.Home, "state")); err == nil {
		for _, entry := range entries {
			if entry.IsDir() {
				t.Errorf("a record was left: %s", entry.Name())
			}
		}
	}
}

// An engine that is not there, and one that takes calls and never answers.
func TestUnreachableEngine(t *testing.T) {
	dockerOnly(t, "it is about the engine")
	t.Parallel()
	h := open(t, standin.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := h.Command(t.Context(), "start", "-y", "claude")
	c.Env = append(c.Env, "DOCKER_HOST=tcp://"+gone)
	out, err := c.CombinedOutput()
	if err == nil || c.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "no docker engine answers at tcp://"+gone) || !strings.Contains(string(out), "start the engine there") {
		t.Errorf("got %v: %s", err, out)
	}
}

// A newcomer without any manifest is told where to begin.
func TestNoManifest(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	c := h.Command(t.Context(), "start", "-y", "claude")
	c.Env = append(c.Env, "BOT_BOTTLE_HOME="+filepath.Join(h.Home, "nowhere"))
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "there is no manifest") || !strings.Contains(string(out), "bot-bottle init") {
		t.Errorf("got %v: %s", err, out)
	}
}
