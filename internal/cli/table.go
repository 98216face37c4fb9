package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// table is a list for people and for programs.
type table struct {
	empty   string
	columns []column
	rows    [][]string
	data    any
	uncut   bool // it would say something else without its end: long lines go on below
}

// column has a title, and a rank: where there is no room, the least is cut first, and goes
// first.
type column struct {
	title string
	rank  int
}

// whole is the rank of a column that one has to type again: it is neither cut nor left out.
const whole = 1 << 10

const (
	gap      = "  "
	narrow   = 8 // cells: no column is cut further
	noBorder = 0
)

// show prints a table: on a terminal no line is wider than it, elsewhere nothing is cut.
func (a *App) show(t table, asJSON bool) error {
	if asJSON {
		return printJSON(a.Stdout, t.data, true)
	}
	if len(t.rows) == 0 {
		_, err := fmt.Fprintln(a.Stderr, t.empty)
		return err
	}
	return t.write(a.Stdout, a.width())
}

// write prints the rows under their titles. A width of 0 is no limit.
func (t table) write(w io.Writer, width int) error {
	if t.uncut {
		width = 0
	}
	widths := t.fit(width)
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
	}
	var b strings.Builder
	for _, row := range append([][]string{titles}, t.rows...) {
		line := t.line(row, widths)
		if width > 0 {
			line = plain.Cut(line, width) // not even the first column has room
		}
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t table) line(row []string, widths []int) string {
	var parts []string
	for i, text := range row {
		if widths[i] > 0 {
			parts = append(parts, plain.Fit(cell(text), widths[i]))
		}
	}
	return strings.TrimRight(strings.Join(parts, gap), " ")
}

// fit chooses the columns' widths; one that is left out has none.
func (t table) fit(width int) []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = plain.Width(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], plain.Width(cell(row[i])))
		}
	}
	for width > 0 && total(widths) > width {
		over := total(widths) - width
		if i := t.next(widths, narrow); i >= 0 {
			widths[i] = max(narrow, widths[i]-over)
		} else if i := t.next(widths, noBorder); i >= 0 {
			widths[i] = 0
		} else {
			break
		}
	}
	return widths
}

// next is the column of the least rank that is wider than a bound; -1 for none.
func (t table) next(widths []int, bound int) int {
	least := -1
	for i, c := range t.columns {
		if c.rank != whole && widths[i] > bound && (least < 0 || c.rank < t.columns[least].rank) {
			least = i
		}
	}
	return least
}

func total(widths []int) (sum int) {
	for _, n := range widths {
		if n > 0 {
			sum += n + len(gap)
		}
	}
	return max(0, sum-len(gap))
}
