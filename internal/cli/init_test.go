package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// initialise runs init with an environment and a directory of its own.
func initialise(t *testing.T, home, cwd string, stdin *os.File, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), System{
		Args: append([]string{"init"}, args...), Stdin: stdin, Stdout: &out, Stderr: &errs, Now: time.Now, Executable: os.Executable,
		Getenv:    func(name string) string { return map[string]string{"BOT_BOTTLE_HOME": home}[name] },
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		UserHome:  func() (string, error) { return filepath.Dir(home), nil }, Getwd: func() (string, error) { return cwd, nil },
		Backends: func(*App) ([]bottle.Backend, error) { return twoBackends()[:1], nil },
	})
	return code, out.String(), errs.String()
}

func slurp(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestInitWithoutQuestions(t *testing.T) {
	home, cwd := filepath.Join(t.TempDir(), "bb"), t.TempDir()
	code, stdout, stderr := initialise(t, home, cwd, nil, nil, "--yes")
	bottleFile, agentFile := filepath.Join(home, "bottles/dev.md"), filepath.Join(home, "agents/implementer.md")
	if code != 0 || stdout != bottleFile+"\n"+agentFile+"\n" || !strings.Contains(stderr, "  bot-bottle start implementer\n") {
		t.Fatalf("got %d %s%s", code, stdout, stderr)
	}
	if text := slurp(t, bottleFile); !strings.Contains(text, "ANTHROPIC_API_KEY: {env: ANTHROPIC_API_KEY}") {
		t.Errorf("got %s", text)
	}
	if info, err := os.Stat(home); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v", info, err)
	}
	before := slurp(t, bottleFile)
	code, _, stderr = initialise(t, home, cwd, nil, nil, "--yes", "other")
	if code != 1 || !strings.Contains(stderr, "dev.md is there already") || !strings.Contains(stderr, "--bottle NAME") || slurp(t, bottleFile) != before {
		t.Errorf("got %d %s", code, stderr)
	}
	if code, _, stderr = initialise(t, home, cwd, nil, nil, "--yes", "other", "--bottle", "other", "--program", "codex", "--mode", "allowlist"); code != 0 {
		t.Errorf("got %d %s", code, stderr)
	}
}

// What is wrong with the flags is said first: another name would not mend it.
func TestInitChecksItsFlagsBeforeTheNames(t *testing.T) {
	home, cwd := filepath.Join(t.TempDir(), "bb"), t.TempDir()
	if code, _, stderr := initialise(t, home, cwd, nil, nil, "--yes"); code != 0 {
		t.Fatalf("got %d %s", code, stderr)
	}
	code, _, stderr := initialise(t, home, cwd, nil, nil, "--yes", "second", "--program", "nosuch")
	if code != exitUsage || !strings.Contains(stderr, `"nosuch" is none of claude`) {
		t.Errorf("got %d %s", code, stderr)
	}
}

func TestInitThatCannotWork(t *testing.T) {
	for want, args := range map[string][]string{
		"standard input is not a terminal": nil,
		`"Bad" cannot be a name`:           {"--yes", "Bad"},
		`"../x" cannot be a name`:          {"--yes", "--bottle", "../x"},
		`"x" is none of claude, codex`:     {"--yes", "--program", "x"},
		`"x" is neither ask nor allowlist`: {"--yes", "--mode", "x"},
		"is none of env:":                  {"--yes", "--credential", "hunter2"},
		"not as OPENAI_API_KEY":            {"--yes", "--credential", "OPENAI_API_KEY=pass:x"},
		"it holds a credential":            {"--yes", "--repository", "https://u:p@host.example/x"},
	} {
		home := filepath.Join(t.TempDir(), "bb")
		code, stdout, stderr := initialise(t, home, t.TempDir(), nil, nil, args...)
		if _, err := os.Stat(home); code != exitUsage || !strings.Contains(stderr, want) || stdout != "" || err == nil {
			t.Errorf("%q: got %d %s%s, %v; want %q", args, code, stdout, stderr, err, want)
		}
	}
}

// Both files or none.
func TestInitLeavesNoHalf(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "agents"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := initialise(t, home, t.TempDir(), nil, nil, "--yes")
	if _, err := os.Stat(filepath.Join(home, "bottles/dev.md")); code != 1 || !errors.Is(err, os.ErrNotExist) || !strings.Contains(stderr, "agents") {
		t.Errorf("got %d %s, %v", code, stderr, err)
	}
}

// hostileRepository is at hand, and says that it came from where the operator's key should
// not go.
func hostileRepository(t *testing.T) string {
	dir := t.TempDir()
	for _, args := range [][]string{{"init", "-q"}, {"remote", "add", "origin", "git@evil.example:x.git"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Attack E7: init --yes in a hostile repository takes its word for where the operator's ssh
// key is used.
func TestAttackE7_InitTakesNoRepositoryUnasked(t *testing.T) {
	home := filepath.Join(t.TempDir(), "bb")
	code, _, stderr := initialise(t, home, hostileRepository(t), nil, nil, "--yes")
	if text := slurp(t, filepath.Join(home, "bottles/dev.md")); code != 0 || strings.Contains(text, "evil.example") || !strings.Contains(text, "proxy.golang.org") || !strings.Contains(stderr, "start --cwd") {
		t.Errorf("got %d %s%s", code, stderr, text)
	}
}

func TestInitAsksFourQuestions(t *testing.T) {
	home := filepath.Join(t.TempDir(), "bb")
	terminal, ours, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = terminal.Close(), ours.Close() }()
	go func() { _, _ = io.Copy(io.Discard, terminal) }() // its echo
	if _, err := terminal.WriteString("clude\n\nCLAUDE_CODE_OAUTH_TOKEN=pass:claude\n\nallowlist\n"); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := initialise(t, home, hostileRepository(t), ours, map[string]string{"ANTHROPIC_API_KEY": "x"})
	for _, want := range []string{`"clude" is none of`, "2. Where is its credential?", "[env:ANTHROPIC_API_KEY]", "[git@evil.example:x.git]", "4. When it needs more", "start --cwd implementer"} {
		if code != 0 || !strings.Contains(stderr, want) {
			t.Errorf("got %d %s; want %q", code, stderr, want)
		}
	}
	text := slurp(t, filepath.Join(home, "bottles/dev.md"))
	for _, want := range []string{"template: claude", "CLAUDE_CODE_OAUTH_TOKEN: {pass: claude}", "upstream: ", "mode: forward", "supervise: false"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s; want %q", text, want)
		}
	}
	if strings.Contains(stderr, "5.") {
		t.Errorf("more than four: %s", stderr)
	}
}
