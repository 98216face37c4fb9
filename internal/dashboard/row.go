package dashboard

import (
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// piece is a part of a line, of one style. Its text is plain already.
// styled is how a piece looks.
type styled = lipgloss.Style

type piece struct {
	style lipgloss.Style
	text  string
}

// row is a line of pieces.
type row []piece

// col is a piece of an exact width.
func col(style lipgloss.Style, text string, width int) piece {
	return piece{style, plain.Fit(text, width)}
}

// right is a piece of an exact width, its text at the right.
func right(style lipgloss.Style, text string, width int) piece {
	text = plain.Cut(text, width)
	return piece{style, strings.Repeat(" ", max(0, width-plain.Width(text))) + text}
}

// cut is the line with no more than fits.
func (r row) cut(width int) row {
	var kept row
	for _, p := range r {
		if p.text = plain.Cut(p.text, width); p.text != "" {
			width -= plain.Width(p.text)
			kept = append(kept, p)
		}
	}
	return kept
}

// draw is the line, exactly so wide.
func (r row) draw(width int) string {
	var b strings.Builder
	for _, p := range r.cut(width) {
		width -= plain.Width(p.text)
		b.WriteString(p.style.Render(p.text))
	}
	return b.String() + strings.Repeat(" ", max(0, width))
}

// text is the line without its styles, to be searched.
func (r row) text() string {
	var b strings.Builder
	for _, p := range r {
		b.WriteString(p.text)
	}
	return b.String()
}

// highlight is the same line as the one that is selected.
func (r row) highlight(t theme, width int) string {
	return t.chosen.Render(plain.Fit(r.cut(width).text(), width))
}

// gutter stands left of everything that an agent chose the words of.
const gutter = "┃ "

// words are an agent's, behind the gutter, on as many lines as they need, at most so many.
func words(t theme, text string, width, most int) []row {
	lines := plain.Wrap(said(text), width-len("| "))
	if len(lines) > most {
		lines = append(lines[:most-1], plain.Cut(lines[most-1]+"…", width-len("| ")))
	}
	rows := make([]row, len(lines))
	for i, line := range lines {
		rows[i] = row{{t.rule, gutter}, {t.words, line}}
	}
	return rows
}
