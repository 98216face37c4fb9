//go:build linux

package memory_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/backend/memory"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/bottle/bottletest"
	_ "github.com/bot-bottle/bot-bottle/internal/cli" // what Build builds, so that a result is of this program
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/state"
	"github.com/bot-bottle/bot-bottle/test/need"
)

func TestMain(m *testing.M) {
	memory.Main()
	os.Exit(m.Run())
}

// Invariant 8: the memory backend passes the suite of all backends.
func TestMemoryConforms(t *testing.T) {
	home := t.TempDir()
	for name, text := range map[string]string{
		"bottles/script.md": "---\nagent_provider: {template: custom}\nsecrets: {KEY: {env: KEY}}\negress: {routes: [{host: api.example}]}\n---\n",
		"agents/script.md":  "---\nbottle: script\nargs: [sh, -c]\n---\n",
	} {
		file := filepath.Join(home, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(t.TempDir(), "bot-bottle")
	if err := memory.Build(program); err != nil {
		t.Fatal(err)
	}
	driver := &memory.Driver{State: state.Open(home), Program: program, Dir: t.TempDir(), Roots: func() (string, error) { return "", nil }, Now: time.Now}
	if err := driver.Available(t.Context()); err != nil {
		need.Lacking(t, need.Namespaces, err)
	}
	bottletest.Run(t, bottletest.Harness{Backend: bottle.Use(driver), State: driver.State, Spec: func(t *testing.T, script string) bottle.Spec {
		m, err := manifest.Load(home, "", home)
		if err != nil {
			t.Fatal(err)
		}
		return bottle.Spec{
			Manifest: m, Agent: "script", Cwd: home, Args: []string{script}, Stdin: true, Remove: true,
			Secrets: func(context.Context, manifest.SecretSource) (secret.Value, error) {
				return secret.New("sk-real-thing-0123456789"), nil
			},
		}
	}})
}
