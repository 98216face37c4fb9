//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/command"
)

// Exec runs a script to its end.
func (m *machine) Exec(ctx context.Context, script string, user bottle.User) (bottle.ExecResult, error) {
	return bottle.RunScript(ctx, m, script, user)
}

// Run runs a command, connected to streams: as the agent's user, or as root without a capability.
func (m *machine) Run(ctx context.Context, argv []string, user bottle.User, streams bottle.IO) (int, error) {
	c := m.command(append([]string{"within", string(user), "--"}, argv...)...)
	if streams.TTY {
		c.Env = append(c.Env, "TERM=xterm-256color")
	}
	err := command.Command{Cmd: c, Kill: func() { kill(c) }, Grace: outputGrace}.Run(ctx, streams)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	ws := c.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case m.guest.over() && !c.ProcessState.Success():
		return 0, fmt.Errorf("cannot run %q: %s: %w", argv[0], m.identity, bottle.ErrNotRunning)
	case ws.Signaled():
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// outputGrace is how long what a command has left behind may hold its streams.
const outputGrace = time.Second

// CopyIn copies a file or a tree in, owned by the agent's user, who unpacks it.
func (m *machine) CopyIn(ctx context.Context, hostPath, bottlePath string) error {
	return command.Files{Runner: m, Identity: m.identity}.CopyIn(ctx, hostPath, bottlePath)
}
