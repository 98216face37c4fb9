package cli

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// A flag goes before the environment, that before config.yaml, and that before what is usual.
func TestViewSettings(t *testing.T) {
	home := t.TempDir()
	env := map[string]string{}
	a := &App{System: System{Getenv: func(name string) string { return env[name] }}, home: home}
	want := func(f viewFlags, keys string, allow ...terminal.Allow) {
		t.Helper()
		v, err := a.view(f)
		if err != nil || string(v.DetachKeys) != keys || !reflect.DeepEqual(v.Allow, allow) {
			t.Errorf("got %q, %v, %v; want %q, %v", v.DetachKeys, v.Allow, err, keys, allow)
		}
	}
	want(viewFlags{}, "\x10\x11")
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte("detach_keys: ctrl-a,d\nterminal_allow: [title]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(viewFlags{}, "\x01d", terminal.Title)
	env["BOT_BOTTLE_DETACH_KEYS"], env["BOT_BOTTLE_TERMINAL_ALLOW"] = "ctrl-b,x", "clipboard"
	want(viewFlags{}, "\x02x", terminal.Clipboard)
	want(viewFlags{detachKeys: "none", allow: "images"}, "", terminal.Images)
	for _, f := range []viewFlags{{allow: "everything"}, {detachKeys: "ctrl-!"}} {
		if _, err := a.view(f); !errors.As(err, new(*usageError)) {
			t.Errorf("%+v: got %v", f, err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte("detach_key: ctrl-a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.view(viewFlags{}); err == nil {
		t.Error("an unknown setting was taken")
	}
}
