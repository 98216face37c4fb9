package gitgate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Of what goes wrong while git's output is read, the cause is told: not that git was ended for
// it, nor that its output broke off.
func TestStreamTellsTheCause(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repository")
	if out, err := exec.Command("git", "init", "-q", "--bare", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	g := git{dir: dir, config: "/dev/null"}
	idle, more, err := os.Pipe() // git waits for more
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = idle.Close(), more.Close() }()
	ownError := errors.New("that is too much")
	toTheEnd := func(out *bufio.Reader) error {
		_, err := io.Copy(io.Discard, out)
		return err
	}
	cut := func(out *bufio.Reader) error {
		_, err := io.ReadFull(out, make([]byte, 1<<20))
		return cutShort(err)
	}
	for name, c := range map[string]struct {
		stdin io.Reader
		read  func(*bufio.Reader) error
		args  []string
		want  func(error) bool
	}{
		"all is well":              {nil, toTheEnd, []string{"for-each-ref"}, func(err error) bool { return err == nil }},
		"the reader gives up":      {idle, func(*bufio.Reader) error { return ownError }, []string{"cat-file", "--batch"}, func(err error) bool { return err == ownError }},
		"git fails":                {nil, toTheEnd, []string{"rev-list", "nothing"}, func(err error) bool { return status(err) == 128 && strings.Contains(err.Error(), "nothing") }},
		"git fails on the way":     {nil, cut, []string{"rev-list", "nothing"}, func(err error) bool { return status(err) == 128 }},
		"git says less, and is ok": {nil, cut, []string{"for-each-ref"}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"the time is over":         {idle, toTheEnd, []string{"cat-file", "--batch"}, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"the time is over, cut":    {idle, cut, []string{"cat-file", "--batch"}, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if strings.Contains(name, "time") {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
			}
			if err := g.stream(ctx, c.stdin, c.read, c.args...); !c.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}
