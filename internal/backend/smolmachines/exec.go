package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/command"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// Exec runs a script to its end.
func (b *Bottle) Exec(ctx context.Context, script string, user bottle.User) (bottle.ExecResult, error) {
	return bottle.RunScript(ctx, b, script, user)
}

// Run runs a command in the bottle, connected to streams: as the agent's user, or as root without
// a capability.
func (b *Bottle) Run(ctx context.Context, argv []string, user bottle.User, streams bottle.IO) (int, error) {
	if b.silent != nil {
		return 0, b.silent
	}
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
	err = command.Command{Cmd: c, Kill: func() { kill(c) }, Grace: endGrace, Said: said}.Run(ctx, streams)
	if err := ended(c, err); err != nil {
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
	part, _, failed := strings.Cut(said, " operation failed: ")
	return failed && !strings.Contains(part, " ") || strings.HasPrefix(said, "vm not found: ") || strings.HasPrefix(said, "invalid vm state: ")
}

// ended tells how a smolvm ended; nil if it exited, with whatever status.
func ended(c *exec.Cmd, err error) error {
	var exit *exec.ExitError
	switch {
	case c.Process == nil:
		return &callError{verb: "machine exec", err: err}
	case !errors.As(err, &exit):
		return err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Errorf("smolvm was ended by %s", ws.Signal())
	}
	return nil
}

// CopyIn copies a file or a tree in, owned by the agent's user, who unpacks it.
func (b *Bottle) CopyIn(ctx context.Context, hostPath, bottlePath string) error {
	return command.Files{Runner: b, Identity: b.identity}.CopyIn(ctx, hostPath, bottlePath)
}
