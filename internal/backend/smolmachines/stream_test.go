package smolmachines

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A stream that smolvm ends early says why, whoever of the two ends is met first.
func TestAStreamThatEndsSaysWhy(t *testing.T) {
	for name, use := range map[string]func(*conn) error{
		"read":  func(k *conn) error { _, err := k.Read(make([]byte, 1)); return err },
		"write": func(k *conn) error { _, err := k.Write([]byte("x")); return err },
	} {
		theirIn, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		out, theirOut, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command("sh", "-c", `echo "Error: agent operation failed: connection to VM lost" >&2; exit 1`)
		k := &conn{in: in, out: out, process: c, said: &tail{}, done: make(chan struct{}), lost: func(err error) error { return err }}
		c.Stdin, c.Stdout, c.Stderr = theirIn, theirOut, k.said
		k.err = c.Run()
		close(k.done)
		if err := errors.Join(theirIn.Close(), theirOut.Close()); err != nil {
			t.Fatal(err)
		}
		if err := use(k); err == nil || !strings.Contains(err.Error(), "connection to VM lost") {
			t.Errorf("%s: got %v", name, err)
		}
		_ = k.Close()
	}
}
