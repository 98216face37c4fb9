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
