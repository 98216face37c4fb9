package main

import (
	"fmt"
	"html"
	"image/color"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/vt"
)

// Of a cell, in pixels.
const (
	cellWidth  = 8.4
	cellHeight = 18
)

// drawing is a screen as an SVG, made of the cells of an emulated terminal.
func drawing(content string, width, height int, dark bool) string {
	emulator := vt.NewEmulator(width, height)
	defer func() { _ = emulator.Close() }()
	_, _ = emulator.WriteString(strings.ReplaceAll(content, "\n", "\r\n"))
	ink, paper := "#e6edf3", "#0d1117"
	if !dark {
		ink, paper = "#1f2328", "#ffffff"
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" font-family="ui-monospace,DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="14">`+"\n", float64(width)*cellWidth+16, height*cellHeight+16)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", paper)
	for y := range height {
		for x := 0; x < width; {
			run, text := emulator.CellAt(x, y), ""
			from := x
			for ; x < width; x++ {
				c := emulator.CellAt(x, y)
				if !c.Style.Equal(&run.Style) {
					break
				}
				text += c.Content
			}
			out.WriteString(span(run.Style, text, from, x, y, ink, paper))
		}
	}
	return out.String() + "</svg>\n"
}

func span(style uv.Style, text string, from, to, y int, ink, paper string) string {
	fg, bg := hex(style.Fg, ink), hex(style.Bg, "")
	if style.Attrs&uv.AttrReverse != 0 {
		fg, bg = paper, fg
	}
	at, width := 8+float64(from)*cellWidth, float64(to-from)*cellWidth
	var out string
	if bg != "" {
		out = fmt.Sprintf(`<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", at, 8+y*cellHeight, width, cellHeight, bg)
	}
	more := ""
	if style.Attrs&uv.AttrBold != 0 {
		more += ` font-weight="bold"`
	}
	if style.Attrs&uv.AttrItalic != 0 {
		more += ` font-style="italic"`
	}
	cells := []rune(text)
	for begin := 0; begin < len(cells); {
		end := begin
		for end < len(cells) && cells[end] != ' ' {
			end++
		}
		if word := string(cells[begin:end]); word != "" { // spaces at the ends of a text are dropped by some, and stretched by others
			out += fmt.Sprintf(`<text x="%.1f" y="%.1f" textLength="%.1f" fill="%s"%s>%s</text>`+"\n", at+float64(begin)*cellWidth, 8+float64(y)*cellHeight+13.5, float64(end-begin)*cellWidth, fg, more, html.EscapeString(word))
		}
		begin = end + 1
	}
	return out
}

func hex(c color.Color, otherwise string) string {
	if c == nil {
		return otherwise
	}
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}
