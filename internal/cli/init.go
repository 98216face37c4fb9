package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/starter"
)

type initFlags struct {
	yes                                                bool
	bottle, program, credential, repository, key, mode string
}

// Modes of a first bottle.
const (
	modeAsk       = "ask"
	modeAllowlist = "allowlist"
)

func (a *App) init() *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init [AGENT]",
		Short: "Write a first agent and bottle",
		Long: `Init asks at most four questions and writes an agent and its bottle to ~/.bot-bottle, with
comments. It overwrites nothing, and ends with the command that starts the agent. What a
flag says is not asked. With --yes nothing is: what no flag says is then Claude Code, its key
from the environment, and no repository.`,
		Example: `  bot-bottle init
  bot-bottle init --yes
  bot-bottle init reviewer --bottle review --program codex --credential pass:work/openai --mode allowlist
  bot-bottle init --yes --credential CLAUDE_CODE_OAUTH_TOKEN=keychain:claude --repository git@github.com:acme/widget.git`,
		Args: asUsed,
		RunE: func(c *cobra.Command, args []string) error {
			return a.runInit(c.Context(), cmp.Or(strings.Join(args, ""), "implementer"), f)
		},
	}
	flags := c.Flags()
	flags.BoolVarP(&f.yes, "yes", "y", false, "ask nothing")
	flags.StringVar(&f.bottle, "bottle", "dev", "name of the bottle")
	flags.StringVar(&f.program, "program", "", "the agent's program: "+strings.Join(programs(), ", ")+" (default: claude)")
	flags.StringVar(&f.credential, "credential", "", "where the program's credential is: [NAME=]"+strings.Join(starter.Kinds(), ":…, ")+":…")
	flags.StringVar(&f.repository, "repository", "", "URL of the repository that it works on, or none")
	flags.StringVar(&f.key, "key", "", "for that repository: an ssh identity file, or where the token for https is, as for --credential")
	flags.StringVar(&f.mode, "mode", "", "ask: the agent may ask for more, and pushes wait for you; allowlist: what is written down is all (default: ask)")
	_ = c.RegisterFlagCompletionFunc("program", cobra.FixedCompletions(programs(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{modeAsk, modeAllowlist}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// programs are those that bring their own routes.
func programs() []string { return []string{"claude", "codex", "gemini", "opencode"} }

func (a *App) runInit(ctx context.Context, agent string, f initFlags) error {
	files := []string{filepath.Join(a.home, "bottles", f.bottle+".md"), filepath.Join(a.home, "agents", agent+".md")}
	for _, name := range []string{agent, f.bottle} {
		if err := manifest.CheckName(name); err != nil {
			return &usageError{what: fmt.Sprintf("%q cannot be a name: %v", name, err)}
		}
	}
	if !f.yes { // nobody is asked for nothing
		if err := free(files); err != nil {
			return err
		}
	}
	choices, err := (&interview{app: a, flags: f}).choices(ctx, agent)
	if err != nil {
		return err
	}
	if err := writeNew(files, choices.BottleFile(), choices.AgentFile()); err != nil {
		return err
	}
	return a.farewell(ctx, choices, files)
}

// free refuses names that are taken, and says how to take others.
func free(files []string) error {
	for _, file := range files {
		if _, err := os.Lstat(file); err == nil {
			return &taken{file}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

type taken struct{ file string }

func (e *taken) Error() string { return e.file + " is there already, and stays as it is" }

// Hint says how to go on.
func (e *taken) Hint() string {
	return "to start what is there: bot-bottle list agents; for others: bot-bottle init AGENT --bottle NAME"
}

// writeNew writes both files or none, and replaces nothing.
func writeNew(files []string, contents ...string) error {
	for i, file := range files {
		err := os.MkdirAll(filepath.Dir(file), 0o700)
		if err == nil {
			err = create(file, contents[i])
		}
		if err != nil {
			for _, written := range files[:i] {
				err = errors.Join(err, os.Remove(written))
			}
			return err
		}
	}
	return nil
}

func create(file, content string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &taken{file}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("cannot write %s: %w", file, err), os.Remove(file))
	}
	return nil
}

// farewell says what was written, what is wrong with it, and what to do next.
func (a *App) farewell(ctx context.Context, c starter.Choices, files []string) error {
	for _, file := range files {
		_, _ = fmt.Fprintln(a.Stdout, file)
	}
	m, err := a.manifest()
	if err != nil {
		return err
	}
	if problems := slices.DeleteFunc(slices.Clone(m.Problems), func(p manifest.Problem) bool { return !slices.Contains(files, p.File) }); len(problems) > 0 {
		return problems
	}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(a.Stderr, format+"\n", args...) }
	say("\nRead them: they are yours to change. Then:")
	if c.Secret == "" {
		say("  (say in the first where %s finds its credential)", c.Template)
	}
	start := "bot-bottle start " + c.Agent
	if a.repository() != "" {
		start = "bot-bottle start --cwd " + c.Agent + "   # with the repository at hand"
	}
	say("  %s", start)
	return a.warnWithoutBackend(ctx)
}

// warnWithoutBackend says early what the next command would say.
func (a *App) warnWithoutBackend(ctx context.Context) error {
	if _, err := a.available(ctx); err != nil {
		a.note(fmt.Errorf("that will not work yet: %w", err))
	}
	return ctx.Err()
}
