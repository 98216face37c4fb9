package prove

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

const terminalClaim = "what the agent prints is drawn on the operator's terminal, does nothing beyond that, and is undone when the operator leaves"

// drawn is what the agent's program and a command print to the operator's terminal. It is looked
// at before the agent asks for anything: attach would tell of it, on the terminal and elsewhere.
func (o Options) drawn(ctx context.Context, id string) view {
	return view{"H1", "terminal", terminalClaim, func() []inside.Attempt {
		return slices.Concat(
			o.onTerminal(ctx, "attach", []string{"attach", id}),
			o.onTerminal(ctx, "exec", append([]string{"exec", id, "--"}, speak...)),
			o.onTerminal(ctx, "exec --root", append([]string{"exec", "--root", id, "--"}, speak...)),
		)
	}}
}

// screens are what an operator gets to see of what a hostile agent has said.
func (s *stage) screens(ctx context.Context, running bottle.Bottle, o Options) []view {
	return []view{
		{"H1", "words", "what the agent asks for and what it calls things is text where the operator reads it", func() []inside.Attempt { return s.reads(ctx, running.Name(), o) }},
		{"H2", "look-alikes", "what the agent has drawn does not stand where a request or a decision does", func() []inside.Attempt { return o.looksAlike(ctx) }},
		{"H3", "log", "no text of the agent's becomes a line of the log, which is whole", func() []inside.Attempt { return o.logIsWhole(ctx, running.Name()) }},
	}
}

// talking are the views that see nothing where the agent has not said it.
var talking = []string{"H1", "H2", "H3"}

// withControl wants H0, too, where a view is wanted that needs it.
func withControl(only []string) []string {
	if len(only) > 0 && slices.ContainsFunc(talking, func(id string) bool { return inside.Names(only, id) }) {
		return append(slices.Clone(only), "H0")
	}
	return only
}

// speak prints all that is hostile to its terminal.
var speak = []string{control.Binary, "guest", "prove", "speak"}

// speaker is what runs in the place of the agent: it does so for as long as somebody asks it.
func speaker() []string {
	return []string{"sh", "-c", "while " + strings.Join(speak, " ") + "; do :; done; exec sleep infinity"}
}

// patience is for one command of the operator's.
const patience = 30 * time.Second

// operator prepares a command, which ends with all that it has started. What the operator allows
// agents on purpose is switched off: it would be told as broken.
func (o Options) operator(ctx context.Context, args ...string) (*exec.Cmd, error) {
	c, err := o.Command(ctx, args...)
	if err == nil {
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
		c.WaitDelay = time.Second
		c.Env = append(c.Environ(), "TERM=dumb", "NO_COLOR=1", "BOT_BOTTLE_DETACH_KEYS=ctrl-p,ctrl-q", "BOT_BOTTLE_TERMINAL_ALLOW=,")
	}
	return c, err
}

// onTerminal looks at the speaker on a terminal of the operator's.
func (o Options) onTerminal(ctx context.Context, name string, args []string) []inside.Attempt {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	what := "print all that is hostile, and look with bot-bottle " + name
	c, err := o.operator(ctx, args...)
	if err != nil {
		return []inside.Attempt{{What: what, Happened: err.Error()}}
	}
	heard := &ear{cues: []cue{{inside.SpeakReady, "\r"}, {inside.SpeakOver, "\x10\x11"}}}
	cooked, err := heard.attend(c)
	if err != nil {
		return []inside.Attempt{{What: what, Happened: err.Error()}}
	}
	left := terminal.Odd(heard.all.Bytes())
	if !cooked {
		left += " it does not edit lines"
	}
	return []inside.Attempt{heard.judged(what), {What: "leave the terminal in odd modes", Happened: cmp.Or(left, "it is as it was"), Held: left == ""}}
}

// cue is what is typed once something is heard.
type cue struct{ word, keys string }

// ear hears what reaches a terminal, and types when it hears its cue.
type ear struct {
	cues []cue
	keys io.Writer

	mu   sync.Mutex
	all  bytes.Buffer
	from int // where the next cue is looked for
}

func (e *ear) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all.Len()+len(p) > maxSaid {
		return 0, errors.New("it prints too much")
	}
	e.all.Write(p)
	for len(e.cues) > 0 {
		at := bytes.Index(e.all.Bytes()[e.from:], []byte(e.cues[0].word))
		if at < 0 {
			break
		}
		next := e.cues[0]
		e.from, e.cues = e.from+at+len(next.word), e.cues[1:]
		if _, err := io.WriteString(e.keys, next.keys); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// attend runs a command on a terminal of its own, and reports whether it left that in its
// usual mode.
func (e *ear) attend(c *exec.Cmd) (cooked bool, err error) {
	master, own, err := pty.Open()
	if err != nil {
		return false, err
	}
	defer func() { _ = master.Close() }()
	defer func() { _ = own.Close() }()
	before, err := term.GetState(int(own.Fd()))
	if err = errors.Join(err, pty.Setsize(own, &pty.Winsize{Rows: 24, Cols: 80})); err != nil {
		return false, err
	}
	e.keys = master
	c.Stdin, c.Stdout, c.Stderr, c.SysProcAttr = own, own, own, &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		return false, err
	}
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(e, master) })
	err = c.Wait()
	after, stateErr := term.GetState(int(own.Fd()))
	_ = own.Close() // its other end is read to the end
	reading.Wait()
	if err = errors.Join(err, stateErr); err != nil {
		return false, fmt.Errorf("%w: %.200q", err, e.all.String())
	}
	return reflect.DeepEqual(before, after), nil
}

// judged says what was heard. Nothing at all is no proof.
func (e *ear) judged(what string) inside.Attempt {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all.Bytes()
	var acts []string
	came, sent := 0, slices.Sorted(maps.Keys(inside.Hostile()))
	for i, name := range sent {
		end := inside.SpeakOver
		if i+1 < len(sent) {
			end = inside.SpeakLabel(sent[i+1])
		}
		_, piece, found := bytes.Cut(all, []byte(inside.SpeakLabel(name)))
		piece, _, ended := bytes.Cut(piece, []byte(end))
		if found && ended {
			came++
		}
		if piece = bytes.TrimSuffix(bytes.TrimRight(piece, "\r\n"), []byte(inside.SpeakEnd)); terminal.Beyond(piece) != "" {
			acts = append(acts, name)
		}
	}
	switch does := terminal.Beyond(all); {
	case len(acts) > 0:
		return inside.Attempt{What: what, Happened: fmt.Sprintf("%d of %d pieces act on the terminal: %s", len(acts), len(sent), strings.Join(acts, ", "))}
	case does != "":
		return inside.Attempt{What: what, Happened: does}
	}
	return inside.Attempt{What: what, Happened: fmt.Sprintf("%d of %d pieces came, and only draw", came, len(sent)), Held: came == len(sent)}
}

// prints runs a command of the operator's, and returns all that it prints.
func (o Options) prints(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := o.operator(ctx, args...)
	if err != nil {
		return "", err
	}
	all := &bounded{}
	c.Dir, c.Stdout, c.Stderr = dir, all, all
	err = c.Run()
	return all.kept.String(), err
}

// reads looks at what the operator's commands print of what was said.
func (s *stage) reads(ctx context.Context, id string, o Options) (all []inside.Attempt) {
	here, err := s.emptyRepository(ctx)
	if err != nil {
		return []inside.Attempt{{What: "make a repository here", Happened: err.Error()}}
	}
	commands := [][]string{{"logs", id}, {"pull", id, "--path", inside.SaidIn}}
	if o.supervised() {
		commands = append(commands, []string{"requests"})
	}
	for _, args := range commands {
		text, err := o.prints(ctx, here, args...)
		happened := harm(text)
		if err != nil {
			happened = fmt.Sprintf("%v: %.200q", err, text)
		} else if happened == "" && !strings.Contains(text, inside.Said) {
			happened = "nothing of what was said is there"
		}
		held := happened == ""
		if held {
			happened = fmt.Sprintf("%d lines of text", strings.Count(text, "\n"))
		}
		all = append(all, inside.Attempt{What: "bot-bottle " + args[0], Happened: happened, Held: held})
	}
	return all
}

// harm says what is in a text that is more than text: what a terminal acts on, and what a
// reader cannot see, or sees in another place.
func harm(text string) string {
	if !utf8.ValidString(text) {
		return "bytes that are not UTF-8"
	}
	marks := 0
	for _, r := range text {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; marks > 2 {
				return "marks without end"
			}
			continue
		case r != '\n' && !unicode.IsPrint(r):
			return fmt.Sprintf("%U in the text", r)
		}
		marks = 0
	}
	return ""
}

// looksAlike looks for a line that begins as ours do, and is the agent's.
func (o Options) looksAlike(ctx context.Context) []inside.Attempt {
	if !o.supervised() {
		return []inside.Attempt{{What: "ask for something", Happened: "this bottle has no operator's door", Held: true}}
	}
	text, err := o.prints(ctx, "", "requests")
	var wrong []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Grant it") || strings.HasPrefix(line, "decide") && strings.Contains(line, inside.Said+"-1") {
			wrong = append(wrong, line)
		}
	}
	return []inside.Attempt{{What: "draw a decision in what is asked for, and look at bot-bottle requests", Happened: plain.Count(len(wrong), "line") + " could be ours " + strings.Join(wrong, ", ") + said(err), Held: err == nil && len(wrong) == 0 && strings.Contains(text, inside.Said+"-1")}}
}

// logIsWhole reads the log as programs do, and has it verified.
func (o Options) logIsWhole(ctx context.Context, id string) []inside.Attempt {
	text, err := o.prints(ctx, "", "logs", id, "--json")
	lines, wrong := 0, 0
	for line := range strings.Lines(text) {
		var event audit.Event
		lines++
		if json.Unmarshal([]byte(line), &event) != nil || event.Bottle != id || event.Seq != int64(lines) {
			wrong++
		}
	}
	verdict, verifyErr := o.prints(ctx, "", "logs", id, "--verify")
	return []inside.Attempt{
		{What: "say what looks like an event, and read bot-bottle logs --json", Happened: fmt.Sprintf("%d of %d lines are none of ours%s", wrong, lines, said(err)), Held: err == nil && wrong == 0 && strings.Contains(text, inside.Said)},
		{What: "bot-bottle logs --verify", Happened: strings.TrimSpace(verdict) + said(verifyErr), Held: verifyErr == nil},
	}
}

// unfiltered is the terminal of a set-up without a filter.
func unfiltered(ctx context.Context, b bottle.Bottle) []inside.Attempt {
	const what = "print all that is hostile, and look at what comes to the terminal"
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	typed, keys := io.Pipe()
	defer func() { _ = keys.Close() }()
	heard := &ear{cues: []cue{{inside.SpeakReady, "\r"}}, keys: keys}
	sizes := make(chan bottle.Size, 1)
	sizes <- bottle.Size{Width: 80, Height: 24}
	_, err := b.Run(ctx, speak, bottle.Root, bottle.IO{Stdin: typed, Stdout: heard, TTY: true, Size: sizes})
	if err != nil {
		return []inside.Attempt{{What: what, Happened: err.Error()}}
	}
	return []inside.Attempt{heard.judged(what)}
}
