package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// nothing is for verbs without arguments.
func nothing(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes nothing after it, and there is %q", verb(c), args[0])
	}
	return nil
}

// asUsed takes as many arguments as the command's own line of use has words. One in brackets may be
// left out, one that ends in "…" may stand there again.
func asUsed(c *cobra.Command, args []string) error {
	words := strings.Fields(c.Use)[1:]
	needed := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return strings.HasPrefix(w, "[") })
	again := len(words) > 0 && strings.HasSuffix(strings.TrimSuffix(words[len(words)-1], "]"), "…")
	switch {
	case len(args) < len(needed):
		return fmt.Errorf("%s needs %s", verb(c), strings.Join(needed[len(args):], " and "))
	case len(args) > len(words) && !again:
		return fmt.Errorf("%s takes %s, and there is %q after it", verb(c), strings.Join(words, " and "), args[len(words)])
	}
	return nil
}

// aVerb is for commands that only hold others.
func aVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	what := "there is no verb"
	if c.HasParent() {
		what = verb(c) + " cannot"
	}
	return fmt.Errorf("%s %q%s", what, args[0], manifest.DidYouMean(args[0], known))
}

// atMostOneOf takes one of the command's ValidArgs, or none.
func atMostOneOf(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("%s takes one thing: %s", verb(c), strings.Join(c.ValidArgs, ", "))
	}
	if len(args) == 1 && !slices.Contains(c.ValidArgs, args[0]) {
		return fmt.Errorf("%s cannot show %q%s: it knows %s", verb(c), args[0], manifest.DidYouMean(args[0], c.ValidArgs), strings.Join(c.ValidArgs, ", "))
	}
	return nil
}

// verb is the command as it is typed, without the program's name.
func verb(c *cobra.Command) string {
	_, words, found := strings.Cut(c.CommandPath(), " ")
	if !found {
		return c.CommandPath()
	}
	return words
}

// unknownFlag names the nearest flag there is.
func unknownFlag(c *cobra.Command, err error) error {
	word, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return err
	}
	var known []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, "--"+f.Name)
		}
	})
	return fmt.Errorf("%s has no flag --%s%s", verb(c), word, manifest.DidYouMean("--"+word, known))
}
