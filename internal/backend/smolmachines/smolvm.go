package smolmachines

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// Limits of one call. What prints more or takes longer is not what we know.
const (
	askLimit    = 20 * time.Second
	createLimit = 15 * time.Minute // it copies and hashes the archive
	startLimit  = 10 * time.Minute // the first one unpacks it in the machine
	stopLimit   = 2 * time.Minute
	maxAnswer   = 8 << 20
	endGrace    = 2 * time.Second
)

// allowed are the variables that smolvm gets of ours. Others would change what a machine is
// (SMOLVM_EGRESS_FLOOR, SMOLVM_PUBLISH_ADDR), reach into it (SSH_AUTH_SOCK), or carry a secret.
func allowed() []string {
	return []string{"HOME", "PATH", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "SMOLVM_DATA_DIR", "SMOLVM_AGENT_ROOTFS"}
}

func (d *Driver) environment(more ...string) []string {
	env := []string{}
	for _, name := range allowed() {
		if value := d.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return append(env, more...)
}

// landlock is smolvm's own wall around a machine's process, which this kernel must have: it keeps
// what breaks out of one machine from the file that all of them boot from.
func (d *Driver) landlock() []string {
	if runtime.GOOS != "linux" || d.Getenv(envLandlock) == "off" {
		return nil
	}
	return []string{"SMOLVM_LANDLOCK=enforce"}
}

const envLandlock = "BOT_BOTTLE_SMOLVM_LANDLOCK"

// callError is a call that failed.
type callError struct {
	verb string
	code int
	said string // its last words, safe to print
	err  error  // of the call itself
}

func (e *callError) Error() string {
	switch {
	case e.said != "" && e.err != nil:
		return fmt.Sprintf("smolvm %s: %s (%v)", e.verb, e.said, e.err)
	case e.said != "":
		return fmt.Sprintf("smolvm %s: %s", e.verb, e.said)
	case e.err != nil:
		return fmt.Sprintf("smolvm %s: %v", e.verb, e.err)
	}
	return fmt.Sprintf("smolvm %s: it failed with status %d and said nothing", e.verb, e.code)
}

func (e *callError) Unwrap() error { return e.err }

// gone reports whether an error is that there is no machine of that name. What else is not found, such as a
// library of smolvm's, says nothing of the machine.
func gone(err error, name string) bool {
	var failed *callError
	if !errors.As(err, &failed) {
		return false
	}
	_, after, said := strings.Cut(failed.said, "vm not found: "+name)
	return said && !inWord(after[:min(1, len(after))]) || strings.Contains(failed.said, "machine '"+name+"' not found")
}

// lateError is that of a limit that has passed: a context.DeadlineExceeded that says more.
type lateError string

func (e lateError) Error() string { return string(e) }

// Is makes it a context.DeadlineExceeded.
func (e lateError) Is(target error) bool { return target == context.DeadlineExceeded }

// within is a limit, or less where all are bounded.
func (d *Driver) within(limit time.Duration) time.Duration {
	if d.patience > 0 {
		return min(limit, d.patience)
	}
	return limit
}

// command prepares a call of the program on PATH: what is there sets up what the real one needs.
func (d *Driver) command(args []string, env ...string) (*exec.Cmd, error) {
	path, err := lookPath(d.Getenv("PATH"))
	if err != nil {
		return nil, err
	}
	c := exec.Command(path, args...)
	c.Env = d.environment(env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-c is for us, and its end is the end of all that it started
	return c, nil
}

// call runs smolvm to its end, with nothing on its standard input, and returns what it printed.
func (d *Driver) call(ctx context.Context, limit time.Duration, args []string, env ...string) ([]byte, error) {
	limit = d.within(limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, lateError("it is not done after "+limit.String()))
	defer cancel()
	c, err := d.command(args, env...)
	if err != nil {
		return nil, err
	}
	out, said := &bounded{most: maxAnswer}, &tail{}
	c.Stdout, c.Stderr = out, said
	verb := verbOf(args)
	out.over = func() { kill(c) } // something is printed only once it runs
	if err := c.Start(); err != nil {
		return nil, &callError{verb: verb, err: err}
	}
	stop := context.AfterFunc(ctx, func() { kill(c) })
	c.WaitDelay = endGrace
	err = c.Wait()
	stop()
	switch {
	case ctx.Err() != nil:
		return nil, &callError{verb: verb, said: said.last(), err: context.Cause(ctx)}
	case out.tooMuch():
		return nil, &callError{verb: verb, err: fmt.Errorf("it printed more than %d MiB", maxAnswer>>20)}
	case err != nil:
		return nil, &callError{verb: verb, code: c.ProcessState.ExitCode(), said: said.last()}
	}
	return out.bytes(), nil
}

func verbOf(args []string) string { return strings.Join(args[:min(2, len(args))], " ") }

// kill ends a call with all that it started.
func kill(c *exec.Cmd) {
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	_ = c.Process.Kill()
}

// wholeGrace is how long a call that is not to be interrupted goes on once nobody wants it any more.
const wholeGrace = 10 * time.Second

// whole runs a call that is not to be interrupted half way: what it made then is for who takes it down to
// find. One that hangs is, since its operator waits.
func (d *Driver) whole(ctx context.Context, limit time.Duration, args []string, env ...string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	going, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(wholeGrace):
			cancel(context.Cause(ctx))
		case <-going.Done():
		}
	})()
	_, err := d.call(going, limit, args, env...)
	return err
}

// bounded keeps what is written to it, up to a bound.
type bounded struct {
	mu   sync.Mutex
	kept bytes.Buffer
	most int
	much bool
	over func()
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept.Len()+len(p) > b.most {
		if b.much = true; b.over != nil {
			b.over()
		}
		return len(p), nil
	}
	return b.kept.Write(p)
}

func (b *bounded) tooMuch() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.much }
func (b *bounded) bytes() []byte { b.mu.Lock(); defer b.mu.Unlock(); return b.kept.Bytes() }

// tail is what a smolvm said at its end.
type tail struct{ plain.Tail }

// last returns the last error that it tells of, or its last line, safe to print.
func (t *tail) last() string {
	for _, line := range slices.Backward(t.Lines()) {
		for _, prefix := range []string{"Error: ", "error: "} {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
				return plain.Text(rest)
			}
		}
	}
	return t.Last()
}

// machine is what smolvm says of one. What a bottle stands on is a pointer: what is not said is
// not true.
type machine struct {
	Name      string            `json:"name"`
	State     string            `json:"state"`
	Labels    map[string]string `json:"labels"`
	Image     string            `json:"image"`
	Network   *bool             `json:"network"`
	Ports     *int              `json:"ports"`
	Mounts    *int              `json:"mounts"`
	CPUs      int               `json:"cpus"`
	Memory    int64             `json:"memory_mib"`
	CreatedAt int64             `json:"created_at"`
	PID       int               `json:"pid"`

	lost bool // smolvm tells of no label of ours: those that are there are from the bottle's record
}

// States of a machine.
const (
	created     = "created" // it was never started
	running     = "running"
	unreachable = "unreachable" // it has not answered smolvm for 3 seconds
)

// up reports whether a machine has a process, in whatever state. One that failed may have none left.
func (m machine) up() bool {
	return m.State != created && m.State != "stopped" && (m.State != "failed" || m.PID > 0)
}

// machines lists all that there are, in no order. Of one that cannot be read only the name is known.
func (d *Driver) machines(ctx context.Context) ([]machine, error) {
	out, err := d.call(ctx, askLimit, []string{"machine", "ls", "--json"})
	if err != nil {
		return nil, err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(out, &raw); err != nil || raw == nil {
		return nil, &callError{verb: "machine ls", err: errors.New("its answer is no list of machines")}
	}
	var all []machine
	for _, one := range raw {
		var m machine
		if json.Unmarshal(one, &m) != nil {
			m = machine{Name: m.Name}
		}
		if m.Name != "" {
			all = append(all, m)
		}
	}
	return all, nil
}

// find looks at a bottle's machine; false where there is none of ours. A machine of that name that is
// not ours comes along.
func (d *Driver) find(ctx context.Context, identity string) (machine, bool, error) {
	owner, err := d.State.Owner()
	if err != nil {
		return machine{}, false, err
	}
	m, err := d.status(ctx, machineName(identity))
	if gone(err, machineName(identity)) {
		return machine{}, false, nil
	}
	if err != nil {
		return machine{}, false, err
	}
	m, mine := d.whose(m, owner, identity)
	return m, mine, nil
}

// status is what smolvm says of one machine.
func (d *Driver) status(ctx context.Context, name string) (m machine, err error) {
	out, err := d.call(ctx, askLimit, []string{"machine", "status", "--name", name, "--json"})
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(out, &m); err != nil || m.Name != name {
		return machine{}, &callError{verb: "machine status", err: errors.New("its answer is not about the machine that was asked for")}
	}
	return m, nil
}

var _ io.Writer = (*bounded)(nil)
