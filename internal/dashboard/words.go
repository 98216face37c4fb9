package dashboard

import (
	"fmt"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// reserved are the shapes of the dashboard's own frame and prompts. Words from a bottle have
// lighter ones in their place, so that nothing that they draw looks like it (ATTACKS H2).
var reserved = strings.NewReplacer("━", "-", "▶", ">", "┃", "|", "▌", "|", "▲", "^", "✗", "x", "❯", ">")

// said is a bottle's text, to be drawn on one line.
func said(s string) string { return reserved.Replace(plain.Text(s)) }

// onOneLine joins the lines of an error.
func onOneLine(s string) string {
	var all []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return strings.Join(all, "; ")
}

// squeeze is said without the spaces around and between.
func squeeze(s string) string { return strings.Join(strings.Fields(said(s)), " ") }

// ago says how long something has been so, in at most four characters.
func ago(since, now time.Time) string {
	if since.IsZero() {
		return ""
	}
	switch d := max(0, now.Sub(since)); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", min(999, int(d.Hours()/24)))
	}
}
