package dashboard

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shell is a Terminal that starts a program which is not there.
type shell struct{ fake }

func (s *shell) Self(args ...string) *exec.Cmd {
	c := exec.Command("/opt/bot-bottle", args...)
	c.Dir = "/work space"
	return c
}
func (s *shell) Passed() []string { return []string{"BOT_BOTTLE_HOME=/x y"} }

// By its setting a program is opened in the dashboard's own pane, a new one or a new window:
// never by a shell, and never in a pane that is not the dashboard's.
func TestOpensInTmux(t *testing.T) {
	for _, c := range []struct{ name, where, panes, want string }{
		{"the first", OpenPane, "%0 \n%7 \n", "split-window|-h|-t|%0|-P|-F|#{pane_id}|-e|BOT_BOTTLE_HOME=/x y|-c|/work space|--|/opt/bot-bottle|attach|a-aaaaaa\nset-option|-p|-t|%9|remain-on-exit|failed\nset-option|-p|-t|%9|@bot-bottle-pane|%0\n"},
		{"the next", OpenPane, "%0 \n%7 %0\n", "respawn-pane|-k|-t|%7|-e|BOT_BOTTLE_HOME=/x y|-c|/work space|--|/opt/bot-bottle|attach|a-aaaaaa\n"},
		{"another dashboard's", OpenPane, "%0 \n%7 %3\n", "split-window|-h|-t|%0|-P|-F|#{pane_id}|-e|BOT_BOTTLE_HOME=/x y|-c|/work space|--|/opt/bot-bottle|attach|a-aaaaaa\nset-option|-p|-t|%9|remain-on-exit|failed\nset-option|-p|-t|%9|@bot-bottle-pane|%0\n"},
		{"a split", OpenSplit, "%0 \n%7 %0\n", "split-window|-h|-t|%0|-P|-F|#{pane_id}|-e|BOT_BOTTLE_HOME=/x y|-c|/work space|--|/opt/bot-bottle|attach|a-aaaaaa\nset-option|-p|-t|%9|remain-on-exit|failed\n"},
		{"a window", OpenWindow, "%0 \n", "new-window|-P|-F|#{pane_id}|-e|BOT_BOTTLE_HOME=/x y|-c|/work space|--|/opt/bot-bottle|attach|a-aaaaaa\nset-option|-p|-t|%9|remain-on-exit|failed\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			script := "#!/bin/sh\ncase $1 in list-panes) printf '" + strings.ReplaceAll(c.panes, "%", "%%") + "' ;; *) (IFS='|'; printf '%s\\n' \"$*\") >> " + dir + "/said; echo %9 ;; esac\n"
			if err := os.WriteFile(filepath.Join(dir, "tmux"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			s := &shell{}
			err := tmux{inside: true, where: c.where}.run(t.Context(), Options{Terminal: s, Getenv: func(string) string { return "%0" }}, s.Self("attach", "a-aaaaaa"))
			said, readErr := os.ReadFile(filepath.Join(dir, "said"))
			if err != nil || readErr != nil || string(said) != c.want {
				t.Errorf("got\n%s, want\n%s, %v, %v", said, c.want, err, readErr)
			}
		})
	}
}
