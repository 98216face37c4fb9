package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// Help is folded to the terminal, or to this many cells; on a wide terminal it stays readable.
const (
	helpWidth    = 80
	maxHelpWidth = 100
)

// verbGroup is a part of the first page.
type verbGroup struct {
	title string
	verbs []string
}

// verbGroups are all verbs, in the order in which one meets them.
func verbGroups() []verbGroup {
	return []verbGroup{
		{"To begin", []string{"init", "validate", "doctor", "build", "image"}},
		{"A bottle and its agent", []string{"start", "attach", "exec", "cp", "pull", "stop", "resume", "rm", "cleanup"}},
		{"What it may do", []string{"requests", "approve", "reject", "answer", "revoke", "egress"}},
		{"What there is and was", []string{"list", "dashboard", "logs", "report", "prove"}},
		{"The program itself", []string{"help", "completion", "version"}},
	}
}

// helpfully has help printed by us: none of it is in cobra's words.
func (a *App) helpfully(root *cobra.Command) {
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(a.help())
	root.InitDefaultHelpCmd()
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { a.printHelp(c.OutOrStdout(), c) })
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = !c.HasFlags()
		for _, sub := range c.Commands() {
			sub.DisableFlagsInUseLine = !sub.HasFlags()
		}
	}
}

func (a *App) printHelp(w io.Writer, c *cobra.Command) {
	width := min(a.width(), maxHelpWidth)
	if width == 0 {
		width = helpWidth
	}
	if c.Flags().Lookup("help") != nil {
		c.Flags().Lookup("help").Usage = "show this"
	}
	var b strings.Builder
	words := c.Long
	if words == "" {
		words = c.Short + "."
	}
	for paragraph := range strings.SplitSeq(words, "\n\n") {
		for _, row := range plain.Wrap(strings.ReplaceAll(paragraph, "\n", " "), width) {
			b.WriteString(strings.TrimRight(row, " ") + "\n")
		}
		b.WriteString("\n")
	}
	b.WriteString("Usage:\n  " + usageLine(c) + "\n")
	if c.Example != "" {
		b.WriteString("\nExamples:\n" + c.Example + "\n")
	}
	writeVerbs(&b, c, width)
	if !c.HasSubCommands() && !c.DisableFlagsInUseLine {
		b.WriteString("\nFlags:\n" + strings.TrimRight(c.LocalFlags().FlagUsagesWrapped(width), " \n") + "\n")
	}
	_, _ = io.WriteString(w, b.String())
}

// usageLine is how a command is typed.
func usageLine(c *cobra.Command) string {
	if c.HasSubCommands() {
		return c.CommandPath() + " VERB …"
	}
	return c.UseLine()
}

// writeVerbs writes what is below a command, a line each, and how to see more of it.
func writeVerbs(w io.Writer, c *cobra.Command, width int) {
	if !c.HasSubCommands() {
		return
	}
	groups := verbGroups()
	if c.HasParent() {
		groups = []verbGroup{{"Verbs", nil}}
		for _, sub := range c.Commands() {
			groups[0].verbs = append(groups[0].verbs, sub.Name())
		}
	}
	for _, g := range groups {
		_, _ = fmt.Fprintf(w, "\n%s:\n", g.title)
		for _, name := range g.verbs {
			i := slices.IndexFunc(c.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
			_, _ = fmt.Fprintf(w, "  %-11s %s\n", name, folded(c.Commands()[i].Short, width, len("  completion  ")))
		}
	}
	_, _ = fmt.Fprintf(w, "\nMore about each: %s VERB --help\n", c.CommandPath())
}

func (a *App) help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB…]",
		Short: "Show what a verb does, as VERB --help does",
		Long:  `Help shows what a verb does, and examples; without a verb, which there are.`,
		Example: `  bot-bottle help
  bot-bottle help start
  bot-bottle help image prune`,
		Args: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err == nil && about.HasSubCommands() {
				err = aVerb(about, rest)
			}
			return err
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			about, _, err := c.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			for _, sub := range about.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			about, _, err := c.Root().Find(args)
			if err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// shells are those that there is a script for.
func shells() []string { return []string{"bash", "zsh", "fish", "powershell"} }

func (a *App) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script with which your shell completes verbs and names",
		Long: `Completion prints a script for bash, zsh, fish or powershell. With it the TAB key completes
verbs, flags, agents, bottles, requests and hosts. The packages have it; for a binary by itself,
one of the examples is for your shell. The one for bash needs the package bash-completion, the one
for zsh this line before it in ~/.zshrc: autoload -U compinit && compinit`,
		Example: `  echo 'source <(bot-bottle completion bash)' >> ~/.bashrc
  echo 'source <(bot-bottle completion zsh)' >> ~/.zshrc
  bot-bottle completion fish > ~/.config/fish/completions/bot-bottle.fish
  bot-bottle completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: shells(),
		Args:      aShell,
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.Stdout)
			case "fish":
				return root.GenFishCompletion(a.Stdout, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.Stdout)
		},
	}
}

func aShell(_ *cobra.Command, args []string) error {
	known := strings.Join(shells(), ", ")
	switch {
	case len(args) == 0:
		return fmt.Errorf("completion needs a shell: %s", known)
	case len(args) > 1:
		return fmt.Errorf("completion takes one shell, and there is %q after it", args[1])
	case !slices.Contains(shells(), args[0]):
		return fmt.Errorf("there is no completion for %q%s: there is for %s", args[0], manifest.DidYouMean(args[0], shells()), known)
	}
	return nil
}
