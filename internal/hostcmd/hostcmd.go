// Package hostcmd runs commands on the host that the operator's own files name. It
// must never run anything that a bottle or a repository named, and never prints what a
// command wrote on standard output: it may be a secret.
package hostcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// maxOutput bounds what is kept of each stream.
const maxOutput = 1 << 20

// RunError is a command that could not be run, or did not exit with 0.
type RunError struct {
	Argv   []string
	Stderr string // its last line
	Err    error
}

func (e *RunError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("%s: %v", e.Argv[0], e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Argv[0], e.Err, e.Stderr)
}

// Unwrap returns the cause.
func (e *RunError) Unwrap() error { return e.Err }

// Output runs argv with no standard input and returns its standard output. When ctx
// ends, the command and what it started are killed. Errors are RunErrors.
func Output(ctx context.Context, argv []string) ([]byte, error) {
	return OutputWith(ctx, nil, argv)
}

// OutputWith is Output with an environment of its own; nil is ours.
func OutputWith(ctx context.Context, env, argv []string) ([]byte, error) {
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Env = env
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	stdout, stderr := &bounded{}, &bounded{}
	command.Stdout, command.Stderr = stdout, stderr
	err := command.Run()
	if err == nil && stdout.over {
		err = fmt.Errorf("it wrote more than %d bytes", maxOutput)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, &RunError{argv, lastLine(stderr.String()), plain(err)}
	}
	return stdout.Bytes(), nil
}

// plain says in words what exec says in its own.
func plain(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("it took too long: %w", err)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("there is no such command: %w", exec.ErrNotFound)
	}
	return err
}

type bounded struct {
	bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := maxOutput - b.Len()
	b.over = b.over || len(p) > room
	b.Buffer.Write(p[:min(len(p), max(room, 0))])
	return len(p), nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
