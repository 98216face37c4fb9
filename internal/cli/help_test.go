package cli

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// Every verb's help is in our words, fits a terminal of 80 cells but for what is there to be
// copied, and has an example.
func TestHelpOfEveryVerb(t *testing.T) {
	theirs := regexp.MustCompile(`Available Commands|\[command\]|help for |autocompletion|Global Flags|about any command`)
	for _, c := range all((&App{System: OS()}).root()) {
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			code, out, errs := runWith(t, t.TempDir(), nil, args...)
			if code != 0 || errs != "" {
				t.Fatalf("got %d %s", code, errs)
			}
			if found := theirs.FindString(out); found != "" {
				t.Errorf("it says %q:\n%s", found, out)
			}
			prose, copied, _ := strings.Cut(out, "\nUsage:\n")
			_, flags, _ := strings.Cut(copied, "\nFlags:\n")
			for line := range strings.SplitSeq(prose+"\n"+flags, "\n") {
				if plain.Width(line) > 80 {
					t.Errorf("%d cells: %s", plain.Width(line), line)
				}
			}
			if !c.HasParent() || c.Parent().HasParent() {
				return
			}
			if !strings.Contains(out, "\nExamples:\n  ") || c.Long == "" {
				t.Errorf("it has no example, or only one line of words:\n%s", out)
			}
		})
	}
}

// all are the command and what is below it, but for what is hidden.
func all(c *cobra.Command) []*cobra.Command {
	found := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			found = append(found, all(sub)...)
		}
	}
	return found
}

// The first page names every verb once.
func TestHelpNamesEveryVerb(t *testing.T) {
	root := (&App{System: OS()}).root()
	var grouped, known []string
	for _, g := range Groups(root) {
		for _, c := range g.Commands {
			grouped = append(grouped, c.Name())
		}
	}
	for _, c := range all(root) {
		if c.HasParent() && c.Parent() == root {
			known = append(known, c.Name())
		}
	}
	slices.Sort(grouped)
	slices.Sort(known)
	if !slices.Equal(grouped, known) {
		t.Errorf("the groups have %q, and there are %q", grouped, known)
	}
	_, out, _ := runWith(t, t.TempDir(), nil, "--help")
	for _, name := range known {
		if n := strings.Count(out, "\n  "+name+" "); n != 1 {
			t.Errorf("%s is there %d times:\n%s", name, n, out)
		}
	}
}

func TestHelpVerb(t *testing.T) {
	_, byFlag, _ := runWith(t, t.TempDir(), nil, "image", "prune", "--help")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"help"}, 0, "bot-bottle runs AI coding agents"},
		{[]string{"help", "image", "prune"}, 0, byFlag},
		{[]string{"help", "strat"}, exitUsage, "bot-bottle: there is no verb \"strat\" (did you mean \"start\"?)\n  try: bot-bottle help --help\n"},
		{[]string{"help", "image", "lst"}, exitUsage, "bot-bottle: image cannot \"lst\" (did you mean \"list\"?)\n  try: bot-bottle help --help\n"},
		{[]string{"start", "--help"}, 0, "\n  bot-bottle start AGENT [flags] [-- ARGS…]\n"},
		{[]string{"exec", "--help"}, 0, "\n  bot-bottle exec IDENTITY [flags] -- CMD [ARGS…]\n"},
		{[]string{"revoke", "--help"}, 0, "\n  bot-bottle revoke ID\n"},
		{[]string{"completion"}, exitUsage, "bot-bottle: completion needs a shell: bash, zsh, fish, powershell\n  try: bot-bottle completion --help\n"},
		{[]string{"completion", "tcsh"}, exitUsage, "bot-bottle: there is no completion for \"tcsh\" (did you mean \"bash\"?): there is for bash, zsh, fish, powershell\n  try: bot-bottle completion --help\n"},
		{[]string{"completion", "bsh"}, exitUsage, "(did you mean \"bash\"?)"},
		{[]string{"completion", "fish"}, 0, "complete -c bot-bottle"},
		{[]string{"__complete", "help", "image", ""}, 0, "prune\tRemove images"},
		{[]string{"__complete", "completion", "f"}, 0, "fish\n"},
	} {
		code, out, errs := runWith(t, t.TempDir(), nil, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%q: got %d %s%s", c.args, code, out, errs)
		}
	}
}
