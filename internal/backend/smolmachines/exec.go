package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/filecopy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// maxOutput bounds what Exec keeps of each stream.
const maxOutput = 1 << 20

// Exec runs a script to its end.
func (b *Bottle) Exec(ctx context.Context, script string, user bottle.User) (bottle.ExecResult, error) {
	stdout, stderr := &first{}, &first{}
	code, err := b.Run(ctx, []string{"/bin/sh", "-c", script}, user, bottle.IO{Stdout: stdout, Stderr: stderr})
	return bottle.ExecResult{Code: code, Stdout: stdout.kept, Stderr: stderr.kept}, err
}

// first keeps the first maxOutput bytes and swallows the rest.
type first struct{ kept []byte }

func (f *first) Write(p []byte) (int, error) {
	if room := maxOutput - len(f.kept); room > 0 {
		f.kept = append(f.kept, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// Run runs a command in the bottle, connected to streams: as the agent's user, or as root without
// a capability.
func (b *Bottle) Run(ctx context.Context, argv []string, user bottle.User, streams bottle.IO) (int, error) {
	args := []string{"machine", "exec", "--name", b.machine, "--workdir", provider.Workspace}
	switch {
	case streams.TTY:
		args = append(args, "--interactive", "--tty", "--env", "TERM=xterm-256color")
	case streams.Stdin != nil:
		args = append(args, "--interactive")
	default:
		args = append(args, "--stream")
	}
	c, err := b.driver.command(slices.Concat(args, []string{"--", control.Binary, "guest", "within", string(user), "--"}, argv))
	if err != nil {
		return 0, err
	}
	said := &tail{}
	if streams.TTY {
		err = runOnTerminal(ctx, c, streams, said)
	} else {
		err = run(ctx, c, streams, said)
	}
	if err != nil {
		return 0, err
	}
	code := c.ProcessState.ExitCode()
	if why := said.last(); code == 1 && smolvmsOwn(why) {
		return 0, fmt.Errorf("cannot run %q in %s: %w", argv[0], b.identity, b.driver.lost(ctx, b.machine, &callError{verb: "machine exec", said: why}))
	}
	return code, nil
}

// smolvmsOwn reports whether an error is one of smolvm's, and no command's in the machine. A
// command that says the same, and exits as smolvm does, only denies itself its status.
func smolvmsOwn(said string) bool {
	return strings.HasPrefix(said, "agent operation failed: ") || strings.HasPrefix(said, "vm not found: ")
}

// run runs a smolvm to its end, connected to streams. A read of streams.Stdin may still be pending
// when it returns.
func run(ctx context.Context, c *exec.Cmd, streams bottle.IO, said io.Writer) error {
	c.Stdout, c.Stderr = streams.Stdout, io.MultiWriter(orNothing(streams.Stderr), said)
	var stdin io.WriteCloser
	if streams.Stdin != nil {
		var err error
		if stdin, err = c.StdinPipe(); err != nil {
			return err
		}
	}
	if err := c.Start(); err != nil {
		return &callError{verb: "machine exec", err: err}
	}
	defer context.AfterFunc(ctx, func() { kill(c) })()
	if stdin != nil {
		go func() {
			_, _ = io.Copy(stdin, streams.Stdin)
			_ = stdin.Close()
		}()
	}
	c.WaitDelay = endGrace
	err := c.Wait()
	return ended(ctx, err)
}

// ended tells how a command ended from how a call did.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return fmt.Errorf("smolvm was ended by %s", ws.Signal())
		}
		return nil
	}
	return err
}

func orNothing(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// CopyIn copies a file or a tree in, owned by the agent's user. What is in the machine resolves
// the path, as the agent's user, so nothing there leads anywhere that the agent could not go.
func (b *Bottle) CopyIn(ctx context.Context, hostPath, bottlePath string) error {
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := filecopy.Pack(writer, hostPath, path.Base(bottlePath), provider.UID, nil)
		_ = writer.CloseWithError(err)
		done <- err
	}()
	said := &tail{}
	code, err := b.Run(ctx, []string{"tar", "-x", "-C", path.Dir(bottlePath), "-f", "-"}, bottle.Node, bottle.IO{Stdin: reader, Stdout: io.Discard, Stderr: said})
	_ = reader.Close()
	if wrote := <-done; wrote != nil && !errors.Is(wrote, io.ErrClosedPipe) {
		err = wrote
	}
	if err == nil && code != 0 {
		err = said.why("tar", code)
	}
	if err != nil {
		return fmt.Errorf("cannot copy %s into %s: %w", hostPath, b.identity, err)
	}
	return nil
}
