package terminal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// The screen answers what programs ask of a terminal, so that the operator's is never asked.
// It says what it is and what it shows, and never a word that the program gave it (a title,
// a status line): such an answer is typed, and would be a command to a shell.

func (s *Screen) reply(format string, args ...any) { s.answer(fmt.Appendf(nil, format, args...)) }

func (s *Screen) answerKind() { s.reply("\x1b[?62;22c") } // a VT220 with colours

func (s *Screen) answerTo(q *sequence) {
	switch n := q.param(0, 0); {
	case q.is("c") && n == 0:
		s.answerKind()
	case q.is(">c") && n == 0:
		s.reply("\x1b[>1;10;0c")
	case q.is(">q") && n == 0:
		s.reply("\x1bP>|bot-bottle\x1b\\")
	case q.is("n") && n == 5:
		s.reply("\x1b[0n")
	case q.is("n") && n == 6:
		s.reply("\x1b[%d;%dR", s.row(), s.x+1)
	case q.is("?n") && n == 6:
		s.reply("\x1b[?%d;%d;1R", s.row(), s.x+1)
	case q.is("?n") && n == 996:
		s.reply("\x1b[?997;%dn", map[bool]int{true: 1, false: 2}[s.Scheme.Dark()])
	case q.is("t") && n == 18:
		s.reply("\x1b[8;%d;%dt", s.height, s.width)
	case q.is("?u"):
		s.reply("\x1b[?%du", s.flags())
	case q.is("?$p"):
		s.reply("\x1b[?%d;%d$y", n, s.modeState(n))
	case q.is("$p"):
		state := 0
		if n == 4 {
			state = setting(s.insert)
		}
		s.reply("\x1b[%d;%d$y", n, state)
	}
}

// row of the cursor, as it is told to programs.
func (s *Screen) row() int {
	if s.origin {
		return s.y - s.top + 1
	}
	return s.y + 1
}

func setting(on bool) int {
	if on {
		return 1
	}
	return 2
}

// modeState is 0 for a mode that is not known here, 1 for set, 2 for reset.
func (s *Screen) modeState(mode int) int {
	switch mode {
	case 6:
		return setting(s.origin)
	case 7:
		return setting(!s.nowrap)
	case 25:
		return setting(!s.hidden)
	case 47, 1047, 1049:
		return setting(s.alternate == 1)
	}
	for _, known := range modes {
		if known == mode && mode != 1048 {
			return setting(s.modes[mode])
		}
	}
	return 0
}

// device answers DECRQSS and XTGETTCAP.
func (s *Screen) device(data []byte) {
	switch what, ok := bytes.CutPrefix(data, []byte("$q")); {
	case ok:
		s.answerSetting(string(what))
	case bytes.HasPrefix(data, []byte("+q")):
		s.answerCapability(string(data[2:]))
	}
}

func (s *Screen) answerSetting(what string) {
	switch what {
	case "m":
		pen := s.pen.append(nil)
		s.reply("\x1bP1$r%sm\x1b\\", pen[2:len(pen)-1])
	case "r":
		s.reply("\x1bP1$r%d;%dr\x1b\\", s.top+1, s.bottom)
	case " q":
		s.reply("\x1bP1$r%d q\x1b\\", s.shape)
	default:
		s.reply("\x1bP0$r\x1b\\")
	}
}

// answerCapability knows a few of terminfo's names; the rest is in the file that TERM names.
func (s *Screen) answerCapability(names string) {
	for n, name := range strings.Split(names, ";") {
		if n == 16 {
			return
		}
		plain, _ := hex.DecodeString(name)
		value := map[string]string{"Co": "256", "colors": "256", "RGB": "8/8/8", "TN": "xterm-256color"}[string(plain)]
		if value == "" {
			s.reply("\x1bP0+r\x1b\\")
			continue
		}
		s.reply("\x1bP1+r%s=%X\x1b\\", strings.ToUpper(hex.EncodeToString(plain)), value)
	}
}

// Scheme is what colours a terminal has where no program has set any.
type Scheme struct{ Ink, Paper RGB }

// RGB is a colour by its parts.
type RGB struct{ R, G, B uint8 }

// darkScheme is that of a terminal of which nothing is known.
var darkScheme = Scheme{Ink: RGB{255, 255, 255}}

// Dark reports whether the paper is darker than it is light.
func (s Scheme) Dark() bool {
	return 299*int(s.Paper.R)+587*int(s.Paper.G)+114*int(s.Paper.B) < 500*255
}

func (c RGB) String() string {
	return fmt.Sprintf("rgb:%02x%02x/%02x%02x/%02x%02x", c.R, c.R, c.G, c.G, c.B, c.B)
}

// answerColour says which colours the terminal has: those of the operator's if they are known.
func (s *Screen) answerColour(command string, rest []byte) {
	switch {
	case command == "4":
		number, what, _ := bytes.Cut(rest, []byte(";"))
		if n, err := strconv.ParseUint(string(number), 10, 8); err == nil && string(what) == "?" {
			r, g, b := palette(int(n))
			s.reply("\x1b]4;%d;%v\x1b\\", n, RGB{uint8(r), uint8(g), uint8(b)})
		}
	case string(rest) == "?" && command == "11":
		s.reply("\x1b]11;%v\x1b\\", s.Scheme.Paper)
	case string(rest) == "?":
		s.reply("\x1b]%s;%v\x1b\\", command, s.Scheme.Ink)
	}
}

// palette is xterm's.
func palette(n int) (r, g, b int) {
	level := func(n int) int {
		if n == 0 {
			return 0
		}
		return 55 + 40*n
	}
	switch {
	case n >= 232:
		grey := 8 + 10*(n-232)
		return grey, grey, grey
	case n >= 16:
		n -= 16
		return level(n / 36), level(n / 6 % 6), level(n % 6)
	}
	on := 205
	if n >= 8 {
		on = 255
	}
	return n & 1 * on, n >> 1 & 1 * on, n >> 2 & 1 * on
}
