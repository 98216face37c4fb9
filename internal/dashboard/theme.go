package dashboard

import (
	"image/color"

	"charm.land/lipgloss/v2"
)

// theme is how things look. Nothing is told by colour alone.
type theme struct {
	text, dim, strong, title           lipgloss.Style
	needs, bad, good, busy             lipgloss.Style // what needs the operator, was refused, passed, goes on
	chosen, tab, rule, ask, key, words lipgloss.Style
}

func newTheme(dark bool) theme {
	pick := lipgloss.LightDark(dark)
	hue := func(light, dark string) color.Color { return pick(lipgloss.Color(light), lipgloss.Color(dark)) }
	s := lipgloss.NewStyle()
	return theme{
		text:   s,
		dim:    s.Foreground(hue("#6b7280", "#7d8590")),
		strong: s.Bold(true),
		title:  s.Bold(true).Foreground(hue("#0550ae", "#79c0ff")),
		needs:  s.Bold(true).Foreground(hue("#953800", "#ffb757")),
		bad:    s.Foreground(hue("#b3202a", "#ff7b72")),
		good:   s.Foreground(hue("#1a7f37", "#7ee787")),
		busy:   s.Foreground(hue("#0969da", "#79c0ff")),
		chosen: s.Bold(true).Background(hue("#dbe7f6", "#24344d")).Foreground(hue("#0b1f3a", "#e6edf3")),
		tab:    s.Bold(true).Reverse(true),
		rule:   s.Foreground(hue("#c4cad1", "#3d444d")),
		ask:    s.Bold(true).Foreground(hue("#953800", "#ffb757")),
		key:    s.Bold(true).Foreground(hue("#0550ae", "#79c0ff")),
		words:  s.Italic(true).Foreground(hue("#57606a", "#b1bac4")),
	}
}
