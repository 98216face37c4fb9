package cli

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// silent is a backend whose engine takes questions and answers none; or whose bottles do.
type silent struct {
	backendOf
	bottles bool
}

func (h silent) Active(ctx context.Context) ([]bottle.ActiveAgent, error) {
	if !h.bottles {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.active, nil
}

func (h silent) Open(context.Context, string) (bottle.Bottle, error) { return hungBottle{}, nil }

type hungBottle struct{ bottle.Bottle }

func (hungBottle) Detach() error { return nil }

func (hungBottle) Control(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, far) }() // ends with near
	return near, nil
}

// TAB comes back, with nothing, when an engine or a bottle's egress hangs.
func TestCompletionDoesNotWait(t *testing.T) {
	vm := backendOf{name: "smolmachines", active: twoBackends()[0].(backendOf).active}
	for name, c := range map[string]struct {
		backend bottle.Backend
		args    []string
	}{
		"the engine": {silent{vm, false}, []string{"__complete", "stop", ""}},
		"egress":     {silent{vm, true}, []string{"__complete", "egress", "vm-aaaaaa", "deny", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := make(chan string, 1)
			go func() {
				_, stdout, _ := runWith(t, t.TempDir(), []bottle.Backend{c.backend}, c.args...)
				done <- stdout
			}()
			select {
			case stdout := <-done:
				if !strings.HasPrefix(stdout, ":4") {
					t.Errorf("got %q", stdout)
				}
			case <-time.After(time.Minute):
				t.Fatal("it waits")
			}
		})
	}
	if code, stdout, _ := runWith(t, t.TempDir(), []bottle.Backend{silent{vm, true}}, "__complete", "stop", ""); code != 0 || !strings.HasPrefix(stdout, "vm-aaaaaa") {
		t.Errorf("got %d %q", code, stdout)
	}
}

// A default is said once, in words: -1 is no number of lines.
func TestHelpSaysADefaultOnce(t *testing.T) {
	var out, errs bytes.Buffer
	if code := Main(t.Context(), System{Args: []string{"attach", "--help"}, Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }, LookupEnv: func(string) (string, bool) { return "", false }, Now: time.Now, Executable: os.Executable, UserHome: func() (string, error) { return t.TempDir(), nil }, Getwd: func() (string, error) { return t.TempDir(), nil }, Backends: func(*App) ([]bottle.Backend, error) { return nil, nil }}); code != 0 || !strings.Contains(out.String(), "(default: all that is kept)\n") {
		t.Errorf("got %d %s%s", code, out.String(), errs.String())
	}
}
