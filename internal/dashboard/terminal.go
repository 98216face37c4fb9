package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// Where programs are opened inside tmux.
const (
	OpenPane   = "pane"   // in the pane that the dashboard owns, in place of what was there
	OpenSplit  = "split"  // in a new pane each
	OpenWindow = "window" // in a new window each
)

// Opens lists them.
func Opens() []string { return []string{OpenPane, OpenSplit, OpenWindow} }

// tmux is the terminal multiplexer that the dashboard may run in.
type tmux struct {
	inside bool
	where  string // one of Opens
}

// owned is the mark of the pane that the dashboard owns: several dashboards, and the next one
// in this window, find it again.
const owned = "@bot-bottle-pane"

// open runs this program with other arguments in a terminal: beside the dashboard inside
// tmux, else in its place until it ends.
func (m *model) open(what string, args ...string) tea.Cmd {
	self := m.o.Terminal.Self(args...)
	if !m.tmux.inside {
		return m.suspend(what, func() error { return m.o.Terminal.Foreground(self) })
	}
	return func() tea.Msg {
		err := m.tmux.run(m.ctx, m.o, self)
		return did{what: what, err: err}
	}
}

// run starts a program in tmux. It is run as it is, by no shell.
func (t tmux) run(ctx context.Context, o Options, self *exec.Cmd) error {
	var env []string
	for _, pair := range o.Terminal.Passed() {
		env = append(env, "-e", pair)
	}
	own := o.Getenv("TMUX_PANE")
	var args []string
	switch mine := t.pane(ctx, own); {
	case t.where == OpenWindow:
		args = []string{"new-window"}
	case t.where == OpenPane && mine != "":
		args = []string{"respawn-pane", "-k", "-t", mine}
	default:
		args = []string{"split-window", "-h", "-t", own}
	}
	if args[0] != "respawn-pane" {
		args = append(args, "-P", "-F", "#{pane_id}")
	}
	args = slices.Concat(args, env, []string{"-c", self.Dir, "--"}, self.Args)
	said, err := call(ctx, args...)
	if err != nil || args[0] == "respawn-pane" {
		return err
	}
	pane := strings.TrimSpace(said)
	_, err = call(ctx, "set-option", "-p", "-t", pane, "remain-on-exit", "failed") // so that its last words can be read
	if t.where == OpenPane {
		_, markErr := call(ctx, "set-option", "-p", "-t", pane, owned, own)
		err = errors.Join(err, markErr)
	}
	return err
}

// pane is the one in this window that the dashboard owns, "" if there is none.
func (t tmux) pane(ctx context.Context, own string) string {
	said, err := call(ctx, "list-panes", "-t", own, "-F", "#{pane_id} #{"+owned+"}")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(said) {
		if id, mark, _ := strings.Cut(strings.TrimSpace(line), " "); mark == own {
			return id
		}
	}
	return ""
}

func call(ctx context.Context, args ...string) (string, error) {
	var stderr strings.Builder
	c := exec.CommandContext(ctx, "tmux", args...)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("tmux %s: %s", args[0], strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// suspended is something that has the terminal for a while.
type suspended struct {
	do func() error
}

// SetStdin implements tea.ExecCommand: what is run has the process's own streams.
func (suspended) SetStdin(io.Reader) {}

// SetStdout implements tea.ExecCommand.
func (suspended) SetStdout(io.Writer) {}

// SetStderr implements tea.ExecCommand.
func (suspended) SetStderr(io.Writer) {}

// Run implements tea.ExecCommand.
func (s suspended) Run() error { return s.do() }

// suspend gives the terminal away until do returns.
func (m *model) suspend(what string, do func() error) tea.Cmd {
	return tea.Exec(suspended{do}, func(err error) tea.Msg { return did{what: what, err: err} })
}

// read runs this program with other arguments, and shows what it says. On success then may
// add to the viewer; nil for nothing.
func (m *model) read(what string, then func(*model, *viewer), args ...string) tea.Cmd {
	m.say(false, what+" …")
	return func() tea.Msg {
		said, err := m.o.Terminal.Self(args...).CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return did{what: what, err: err}
		}
		return did{what: what, then: func(m *model) tea.Cmd {
			m.viewer = &viewer{title: what, lines: foreign(m.theme, string(said), func(string) styled { return m.theme.text })}
			if err == nil && then != nil {
				then(m, m.viewer)
			}
			return nil
		}}
	}
}

// bringUp shows what a verb that starts a bottle would start, and does it after a yes. The
// terminal of the agent is opened then.
func (m *model) bringUp(what string, args ...string) tea.Cmd {
	with := func(more ...string) []string { return slices.Concat(args[:1], more, args[1:]) }
	return m.read(what, func(m *model, _ *viewer) {
		m.confirm(what, "Start it?", nil, nil, func() tea.Cmd {
			m.viewer = nil
			m.say(false, what+" …")
			return func() tea.Msg { return m.started(what, with("-y", "--detach")) }
		})
	}, with("--dry-run")...)
}

// lastError is what a run of this program ended with, and what to do about it; what stands before is
// its preflight and progress.
func lastError(said string) string {
	const ours = "bot-bottle: "
	return strings.TrimPrefix(said[max(0, strings.LastIndex("\n"+said, "\n"+ours)):], ours)
}

// started runs it, and has its terminal opened.
func (m *model) started(what string, args []string) tea.Msg {
	var stderr strings.Builder
	c := m.o.Terminal.Self(args...)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return did{what: what, err: errors.New(lastError(stderr.String()))}
	}
	identity := strings.TrimSpace(string(out))
	return did{what: what, then: func(m *model) tea.Cmd {
		m.wanted = identity
		return nil
	}}
}
