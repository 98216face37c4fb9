package manifest

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestLoadConfig(t *testing.T) {
	for text, want := range map[string]Config{
		"":             {},
		"# nothing\n":  {},
		"notify: {}\n": {},
		"notify:\n  desktop: false\n  command: [say, \"a request\"]\n  webhook: https://hooks.example/x?token=1\n": {Notify: Notify{true, []string{"say", "a request"}, "https://hooks.example/x?token=1"}},
		"notify: {webhook: \"http://127.0.0.1:9/x\"}\n":                                                            {Notify: Notify{Webhook: "http://127.0.0.1:9/x"}},
		"detach_keys: ctrl-a,d\nterminal_allow: [title, clipboard]\n":                                              {DetachKeys: "ctrl-a,d", TerminalAllow: []string{"title", "clipboard"}},
		"prices: ~/prices.json\n": {Prices: "~/prices.json"},
	} {
		home := t.TempDir()
		if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := LoadConfig(home); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	if got, err := LoadConfig(t.TempDir()); err != nil || !reflect.DeepEqual(got, Config{}) {
		t.Errorf("without one: %+v, %v", got, err)
	}
}

func TestConfigThatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"notfy: {}\n":                                      "config.yaml:1: unknown key notfy (did you mean \"notify\"?)",
		"\nnotify:\n  comand: [x]\n":                       "config.yaml:3: unknown key notify.comand (did you mean \"command\"?)",
		"notify: {command: notify-send}\n":                 "notify.command must be a list",
		"notify: {command: []}\n":                          "names no program",
		"notify: {desktop: 3}\n":                           "notify.desktop must be",
		"notify: {webhook: \"http://hooks.example/\"}\n":   "must be an https URL",
		"notify: {webhook: \"file:///etc/passwd\"}\n":      "must be an https URL",
		"notify: {webhook: \"https://me:k@h.example/\"}\n": "must be an https URL",
		"notify: {webhook: \"https:///x\"}\n":              "must be an https URL",
		"notify: {webhook: \"http://10.0.0.1/x\"}\n":       "must be an https URL",
		"notify: {command: [\"\"]}\n":                      "names no program",
		"# " + strings.Repeat("x", maxMatter):              "too large",
		"- a\n":                                            "must be a mapping",
		"a: &x 1\nb: *x\n":                                 "config.yaml:1: ",
		strings.Repeat("[", 5000):                          "too large",
	} {
		home := t.TempDir()
		if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig(home); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", text, err, want)
		}
	}
}
