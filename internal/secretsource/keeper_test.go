package secretsource

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// fakePrograms puts scripts on PATH, which stand for programs that need an account or a
// desktop. Each answers only to exactly the arguments that its own manual has.
func fakePrograms(t *testing.T, scripts map[string]string) {
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func TestKeepers(t *testing.T) {
	const answers = `case "$*" in "%s") printf '%s';; *) echo "unexpected: $*" >&2; exit 64;; esac`
	script := func(args, out string) string {
		return strings.Replace(strings.Replace(answers, "%s", args, 1), "%s", out, 1)
	}
	fakePrograms(t, map[string]string{
		"gh":          script("auth token --hostname github.com", `gho_1\n`),
		"security":    script("find-generic-password -s my-key -a me -w", `kc_1\n`),
		"op":          script("read op://Private/GitHub/token", `op_1\n`),
		"pass":        script("show work/github", `pw_1\nlogin: me\n`),
		"secret-tool": script("lookup service github user me", "ss_1"),
	})
	resolve := Resolver(os.LookupEnv, 10*time.Second)
	for want, s := range map[string]manifest.SecretSource{
		"gho_1": {Keeper: manifest.KeeperGH, Entry: []string{"github.com"}},
		"kc_1":  {Keeper: manifest.KeeperKeychain, Entry: []string{"my-key"}, Account: "me"},
		"op_1":  {Keeper: manifest.KeeperOnePassword, Entry: []string{"op://Private/GitHub/token"}},
		"pw_1":  {Keeper: manifest.KeeperPass, Entry: []string{"work/github"}},
		"ss_1":  {Keeper: manifest.KeeperSecretService, Entry: []string{"service", "github", "user", "me"}},
	} {
		if value, err := resolve(t.Context(), s); err != nil || value.Reveal() != want {
			t.Errorf("%s: got %q, %v; want %q", s.Keeper, value.Reveal(), err, want)
		}
	}
}

// Every keeper that the manifest knows has a program here, and says what to do when that is
// missing, refuses, or gives nothing.
func TestKeepersThatGiveNothing(t *testing.T) {
	for _, k := range manifest.Keepers() {
		s := manifest.SecretSource{Keeper: k, Entry: []string{"an-entry"}}
		p := programOf(s)
		if len(p.argv) == 0 {
			t.Fatalf("%s has no program", k)
		}
		t.Setenv("PATH", t.TempDir())
		advises(t, s, "there is no such command", p.install)
		fakePrograms(t, map[string]string{p.argv[0]: "echo hunter2; echo no such entry >&2; exit 1"})
		advises(t, s, "no such entry", p.refused)
		fakePrograms(t, map[string]string{p.argv[0]: "exit 0"})
		advises(t, s, "gave nothing", p.refused)
	}
}

func advises(t *testing.T, s manifest.SecretSource, what, hint string) {
	t.Helper()
	_, err := Resolver(os.LookupEnv, 10*time.Second)(t.Context(), s)
	var hinter interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "hunter2") || !errors.As(err, &hinter) || hint == "" || hinter.Hint() != hint {
		t.Errorf("%s: got %v; want %q and the advice %q", s.Keeper, err, what, hint)
	}
}
