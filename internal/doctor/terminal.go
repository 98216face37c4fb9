package doctor

import (
	"cmp"
	"context"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// terminal looks at what agents' programs are told about the terminal.
func (h Host) terminal(context.Context) []bottle.Finding {
	name, locale := h.Getenv("TERM"), cmp.Or(h.Getenv("LC_ALL"), h.Getenv("LC_CTYPE"), h.Getenv("LANG"))
	var all []bottle.Finding
	if name == "" || name == "dumb" {
		all = append(all, note("terminal", "TERM is not set or dumb: agents get no screen", "use a terminal, or run agents with -- -p \"…\""))
	}
	if upper := strings.ToUpper(locale); !strings.Contains(upper, "UTF-8") && !strings.Contains(upper, "UTF8") {
		all = append(all, note("terminal", "the locale is not UTF-8 ("+cmp.Or(locale, "none is set")+"): agents draw with more than ASCII", "export LANG=C.UTF-8"))
	}
	if h.Getenv("TMUX") != "" && !strings.HasPrefix(name, "tmux") && !strings.HasPrefix(name, "screen") {
		all = append(all, note("terminal", "in tmux TERM should be tmux-256color, not "+name, "set -g default-terminal tmux-256color in tmux.conf"))
	}
	if len(all) == 0 {
		all = append(all, ok("terminal", strings.TrimSpace(name+" "+h.Getenv("COLORTERM"))+", "+locale))
	}
	return all
}
