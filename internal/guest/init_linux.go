package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Run listens, runs the agent, and returns its exit status: 128 and the signal's number
// when a signal ended it, 127 when there is no such command, 126 when it cannot be
// run. The agent is not started when anything cannot listen. When ctx ends, the agent is
// asked to, and then made to.
func Run(ctx context.Context, o Options) (int, error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	defer signal.Stop(signals)
	if os.Getpid() != 1 { // what the agent leaves behind is ours to reap there too
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return 0, err
		}
	}
	ls, err := listen(context.WithoutCancel(ctx), o.SocketDir, o.Log)
	if err != nil {
		return 0, err
	}
	defer ls.close()
	if o.Terminal == nil {
		pid, status, err := startAgent(o, nil)
		if err != nil {
			return status, err
		}
		return look(ctx, pid, signals, false), nil
	}
	return runOnTerminal(ctx, o, signals)
}

// runOnTerminal runs the agent on a terminal that the guest owns.
func runOnTerminal(ctx context.Context, o Options, signals <-chan os.Signal) (int, error) {
	c, err := openConsole(*o.Terminal)
	if err != nil {
		return 0, err
	}
	pid, status, err := startAgent(o, c.agents)
	c.started()
	if err != nil {
		c.close()
		return status, err
	}
	status = look(ctx, pid, signals, true)
	c.finish(status)
	return status, nil
}

// startAgent starts the agent: on its terminal, as a session of its own, or on our own
// standard streams, in a process group of its own.
func startAgent(o Options, terminal *os.File) (pid, status int, err error) {
	if terminal == nil {
		return startAgentOn(o, [3]*os.File{os.Stdin, os.Stdout, os.Stderr})
	}
	return startWith(o, [3]*os.File{terminal, terminal, terminal}, &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0})
}

// startAgentOn starts the agent on streams.
func startAgentOn(o Options, streams [3]*os.File) (pid, status int, err error) {
	return startWith(o, streams, &syscall.SysProcAttr{Setpgid: true})
}

func startWith(o Options, streams [3]*os.File, as *syscall.SysProcAttr) (pid, status int, err error) {
	path, err := exec.LookPath(o.Argv[0])
	if err != nil {
		return 0, unrunnable(err), fmt.Errorf("cannot run the agent: %w", err)
	}
	attributes := &syscall.ProcAttr{Dir: o.Dir, Env: os.Environ(), Sys: as}
	for _, f := range streams {
		attributes.Files = append(attributes.Files, f.Fd())
	}
	if pid, err = syscall.ForkExec(path, o.Argv, attributes); err != nil {
		return 0, unrunnable(err), fmt.Errorf("cannot run the agent: %s: %w", path, err)
	}
	return pid, 0, nil
}

// How long the agent may take to end when asked, and when its terminal hangs up: shells do not
// end for the former.
const (
	stopGrace   = 5 * time.Second
	hangUpGrace = 2 * time.Second
)

// look passes signals on and reaps whatever ends, until the agent has.
func look(ctx context.Context, agent int, signals <-chan os.Signal, terminal bool) int {
	var hangUp, kill <-chan time.Time
	ask := func() {
		kill = time.After(stopGrace)
		if terminal {
			hangUp = time.After(hangUpGrace)
		}
	}
	asked := ctx.Done()
	for {
		select {
		case s := <-signals:
			switch s {
			case syscall.SIGCHLD:
				if status, ended := reap(agent); ended {
					return status
				}
				continue
			case syscall.SIGPIPE:
				continue
			case syscall.SIGTERM:
				ask()
			}
			_ = syscall.Kill(agent, s.(syscall.Signal))
		case <-asked:
			asked = nil
			ask()
			_ = syscall.Kill(agent, syscall.SIGTERM)
		case <-hangUp:
			_ = syscall.Kill(-agent, syscall.SIGHUP)
		case <-kill:
			_ = syscall.Kill(agent, syscall.SIGKILL)
		}
	}
}

// reap takes every child that has ended, ours and the orphans that became ours, and
// reports whether the agent was among them.
func reap(agent int) (status int, ended bool) {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG|syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return status, ended
		}
		if ws.Stopped() {
			wake(agent, pid)
			continue
		}
		if pid == agent {
			status, ended = exitStatus(ws), true
		}
	}
}

// wake continues an agent that was stopped, by ctrl-Z or by itself: there is no shell
// here that would.
func wake(agent, stopped int) {
	if stopped == agent {
		_ = syscall.Kill(-agent, syscall.SIGCONT)
	}
}

func exitStatus(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
