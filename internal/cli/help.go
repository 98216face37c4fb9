package cli

import (
	"cmp"
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

// Group is commands that are for the same.
type Group struct {
	Title    string
	Commands []*cobra.Command
}

// Groups are what is below a command, in the order in which one meets it.
func Groups(c *cobra.Command) (groups []Group) {
	if !c.HasParent() {
		for _, part := range firstPage() {
			g := Group{Title: part[0]}
			for name := range strings.FieldsSeq(part[1]) {
				i := slices.IndexFunc(c.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
				g.Commands = append(g.Commands, c.Commands()[i])
			}
			groups = append(groups, g)
		}
	} else if c.HasSubCommands() {
		groups = append(groups, Group{"Verbs", c.Commands()})
	}
	return groups
}

// firstPage is every verb, by what it is for.
func firstPage() [][2]string {
	return [][2]string{
		{"To begin", "init validate doctor build image"},
		{"A bottle and its agent", "start attach exec cp pull stop resume rm cleanup"},
		{"What it may do", "requests approve reject answer revoke egress"},
		{"What there is and was", "list dashboard logs report prove"},
		{"The program itself", "help completion version"},
	}
}

// Words are what a command's help says first, a paragraph each.
func Words(c *cobra.Command) []string {
	paragraphs := strings.Split(cmp.Or(c.Long, c.Short+"."), "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.ReplaceAll(p, "\n", " ")
	}
	return paragraphs
}

// UsageLine is how a command is typed.
func UsageLine(c *cobra.Command) string {
	if c.HasSubCommands() {
		return c.CommandPath() + " VERB …"
	}
	return c.UseLine()
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
	for _, paragraph := range Words(c) {
		for _, row := range plain.Wrap(paragraph, width) {
			b.WriteString(strings.TrimRight(row, " ") + "\n")
		}
		b.WriteString("\n")
	}
	b.WriteString("Usage:\n  " + UsageLine(c) + "\n")
	if c.Example != "" {
		b.WriteString("\nExamples:\n" + c.Example + "\n")
	}
	for _, g := range Groups(c) {
		b.WriteString("\n" + g.Title + ":\n")
		for _, sub := range g.Commands {
			_, _ = fmt.Fprintf(&b, "  %-11s %s\n", sub.Name(), folded(sub.Short, width, len("  completion  ")))
		}
	}
	switch {
	case c.HasSubCommands():
		b.WriteString("\nMore about each: " + c.CommandPath() + " VERB --help\n")
	case !c.DisableFlagsInUseLine:
		b.WriteString("\nFlags:\n" + strings.TrimRight(c.LocalFlags().FlagUsagesWrapped(width), " \n") + "\n")
	}
	_, _ = io.WriteString(w, b.String())
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
