package gitgate

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// git runs git in one mirror: with this environment and no other, under limits. Nobody's
// configuration is read but the file that it names (git(1), environment variables).
type git struct {
	dir    string // the mirror
	config string // the one file of configuration
	extra  []string
	most   int64 // bytes that one file may come to; 0 for the usual
}

// Limits of one git process (prlimit(1)). Memory is what it allocates; what it maps of its
// packs is the kernel's to keep or to drop.
const (
	maxHeap = 1 << 30
	maxFile = 8 << 30
	maxCPU  = 15 * time.Minute
)

// maxOperation bounds one operation with an upstream.
const maxOperation = 30 * time.Minute

func (g git) env() []string {
	return append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "LC_ALL=C", "TZ=UTC",
		"GIT_DIR=" + g.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + g.config, "GIT_ATTR_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false", "SSH_ASKPASS=/bin/false", "SSH_ASKPASS_REQUIRE=never", "GIT_SSH_VARIANT=ssh", "GIT_NO_LAZY_FETCH=1",
	}, g.extra...)
}

// command is git with arguments, ended with all that it started when ctx ends, and when
// the gate does.
func (g git) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(append(limits(cmp.Or(g.most, maxFile)), "git"), args...)
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir, c.Env = g.dir, g.env()
	c.SysProcAttr = attributes()
	c.Cancel = func() error { return signalGroup(c.Process, syscall.SIGTERM) } // git takes its unfinished files away
	c.WaitDelay = grace
	return c
}

// maxOutput bounds what is kept of a command's output.
const maxOutput = 64 << 20

// run runs git to its end. Its error is what git said last.
func (g git) run(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	c := g.command(ctx, args...)
	out, complaint := &bounded{most: maxOutput}, &bounded{most: 64 << 10, tail: true}
	c.Stdin, c.Stdout, c.Stderr = stdin, out, complaint
	err := c.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil && out.over {
		err = errors.New("its output is too long")
	}
	if err != nil {
		return out.kept.Bytes(), &gitError{args[0], err, complaint.String()}
	}
	return out.kept.Bytes(), nil
}

// outputBuffer is how much is read of git's output at once, in bytes.
const outputBuffer = 256 << 10

// stream runs git to its end and has read take its output as it comes. Where read gives up,
// git is ended, and read's error counts: git's is our own doing then. Where read finds the
// output cut short (io.ErrUnexpectedEOF) git has ended by itself and knows better why, unless it
// was ended because ctx was.
func (g git) stream(ctx context.Context, stdin io.Reader, read func(*bufio.Reader) error, args ...string) error {
	running, end := context.WithCancel(ctx)
	defer end()
	c := g.command(running, args...)
	complaint := &bounded{most: 4 << 10, tail: true}
	c.Stdin, c.Stderr = stdin, complaint
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	unread := read(bufio.NewReaderSize(out, outputBuffer))
	gaveUp := unread != nil && !errors.Is(unread, io.ErrUnexpectedEOF)
	if gaveUp {
		end()
	}
	err = c.Wait()
	switch {
	case gaveUp:
		return unread
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return &gitError{args[0], err, complaint.String()}
	}
	return unread
}

// gitError is a git that failed.
type gitError struct {
	verb   string
	err    error
	stderr string
}

// Error is what git says, in a line.
func (e *gitError) Error() string {
	var said []string
	for line := range strings.Lines(e.stderr) {
		line = printable(strings.TrimSpace(line))
		if line == "" || strings.HasPrefix(line, "Load key ") || strings.HasPrefix(line, "Please make sure you have") || line == "and the repository exists." {
			continue
		}
		said = append(said, strings.TrimPrefix(strings.TrimPrefix(line, "fatal: "), "error: "))
	}
	if len(said) == 0 {
		return fmt.Sprintf("git %s: %v", e.verb, e.err)
	}
	if len(said) > 4 {
		said = said[len(said)-4:]
	}
	return strings.Join(said, "; ")
}

func (e *gitError) Unwrap() error { return e.err }

// status is the exit status of git, -1 if it had none.
func status(err error) int {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// bounded keeps the beginning of what is written to it, or the end. It must not embed the
// buffer: io.Copy would go past Write by its ReadFrom.
type bounded struct {
	kept bytes.Buffer
	most int
	tail bool
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := len(p)
	if b.tail {
		p = p[max(0, n-b.most):]
		b.kept.Next(max(0, b.kept.Len()+len(p)-b.most))
		b.kept.Write(p)
		return n, nil
	}
	room := b.most - b.kept.Len()
	b.over = b.over || n > room
	b.kept.Write(p[:min(n, room)])
	return n, nil
}

// String is what was kept.
func (b *bounded) String() string { return b.kept.String() }

// printable drops what a terminal would interpret, and bytes that are no text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffd || r == 0x2028 || r == 0x2029 || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '·'
		}
		return r
	}, s)
}

// grace is how long git may take to clean up after itself.
const grace = 5 * time.Second

func signalGroup(p *os.Process, signal syscall.Signal) error {
	err := syscall.Kill(-p.Pid, signal)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// endGroup ends all that a process started which has itself ended: first by asking.
func endGroup(p *os.Process) {
	if signalGroup(p, syscall.SIGTERM) != nil {
		return
	}
	for deadline := time.Now().Add(grace); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if signalGroup(p, 0) != nil {
			return
		}
	}
	_ = signalGroup(p, syscall.SIGKILL)
}
