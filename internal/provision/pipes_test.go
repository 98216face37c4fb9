package provision

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Attack E3: a file of the repository at hand is a pipe that nobody writes to, a link to one, or
// its configuration includes one. --cwd and pull say so; neither waits for it.
func TestAttackE3_PipesAreNotWaitedFor(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"HEAD", "config", "index", "shallow", "packed-refs", "commondir", "objects/info/alternates"} {
		for kind, put := range map[string]func(string) error{
			"pipe": func(at string) error { return syscall.Mkfifo(at, 0o600) },
			"link": func(at string) error { return os.Symlink(pipe, at) },
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				h := newHome(t)
				at := filepath.Join(h.dir, ".git", name)
				_ = os.Remove(at)
				if err := put(at); err != nil {
					t.Fatal(err)
				}
				refusesPipe(t, h, filepath.Base(name))
			})
		}
	}
	for name, lines := range map[string]string{
		"include":    "[include]\n\tpath = " + pipe + "\n",
		"a relative": "[include]\n\tpath = ../more\n",
		"includeIf":  "[includeIf \"gitdir:/\"]\n\tpath = " + pipe + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			h.write("more", "[include]\n\tpath = "+pipe+"\n")
			config := filepath.Join(h.dir, ".git", "config")
			old, err := os.ReadFile(config)
			if err == nil {
				err = os.WriteFile(config, append(old, lines...), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			refusesPipe(t, h, "pipe")
		})
	}
}

func refusesPipe(t *testing.T, h home, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // so that a failure is told
	defer cancel()
	_, err := FindRepository(ctx, h.dir, true)
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), name+" is no file") {
		t.Errorf("--cwd: got %v", err)
	}
	_, err = Pull(ctx, h.dir, "tester-abcdef", []string{"false"}, nil, nil)
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), name+" is no file") {
		t.Errorf("pull: got %v", err)
	}
}
