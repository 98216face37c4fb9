// Package cli is the command line: one file per verb. It is the only package that
// reads the environment and prints words for people.
//
// Rules: results go to standard output and nothing else does; questions, progress
// and errors go to standard error. An error is one line, "bot-bottle: WHAT: WHY",
// then a line that says what to do. Exit status: the agent's or the command's own;
// 125 when a bottle could not be brought up or kept; 2 for a usage error; 128 and the number of
// a signal that has ended it (130: ctrl-C); 1 otherwise.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// System is what a process is given.
type System struct {
	Args           []string // without the program's name
	Stdin          *os.File
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	LookupEnv      func(string) (string, bool)
	Executable     func() (string, error)
	UserHome       func() (string, error)
	Getwd          func() (string, error)
	Now            func() time.Time
	Backends       func(*App) ([]bottle.Backend, error) // nil: the real ones
}

// OS is the System of this process.
func OS() System {
	return System{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, LookupEnv: os.LookupEnv, Executable: os.Executable,
		UserHome: os.UserHomeDir, Getwd: os.Getwd, Now: time.Now,
	}
}

// App is one run of the program.
type App struct {
	System
	userHome string
	home     string // $BOT_BOTTLE_HOME
	cwd      string
	log      *slog.Logger
	screen   *sharedScreen // the terminal, while an agent has it
	logins   *logins
	usage    bool   // the arguments are still being read: an error is one of usage
	verb     string // that was run, as it is typed
}

// Exit statuses that are ours.
const (
	exitFailure = 1
	exitUsage   = 2
	exitBottle  = 125
)

// status is an exit status that is not a failure of ours: the agent's own.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// Main runs the program and returns its exit status.
func Main(ctx context.Context, s System) int {
	if len(s.Args) > 0 && (s.Args[0] == "guest" || s.Args[0] == "sidecar") {
		return s.inner(ctx)
	}
	app, err := newApp(s)
	if err == nil {
		err = app.execute(ctx)
	}
	return report(ctx, s.Stderr, err, app)
}

func newApp(s System) (*App, error) {
	userHome, err := s.UserHome()
	if err != nil {
		return nil, fmt.Errorf("cannot find your home directory: %w", err)
	}
	cwd, err := s.Getwd()
	if err != nil {
		return nil, fmt.Errorf("cannot find the current directory: %w", err)
	}
	home := s.Getenv("BOT_BOTTLE_HOME")
	if home == "" {
		home = filepath.Join(userHome, ".bot-bottle")
	}
	if home, err = filepath.Abs(home); err != nil {
		return nil, err
	}
	log := slog.New(slog.NewJSONHandler(s.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	return &App{System: s, userHome: userHome, home: home, cwd: cwd, log: log, usage: true, logins: &logins{}}, nil
}

func (a *App) execute(ctx context.Context) error {
	root := a.root()
	root.SetArgs(a.Args)
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	if completes(a.Args) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, completionTime)
		defer cancel()
	}
	ran, err := root.ExecuteContextC(ctx)
	a.verb = ran.CommandPath()
	return err
}

// Command is the whole command line, for whoever makes pages and completions of it.
func Command() *cobra.Command { return (&App{System: OS()}).root() }

func (a *App) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "bot-bottle",
		Short: "Run AI coding agents unattended, each in a bottle without a network",
		Long: `bot-bottle runs AI coding agents, each in a bottle: an isolated environment that has
no network but a few sockets, no credential, and no way to hurt the host.`,
		Example: `  bot-bottle init                        # write a first agent and its bottle
  bot-bottle start implementer           # a terminal with the agent in it
  bot-bottle start -y implementer -- -p "fix the tests" > answer.txt   # without one
  bot-bottle dashboard                   # all agents, and what they ask for`,
		SilenceErrors:    true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) { a.usage = false },
		Args:             aVerb,
		RunE:             func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.AddCommand(
		a.init(), a.start(), a.resume(), a.attach(), a.exec(), a.cp(), a.egress(), a.pull(), a.uploadPack(), a.requests(), a.approve(), a.reject(), a.answer(), a.revoke(),
		a.dashboard(), a.list(), a.logs(), a.reportVerb(), a.stop(), a.rm(), a.cleanup(), a.build(), a.image(), a.validate(), a.doctor(), a.prove(), a.completion(), a.version(),
	)
	root.SetFlagErrorFunc(unknownFlag)
	a.helpfully(root)
	return root
}

// Interrupted is why the context of a run ended: this process got a signal.
type Interrupted struct{ Signal syscall.Signal }

func (i Interrupted) Error() string { return i.Signal.String() }

// Is makes it a cancellation.
func (i Interrupted) Is(target error) bool { return target == context.Canceled }

// bySignal is how what a signal has ended ends, as a shell tells of it; nil if none did.
func bySignal(ctx context.Context) error {
	var i Interrupted
	if errors.As(context.Cause(ctx), &i) {
		return status(128 + int(i.Signal))
	}
	return nil
}

// report prints an error, if it is one, and returns the exit status. app is nil where there
// is none yet.
func report(ctx context.Context, w io.Writer, err error, app *App) int {
	var code status
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, bottle.ErrDeclined):
		_, _ = fmt.Fprintln(w, "bot-bottle: nothing was started")
		return exitFailure
	}
	printError(w, err, cmp.Or(bottle.HintOf(err), app.homeHint(err)))
	var launch *bottle.LaunchError
	switch {
	case errors.Is(err, context.Canceled) && errors.As(bySignal(ctx), &code):
		return int(code)
	case app != nil && app.usage:
		if bottle.HintOf(err) == "" {
			_, _ = fmt.Fprintf(w, "  try: %s --help\n", app.verb)
		}
		return exitUsage
	case errors.As(err, new(*usageError)):
		return exitUsage
	case errors.As(err, &launch):
		return exitBottle
	}
	return exitFailure
}

// systemCall is what Go puts before the name of a file that something failed on.
var systemCall = regexp.MustCompile(`\b(?:open|openat|stat|lstat|read|write|mkdir|mkdirat|unlinkat|remove|chmod|fork/exec) ((?:/|\.\.?/)[^:]*: (?:no such file|permission denied|is a directory|not a directory|read-only|no space|file exists|input/output|directory not empty|operation not permitted|file name too long|exec format))`)

// printError prints one line per problem, and what to do about it.
func printError(w io.Writer, err error, hint string) {
	if errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintln(w, "bot-bottle: interrupted")
		return
	}
	width := widthOf(w)
	for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
		_, _ = fmt.Fprintln(w, folded("bot-bottle: "+systemCall.ReplaceAllString(line, "$1"), width, len("  ")))
	}
	if hint != "" {
		_, _ = fmt.Fprintln(w, "  "+folded(hint, width, len("  ")))
	}
}

// homeHint is what to do about a $BOT_BOTTLE_HOME that cannot be written to, "" if err is about
// something else.
func (a *App) homeHint(err error) string {
	var at *fs.PathError
	if a == nil || !errors.As(err, &at) || !within(a.home, at.Path) {
		return ""
	}
	switch {
	case errors.Is(at, unix.ENOSPC), errors.Is(at, unix.EDQUOT):
		return "the disk that holds $BOT_BOTTLE_HOME (~/.bot-bottle) is full: make room there"
	case errors.Is(at, unix.EROFS), errors.Is(at, fs.ErrPermission):
		return "$BOT_BOTTLE_HOME (" + a.home + ") cannot be written to: no bottle is started, changed or removed until it can"
	}
	return ""
}

func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, dir+string(filepath.Separator))
}

// usageError is a request that makes no sense, found after the arguments were read.
type usageError struct {
	what, hint string
}

func (e *usageError) Error() string { return e.what }

// Hint says what to do.
func (e *usageError) Hint() string { return e.hint }
