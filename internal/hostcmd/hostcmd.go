// Package hostcmd runs commands on the host that the operator's own files name. It
// must never run anything that a bottle or a repository named, and never prints what a
// command wrote on standard output: it may be a secret.
package hostcmd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// maxOutput bounds what is kept of each stream.
const maxOutput = 1 << 20

// RunError is a command that could not be run, or did not exit with 0. Its message shows
// neither arguments nor standard output: either may hold a secret.
type RunError struct {
	Argv   []string
	Code   int      // its exit status; -1 when it has none
	Stderr string   // its last line, safe to print
	Said   []string // all of its lines, the same way
	Err    error
}

func (e *RunError) Error() string {
	name := "no command"
	if len(e.Argv) > 0 {
		name = e.Argv[0]
	}
	if e.Stderr == "" {
		return fmt.Sprintf("%s: %v", name, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", name, e.Err, e.Stderr)
}

// Unwrap returns the cause.
func (e *RunError) Unwrap() error { return e.Err }

// Output runs argv in dir, "" for the working directory, with our environment and no
// standard input, and returns its standard output. When ctx ends, the command and what
// it started are killed. Errors are RunErrors.
func Output(ctx context.Context, dir string, argv []string) ([]byte, error) {
	return Command{Dir: dir, Argv: argv}.Output(ctx)
}

// OutputWith is Output in the working directory, with an environment of its own; nil is
// ours.
func OutputWith(ctx context.Context, env, argv []string) ([]byte, error) {
	return Command{Env: env, Argv: argv}.Output(ctx)
}

// Command is one with more to say than its arguments.
type Command struct {
	Argv   []string
	Dir    string        // "" for the working directory
	Env    []string      // nil for ours
	Stdin  io.Reader     // nil for none
	Stderr io.Writer     // hears what it writes there as well; nil for nobody
	Most   int           // bytes of output that are an error if there are more; 0 for the usual
	Grace  time.Duration // to clean up after itself when ctx ends; 0 for none
}

// Output runs the command, as the function Output does.
func (c Command) Output(ctx context.Context) ([]byte, error) {
	argv := c.Argv
	if len(argv) == 0 {
		return nil, &RunError{Code: -1, Err: errors.New("there is nothing to run")}
	}
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Dir, command.Env, command.Stdin = c.Dir, c.Env, c.Stdin
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, c.ending()) }
	command.WaitDelay = cmp.Or(c.Grace, time.Second)
	stdout, stderr := &bounded{most: cmp.Or(c.Most, maxOutput)}, &bounded{most: maxOutput}
	command.Stdout, command.Stderr = stdout, stderr
	if c.Stderr != nil {
		command.Stderr = io.MultiWriter(stderr, c.Stderr)
	}
	err := command.Run()
	if c.Grace > 0 && ctx.Err() != nil && command.Process != nil {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // whoever did not heed it
	}
	if err == nil && stdout.over {
		err = fmt.Errorf("it wrote more than %d bytes", stdout.most)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, &RunError{argv, command.ProcessState.ExitCode(), lastLine(stderr.kept.String()), allLines(stderr.kept.String()), plain(err)}
	}
	return stdout.kept.Bytes(), nil
}

// ending is how a command is told to end.
func (c Command) ending() syscall.Signal {
	if c.Grace > 0 {
		return syscall.SIGTERM
	}
	return syscall.SIGKILL
}

// plain says in words what exec says in its own.
func plain(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &inWords{"it took too long", err}
	case errors.Is(err, exec.ErrNotFound):
		return &inWords{"there is no such command", err}
	case errors.Is(err, exec.ErrWaitDelay):
		return &inWords{"it left a process behind that keeps its output open", err}
	}
	return err
}

// inWords is an error that reads as words of ours.
type inWords struct {
	words string
	err   error
}

func (e *inWords) Error() string { return e.words }
func (e *inWords) Unwrap() error { return e.err }

// bounded keeps the beginning of what is written to it. It must not embed the buffer:
// io.Copy would go past Write by its ReadFrom.
type bounded struct {
	kept bytes.Buffer
	most int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.most - b.kept.Len()
	b.over = b.over || len(p) > room
	b.kept.Write(p[:min(len(p), room)])
	return len(p), nil
}

// maxLines bounds how many are kept.
const maxLines = 20

func allLines(s string) []string {
	var all []string
	for line := range strings.Lines(s) {
		if line = lastLine(line); line != "" && len(all) < maxLines {
			all = append(all, line)
		}
	}
	return all
}

// maxLine bounds what an error shows of standard error, in characters.
const maxLine = 200

// lastLine is where a command says why it failed, if it does. It may repeat what a server
// sent, so nothing in it may speak to a terminal.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	line := []rune(strings.TrimSpace(lines[len(lines)-1]))
	if len(line) > maxLine {
		line = append(line[:maxLine], '…')
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, string(line))
}
