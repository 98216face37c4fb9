package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// What agents, repositories and upstreams say is printed by way of one of these: nothing of
// it may speak to the terminal, be unseen, turn the direction of text, or cover what is
// around it (ATTACKS H1).

// cell is a text on one line.
func cell(s string) string { return plain.Text(s) }

// printable is a text on one line that may have tabs in it.
func printable(s string) string {
	parts := strings.Split(s, "\t")
	for i, part := range parts {
		parts[i] = cell(part)
	}
	return strings.Join(parts, "\t")
}

// printableLines is a text of several lines.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n")
}

// folded is a text on one line that stands behind indent cells of a line of ours, on a terminal so
// wide. What has no room goes on below, further in than that: were it left to the terminal, it would
// begin where lines of ours do, and could be taken for one (ATTACKS H2). A width of 0 is no terminal.
func folded(text string, width, indent int) string {
	text = printable(text)
	if width == 0 {
		return text
	}
	const further = 2
	rows := plain.Wrap(text, max(narrow, width-indent-further))
	return strings.Join(rows, "\n"+strings.Repeat(" ", indent+further))
}

// printJSON prints a value for programs, indented unless it is a line of many. What a
// terminal would act on stands there in JSON's own escapes: to a program it is the same.
func printJSON(w io.Writer, v any, indented bool) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	if indented {
		encoder.SetIndent("", "  ")
	}
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escaped(b.String()))
	return err
}

// escaped is JSON without a character in it that is not seen.
func escaped(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }) {
		return text // most is
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || unicode.IsPrint(r) && r != utf8.RuneError && !unicode.In(r, unicode.Mn, unicode.Me):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			_, _ = fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			_, _ = fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
