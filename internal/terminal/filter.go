package terminal

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Filter passes on what draws on a terminal, and nothing else: what it does not know it
// drops. Each sequence is written anew, whole, from its parts, so that no terminal reads it
// in another way, and none is left half written. The zero Filter is not ready for use.
type Filter struct {
	parser  parser
	allow   map[Allow]bool
	out     bytes.Buffer
	touched touched
}

// touched is what passed and outlasts it: what leaving has to undo.
type touched struct {
	alternate bool   // the alternate screen is on
	region    bool   // a scroll region is set
	origin    bool   // and so is origin mode
	keys      [2]int // what kitty's keyboard protocol has pushed, on each screen
	colours   bool
	title     bool
	any       bool
	begun     bool // a line
}

// longest of a string that passes.
const (
	longestText = 4 << 10
	longestData = 4 << 20 // images, the clipboard
)

// NewFilter makes a Filter for one terminal.
func NewFilter(allow ...Allow) *Filter {
	f := &Filter{allow: map[Allow]bool{}, parser: parser{maxData: longestText}}
	for _, a := range allow {
		f.allow[a] = true
	}
	if f.allow[Clipboard] || f.allow[Images] {
		f.parser.maxData = longestData
	}
	return f
}

// Pass returns what may be written of the next bytes, valid until the next call.
func (f *Filter) Pass(p []byte) []byte {
	f.out.Reset()
	f.parser.write(f, p)
	out := f.out.Bytes()
	if len(out) > 0 {
		f.touched.any, f.touched.begun = true, out[len(out)-1] != '\n'
	}
	return out
}

// Restart forgets what has begun and not ended, where another stream takes over.
func (f *Filter) Restart() { f.parser = parser{maxData: f.parser.maxData} }

// Writer returns a writer of what passes.
func (f *Filter) Writer(w io.Writer) io.Writer { return filtered{f, w} }

type filtered struct {
	filter *Filter
	w      io.Writer
}

func (f filtered) Write(p []byte) (int, error) {
	if passed := f.filter.Pass(p); len(passed) > 0 {
		if _, err := f.w.Write(passed); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (f *Filter) text(p []byte) { f.out.Write(p) }

// char drops C1 controls, which some terminals obey, and what turns the direction of text.
func (f *Filter) char(r rune) {
	if r >= 0xa0 && !turns(r) {
		f.out.WriteRune(r)
	}
}

// turns reports whether r changes in which order the text around it is shown.
func turns(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x061c
}

// control lets pass what moves the cursor or rings: not ENQ, which has some terminals answer.
func (f *Filter) control(c byte) {
	if c >= 0x07 && c <= 0x0f {
		f.out.WriteByte(c)
	}
}

// reset is what stands for RIS: a terminal's own takes the operator's settings with it, and
// its scrollback.
const reset = "\x1b[!p\x1b(B\x0f\x1b[?1;5;9;1000;1002;1003;1004;1005;1006;1015;1016;2004l\x1b[?7;25h\x1b[>4m\x1b[r\x1b[m\x1b[H\x1b[2J"

func (f *Filter) escape(s *sequence) {
	switch {
	case s.inters == 0 && strings.IndexByte("78DEHM=>", s.final) >= 0,
		s.inters == 1 && strings.IndexByte("()*+", s.inter[0]) >= 0 && strings.IndexByte("0AB", s.final) >= 0,
		s.is("#8"):
		f.out.WriteByte(0x1b)
		f.out.Write(s.inter[:s.inters])
		f.out.WriteByte(s.final)
	case s.is("c"):
		if f.touched.alternate {
			f.switchTo(false)
			f.out.WriteString("\x1b[?1049l")
		}
		f.out.WriteString(reset)
	case s.is("Z") && f.allow[Answers]:
		f.out.WriteString("\x1b[c")
	}
}

// drawing are the control sequences that draw, move and colour.
const drawing = "@ABCDEFGHIKLMPSXZ`abdefgjkmsu"

// modes that may be set: those of DEC and xterm that change how a program draws and gets its
// keys, not one that has the terminal report anything but keys, the mouse and focus.
var modes = []int{1, 5, 6, 7, 9, 12, 25, 45, 47, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1048, 1049, 2004, 2026}

func (f *Filter) csi(s *sequence) {
	switch {
	case s.prefix == 0 && s.inters == 0:
		f.plain(s)
	case s.is("?h"), s.is("?l"):
		f.mode(s)
	case s.is("?J"), s.is("?K"), s.is(" q"), s.is("!p"):
		f.emit(s)
	case s.is(">u"), s.is("<u"), s.is("=u"):
		f.keys(s)
	case s.is(">m"):
		if s.param(0, 0) == 4 { // how modified keys are told; the rest changes what function keys send
			f.emit(s)
		}
	case asks(s) && f.allow[Answers]:
		f.emit(s)
	}
}

func (f *Filter) plain(s *sequence) {
	switch {
	case s.final == 'r':
		f.touched.region = len(s.params) > 0
		f.emit(s)
	case s.final == 'J':
		if how := s.param(0, 0); how < 3 || how == 3 && f.allow[Scrollback] {
			f.emitWith(s, strconv.Itoa(how)) // some terminals obey each of several
		}
	case s.final == 'T':
		if bytes.IndexByte(s.params, ';') < 0 { // with more it tracks the mouse, and waits for an answer
			f.emit(s)
		}
	case s.final == 'h', s.final == 'l':
		if string(s.params) == "4" { // insert mode; the others lock the keyboard, echo, change what Return sends
			f.emit(s)
		}
	case s.final == 'b':
		f.emitWith(s, strconv.Itoa(min(s.param(0, 1), longestText)))
	case strings.IndexByte(drawing, s.final) >= 0, asks(s) && f.allow[Answers]:
		f.emit(s)
	}
}

// asks reports whether a terminal answers to the sequence with something that no secret is
// in: its kind, its state, where the cursor is.
func asks(s *sequence) bool {
	for _, parts := range []string{"c", ">c", "=c", ">q", "n", "?n", "$p", "?$p", "?u"} {
		if s.is(parts) {
			return true
		}
	}
	return false
}

func (f *Filter) emit(s *sequence) { f.emitWith(s, string(s.params)) }

func (f *Filter) emitWith(s *sequence, params string) {
	f.out.WriteString("\x1b[")
	if s.prefix != 0 {
		f.out.WriteByte(s.prefix)
	}
	f.out.WriteString(params)
	f.out.Write(s.inter[:s.inters])
	f.out.WriteByte(s.final)
}

// mode passes those of the modes that may be set, each by itself.
func (f *Filter) mode(s *sequence) {
	s.each(func(mode int) {
		if !slices.Contains(modes, mode) {
			return
		}
		switch mode {
		case 47, 1047, 1049:
			f.switchTo(s.final == 'h')
		case 6:
			f.touched.origin = s.final == 'h'
		}
		f.emitWith(s, strconv.Itoa(mode))
	})
}

// switchTo notes which screen is on. Each has its own of what kitty's protocol has pushed.
func (f *Filter) switchTo(alternate bool) {
	if n := f.touched.keys[1]; n > 0 && !alternate && f.touched.alternate {
		f.touched.keys[1] = 0
		f.out.WriteString("\x1b[<" + strconv.Itoa(n) + "u")
	}
	f.touched.alternate = alternate
}

// deepest is how often kitty's keyboard protocol may be pushed: terminals drop the oldest of
// too many (kitty holds eight), which is the operator's own.
const deepest = 6

// keys counts what is pushed, so that leaving pops as much and no more.
func (f *Filter) keys(s *sequence) {
	depth := &f.touched.keys[0]
	if f.touched.alternate {
		depth = &f.touched.keys[1]
	}
	flags := strconv.Itoa(s.param(0, 0) & 31)
	switch {
	case s.prefix == '<':
		if n := min(s.param(0, 1), *depth); n > 0 {
			*depth -= n
			f.emitWith(s, strconv.Itoa(n))
		}
	case s.prefix == '=' && *depth > 0:
		f.emitWith(s, flags+";"+strconv.Itoa(min(s.param(1, 1), 3)))
	case *depth < deepest: // a change of the operator's own is a push
		*depth++
		f.out.WriteString("\x1b[>" + flags + "u")
	}
}

func (f *Filter) str(kind byte, data []byte, whole bool) {
	switch {
	case !whole:
	case kind == ']':
		f.osc(data)
	case kind == 'P' && f.allow[Images] && sixel(data), kind == '_' && f.allow[Images] && direct(data):
		f.out.WriteString("\x1b" + string(kind))
		f.out.Write(data)
		f.out.WriteString("\x1b\\")
	}
}

func (f *Filter) osc(data []byte) {
	command, rest, _ := bytes.Cut(data, []byte(";"))
	switch string(command) {
	case "8":
		if link(rest) {
			f.emitOSC(data)
		}
	case "0", "1", "2":
		f.touched.title = f.emitIf(Title, readable(data), data) || f.touched.title
	case "7":
		f.emitIf(Directory, readable(data), data)
	case "9", "99", "777":
		f.emitIf(Notifications, readable(data) && len(data) < 1024, data)
	case "4", "10", "11", "12", "104", "110", "111", "112":
		f.touched.colours = f.emitIf(Colours, readable(data) && bytes.IndexByte(rest, '?') < 0, data) || f.touched.colours
	case "52":
		f.emitIf(Clipboard, clip(rest), data)
	case "1337":
		f.emitIf(Images, bytes.HasPrefix(rest, []byte("File=")) && bytes.Contains(rest, []byte("inline=1")) && plainASCII(rest), data)
	}
}

func (f *Filter) emitIf(what Allow, good bool, data []byte) bool {
	if !f.allow[what] || !good {
		return false
	}
	f.emitOSC(data)
	return true
}

func (f *Filter) emitOSC(data []byte) {
	f.out.WriteString("\x1b]")
	f.out.Write(data)
	f.out.WriteString("\x1b\\")
}

// link reports whether OSC 8 begins or ends a link that a click may open: to the web or to a
// mail program, and not to a file or to whatever else the desktop has a handler for.
func link(rest []byte) bool {
	_, target, found := bytes.Cut(rest, []byte(";"))
	if !found || !plainASCII(rest) || len(rest) > 2083 {
		return false
	}
	for _, scheme := range []string{"http://", "https://", "mailto:"} {
		if len(target) >= len(scheme) && strings.EqualFold(string(target[:len(scheme)]), scheme) {
			return true
		}
	}
	return len(target) == 0
}

// clip reports whether OSC 52 sets the clipboard; a question mark would read it.
func clip(rest []byte) bool {
	_, data, found := bytes.Cut(rest, []byte(";"))
	return found && len(data) > 0 && plainASCII(rest) && bytes.IndexByte(data, '?') < 0
}

// sixel reports whether a device control string is an image.
func sixel(data []byte) bool {
	n := 0
	for n < len(data) && (data[n] >= '0' && data[n] <= '9' || data[n] == ';') {
		n++
	}
	return n < len(data) && data[n] == 'q' && plainASCII(bytes.ReplaceAll(data, []byte("\n"), nil))
}

// direct reports whether kitty's graphics command has its data with it, and asks for no
// answer: others have the terminal read files and shared memory.
func direct(data []byte) bool {
	if len(data) == 0 || data[0] != 'G' || !plainASCII(data) {
		return false
	}
	keys, _, _ := bytes.Cut(data[1:], []byte(";"))
	quiet := false
	for key := range bytes.SplitSeq(keys, []byte(",")) {
		quiet = quiet || string(key) == "q=2"
		if bytes.HasPrefix(key, []byte("t=")) && string(key) != "t=d" || bytes.HasPrefix(key, []byte("q=")) && string(key) != "q=2" {
			return false
		}
	}
	return quiet
}

func plainASCII(data []byte) bool {
	return !bytes.ContainsFunc(data, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// readable reports whether data is text without controls.
func readable(data []byte) bool {
	return utf8.Valid(data) && !bytes.ContainsFunc(data, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || turns(r) })
}

// Leave is what puts the terminal back as it was for the operator, whatever has passed. It
// begins a line of its own below all that was drawn.
func (f *Filter) Leave() []byte {
	t := f.touched
	f.touched = touched{}
	if !t.any {
		return nil
	}
	var b strings.Builder
	b.WriteString("\x1b[?2026l")
	if t.alternate {
		pop(&b, t.keys[1])
		b.WriteString("\x1b[?1049l")
	}
	pop(&b, t.keys[0])
	b.WriteString("\x1b(B\x1b)B\x0f\x1b[4l\x1b>\x1b[0m\x1b]8;;\x1b\\\x1b[0 q\x1b[>4m")
	b.WriteString("\x1b[?1l\x1b[?5l\x1b[?7h\x1b[?9l\x1b[?12l\x1b[?45l\x1b[?66l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?2004l\x1b[?25h")
	if t.region || t.origin { // both home the cursor
		b.WriteString("\x1b[?6l\x1b[r\x1b[9999;1H")
	}
	if t.colours {
		b.WriteString("\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\")
	}
	if t.title {
		b.WriteString("\x1b]2;\x1b\\")
	}
	if !t.alternate {
		if t.begun || t.region || t.origin {
			b.WriteString("\r\n")
		}
		b.WriteString("\x1b[J")
	}
	return []byte(b.String())
}

func pop(b *strings.Builder, n int) {
	if n > 0 {
		b.WriteString("\x1b[<" + strconv.Itoa(n) + "u")
	}
}
