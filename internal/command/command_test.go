package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// shell is a command whose end ends all of it.
func shell(script string) Command {
	c := exec.Command("sh", "-c", script)
	return Command{Cmd: c, Kill: func() { _ = c.Process.Kill() }, Grace: 10 * time.Millisecond}
}

// What it tells the operator is told to who else wants it, and its status is exec's.
func TestPipes(t *testing.T) {
	var stdout, stderr, said bytes.Buffer
	c := shell("cat; echo no >&2; exit 4")
	c.Said = &said
	err := c.Run(t.Context(), bottle.IO{Stdin: strings.NewReader("in"), Stdout: &stdout, Stderr: &stderr})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 4 || stdout.String() != "in" || stderr.String() != "no\n" || said.String() != "no\n" {
		t.Errorf("got %v, %q, %q, %q", err, &stdout, &stderr, &said)
	}
}

// What it leaves behind holds nobody up.
func TestWhatIsLeftBehindIsNotWaitedFor(t *testing.T) {
	var stdout bytes.Buffer
	if err := shell("echo done; sleep 60 &").Run(t.Context(), bottle.IO{Stdout: &stdout}); err != nil || stdout.String() != "done\n" {
		t.Errorf("got %v, %q", err, &stdout)
	}
}

// It ends with its context, on pipes and on a terminal, and the context's cause is the error.
func TestItEndsWithItsContext(t *testing.T) {
	for _, tty := range []bool{false, true} {
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		seen := writer(func([]byte) { cancel(cause) })
		err := shell("echo up; exec sleep 60").Run(ctx, bottle.IO{TTY: tty, Stdout: seen, Stderr: seen})
		if !errors.Is(err, cause) {
			t.Errorf("on a terminal: %t: got %v", tty, err)
		}
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

// A terminal that is resized all the time while its command ends: under the race detector, its end
// waits for the last of that.
func TestATerminalIsResizedToItsEnd(t *testing.T) {
	sizes := make(chan bottle.Size)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			select {
			case sizes <- bottle.Size{Width: 70, Height: 20}:
			case <-ctx.Done():
			}
		}
	}()
	for range 20 {
		var shown bytes.Buffer
		err := shell("until [ \"$(stty size)\" = '20 70' ]; do :; done; echo as said").Run(ctx, bottle.IO{TTY: true, Stdout: &shown, Size: sizes})
		if err != nil || !strings.Contains(shown.String(), "as said") {
			t.Fatalf("got %v, %q", err, &shown)
		}
	}
}

// The detach keys leave it.
func TestTheDetachKeys(t *testing.T) {
	in, keys := io.Pipe()
	seen := writer(func(p []byte) {
		if bytes.Contains(p, []byte("up")) {
			go func() { _, _ = keys.Write([]byte{0x10, 0x11}) }()
		}
	})
	err := shell("echo up; exec sleep 60").Run(t.Context(), bottle.IO{TTY: true, Stdin: in, Stdout: seen, View: bottle.View{DetachKeys: []byte{0x10, 0x11}}})
	if !errors.Is(err, bottle.ErrDetached) {
		t.Errorf("got %v, want ErrDetached", err)
	}
}
