package secretsource

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

func TestResolver(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"GOOD": "from-env", "EMPTY": "", "TWO": "a\nb"}[name]
		return v, ok
	}
	resolve := Resolver(env, 10*time.Second)
	for name, c := range map[string]struct {
		source manifest.SecretSource
		want   string // "" for an error
	}{
		"env":             {manifest.SecretSource{Env: "GOOD"}, "from-env"},
		"env unset":       {manifest.SecretSource{Env: "NONE"}, ""},
		"env empty":       {manifest.SecretSource{Env: "EMPTY"}, ""},
		"two lines":       {manifest.SecretSource{Env: "TWO"}, ""},
		"command":         {manifest.SecretSource{Command: []string{"echo", "from-command"}}, "from-command"},
		"command fails":   {manifest.SecretSource{Command: []string{"false"}}, ""},
		"command silent":  {manifest.SecretSource{Command: []string{"true"}}, ""},
		"file":            {manifest.SecretSource{File: write("a", "from-file\n")}, "from-file"},
		"file with CRLF":  {manifest.SecretSource{File: write("b", "from-file\r\n")}, "from-file"},
		"file missing":    {manifest.SecretSource{File: filepath.Join(dir, "none")}, ""},
		"file empty":      {manifest.SecretSource{File: write("c", "\n")}, ""},
		"file is a dir":   {manifest.SecretSource{File: dir}, ""},
		"file with a NUL": {manifest.SecretSource{File: write("d", "a\x00b")}, ""},
		"nothing":         {manifest.SecretSource{}, ""},
	} {
		value, err := resolve(t.Context(), c.source)
		if (err != nil) != (c.want == "") || value.Reveal() != c.want {
			t.Errorf("%s: got %q, %v; want %q", name, value.Reveal(), err, c.want)
		}
	}
}

// Attack C10: a secret's command fails after it printed the secret.
func TestAttackC10_ErrorsHoldNoSecret(t *testing.T) {
	resolve := Resolver(func(string) (string, bool) { return "", false }, 10*time.Second)
	_, err := resolve(t.Context(), manifest.SecretSource{Command: []string{"sh", "-c", "echo hunter2; exit 1"}})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

// Attack E7: the repository at hand holds what a secret's command would run or read, were
// it run there.
func TestAttackE7_CommandsDoNotRunInTheRepository(t *testing.T) {
	home, repository := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(repository, "config"), []byte("evil\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(repository)
	for dir, want := range map[string]string{home: home, "": "/", ".": "/", filepath.Join(home, "none"): "/"} {
		env := func(name string) (string, bool) { return dir, name == "HOME" && dir != "" }
		value, err := Resolver(env, time.Minute)(t.Context(), manifest.SecretSource{Command: []string{"sh", "-c", "cat config 2>/dev/null || pwd"}})
		if err != nil || value.Reveal() != want {
			t.Errorf("HOME=%q: got %q, %v; want %q", dir, value.Reveal(), err, want)
		}
	}
}

// Attack C3: a secret that a header trims or that JSON mends is another one upstream, and
// its echo is not known again.
func TestAttackC3_SecretsThatWouldChangeOnTheWay(t *testing.T) {
	for name, c := range map[string]struct{ value, want string }{
		"space before": {" key", "a space"}, "space after": {"key ", "a space"}, "tab after": {"key\t", "control"}, "wide space": {"key\u3000", "a space"},
		"escape": {"k\x1bey", "control"}, "delete": {"k\x7fey", "control"}, "return": {"k\rey", "line break"}, "two newlines": {"key\n\n", "line break"},
		"not text": {"k\xffey", "UTF-8"}, "only a newline": {"\n", "empty"}, "long": {strings.Repeat("k", maxSecret+1), "longer"},
	} {
		resolve := Resolver(func(string) (string, bool) { return c.value, true }, time.Minute)
		value, err := resolve(t.Context(), manifest.SecretSource{Env: "K"})
		if err == nil || !strings.Contains(err.Error(), c.want) || !value.Empty() {
			t.Errorf("%s: got %q, %v; want %q", name, value.Reveal(), err, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	long, exact := strings.Repeat("k", maxSecret+1), strings.Repeat("k", maxSecret)
	dir := t.TempDir()
	for content, ok := range map[string]bool{exact: true, long: false} {
		path := filepath.Join(dir, "k")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		resolve := Resolver(func(string) (string, bool) { return "", false }, time.Minute)
		if value, err := resolve(t.Context(), manifest.SecretSource{File: path}); (err == nil) != ok || ok && value.Reveal() != content {
			t.Errorf("%d bytes: got %d, %v", len(content), len(value.Reveal()), err)
		}
	}
}

func TestACommandThatTakesTooLong(t *testing.T) {
	resolve := Resolver(func(string) (string, bool) { return "", false }, 50*time.Millisecond)
	_, err := resolve(t.Context(), manifest.SecretSource{Command: []string{"sleep", "1000"}})
	if err == nil || !strings.Contains(err.Error(), "sleep: it took too long") {
		t.Errorf("got %v", err)
	}
}
