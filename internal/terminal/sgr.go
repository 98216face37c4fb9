package terminal

import "strconv"

// set is SGR: it changes the style that is drawn in.
func (p *Style) set(q *sequence) {
	rest, sep := q.params, byte(';')
	for sep != 0 {
		var v int
		v, sep, rest = next(rest)
		if sep == ':' || v == 38 || v == 48 || v == 58 {
			rest, sep = p.long(v, rest, sep)
			continue
		}
		p.simple(max(v, 0))
	}
}

// long takes what has parts: of an underline its kind, of a colour how it is given.
func (p *Style) long(v int, rest []byte, sep byte) ([]byte, byte) {
	parts, colons := []int{}, sep == ':'
	for sep == ':' || !colons && sep == ';' && !enough(parts) {
		var part int
		part, sep, rest = next(rest)
		if parts = append(parts, part); len(parts) > 8 {
			break
		}
	}
	if v == 4 {
		p.Attr &^= Underline | Double | Curly
		if len(parts) > 0 && parts[0] != 0 {
			p.Attr |= map[int]Attr{2: Double, 3: Curly}[parts[0]] | Underline
		}
		return rest, sep
	}
	if colons && len(parts) == 5 && parts[0] == 2 { // a colour space is named
		parts = append(parts[:1], parts[2:]...)
	}
	if c, ok := colour(parts); ok {
		switch v {
		case 38:
			p.Fg = c
		case 48:
			p.Bg = c
		case 58:
			p.Under = c
		}
	}
	return rest, sep
}

// enough reports whether a colour is whole.
func enough(parts []int) bool {
	return len(parts) > 0 && (parts[0] == 5 && len(parts) == 2 || parts[0] == 2 && len(parts) == 4 || parts[0] != 2 && parts[0] != 5)
}

func colour(parts []int) (Colour, bool) {
	switch {
	case len(parts) >= 2 && parts[0] == 5 && parts[1] <= 255:
		return Colour(max(parts[1], 0) + 1), true
	case len(parts) >= 4 && parts[0] == 2 && max(parts[1], parts[2], parts[3]) <= 255:
		return direct24 | Colour(max(parts[1], 0)<<16|max(parts[2], 0)<<8|max(parts[3], 0)), true
	}
	return 0, false
}

func (p *Style) simple(v int) {
	switch {
	case v == 0:
		*p = Style{link: p.link}
	case v >= 1 && v <= 9:
		p.Attr |= [...]Attr{0, Bold, Faint, Italic, Underline, Blink, Blink, Reverse, Conceal, Strike}[v]
	case v == 21:
		p.Attr = p.Attr&^Curly | Underline | Double
	case v == 22:
		p.Attr &^= Bold | Faint
	case v >= 23 && v <= 29:
		p.Attr &^= [...]Attr{Italic, Underline | Double | Curly, Blink, 0, Reverse, Conceal, Strike}[v-23]
	case v >= 30 && v <= 37:
		p.Fg = Colour(v - 30 + 1)
	case v == 39:
		p.Fg = 0
	case v >= 40 && v <= 47:
		p.Bg = Colour(v - 40 + 1)
	case v == 49:
		p.Bg = 0
	case v == 53:
		p.Attr |= Overline
	case v == 55:
		p.Attr &^= Overline
	case v == 59:
		p.Under = 0
	case v >= 90 && v <= 97:
		p.Fg = Colour(v - 90 + 9)
	case v >= 100 && v <= 107:
		p.Bg = Colour(v - 100 + 9)
	}
}

// append writes the SGR that leads to this style from none.
func (p Style) append(b []byte) []byte {
	b = append(b, "\x1b[0"...)
	for i, code := range []string{";1", ";2", ";3", ";4", ";5", ";7", ";8", ";9"} {
		if p.Attr&(1<<i) != 0 && !(code == ";4" && p.Attr&(Double|Curly) != 0) {
			b = append(b, code...)
		}
	}
	switch {
	case p.Attr&Double != 0:
		b = append(b, ";21"...)
	case p.Attr&Curly != 0:
		b = append(b, ";4:3"...)
	}
	if p.Attr&Overline != 0 {
		b = append(b, ";53"...)
	}
	b = p.Fg.append(b, 30, 38)
	b = p.Bg.append(b, 40, 48)
	b = p.Under.append(b, 0, 58)
	return append(b, 'm')
}

func (c Colour) append(b []byte, short, long int) []byte {
	if c == 0 {
		return b
	}
	b = append(b, ';')
	switch {
	case c&direct24 != 0:
		b = strconv.AppendInt(b, int64(long), 10)
		b = append(b, ";2"...)
		for _, part := range []Colour{c >> 16 & 255, c >> 8 & 255, c & 255} {
			b = strconv.AppendInt(append(b, ';'), int64(part), 10)
		}
	case c <= 8 && short > 0:
		b = strconv.AppendInt(b, int64(short)+int64(c)-1, 10)
	case c <= 16 && short > 0:
		b = strconv.AppendInt(b, int64(short)+60+int64(c)-9, 10)
	default:
		b = strconv.AppendInt(b, int64(long), 10)
		b = strconv.AppendInt(append(b, ";5;"...), int64(c)-1, 10)
	}
	return b
}
