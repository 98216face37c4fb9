package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// viewFlags say how an operator wants a session shown. What no flag says, the environment
// does ($BOT_BOTTLE_DETACH_KEYS, $BOT_BOTTLE_TERMINAL_ALLOW), then config.yaml.
type viewFlags struct {
	detachKeys, allow string
}

// defaultDetachKeys are those of docker.
const defaultDetachKeys = "ctrl-p,ctrl-q"

func (f *viewFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.detachKeys, "detach-keys", "", "leave with these keys (default: $BOT_BOTTLE_DETACH_KEYS, detach_keys in config.yaml, "+defaultDetachKeys+"); none for no such keys")
	c.Flags().StringVar(&f.allow, "allow", "", "what the agent may do to your terminal beyond its screen: "+joined(terminal.Allowed()))
}

func joined(all []terminal.Allow) string {
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = string(a)
	}
	return strings.Join(names, ", ")
}

// view is what the operator wants of a terminal session.
func (a *App) view(f viewFlags) (v bottle.View, err error) {
	general, err := manifest.LoadConfig(a.home)
	if err != nil {
		return v, err
	}
	keys := cmp.Or(f.detachKeys, a.Getenv("BOT_BOTTLE_DETACH_KEYS"), general.DetachKeys, defaultDetachKeys)
	if keys != "none" {
		if v.DetachKeys, err = term.ToBytes(keys); err != nil {
			return v, &usageError{what: fmt.Sprintf("%q are no detach keys", keys), hint: "for example: ctrl-p,ctrl-q, or none"}
		}
	}
	v.Allow, err = terminal.ParseAllow(cmp.Or(f.allow, a.Getenv("BOT_BOTTLE_TERMINAL_ALLOW"), strings.Join(general.TerminalAllow, ",")))
	if err != nil {
		return v, &usageError{what: err.Error(), hint: "see docs/sessions.md"}
	}
	v.History = terminal.HistoryLines
	v.Colours = !slices.Contains([]string{"", "dumb", "linux"}, a.Getenv("TERM"))
	return v, nil
}
