package terminal

import (
	"bytes"
	"unicode/utf8"
)

// handler is told what a parser reads. What it is given is valid until it returns.
type handler interface {
	text(p []byte)                       // printable ASCII, at least one byte
	char(r rune)                         // anything else that prints, C1 controls as well
	control(c byte)                      // a C0 control
	escape(s *sequence)                  // ESC, intermediates, final
	csi(s *sequence)                     // ESC [
	str(kind byte, s []byte, whole bool) // ']' OSC, 'P' DCS, '_' APC, '^' PM, 'X' SOS; whole unless it was too long
}

// Bounds of one sequence. What is longer is read to its end and then dropped.
const (
	maxParams        = 512
	maxIntermediates = 2
)

// sequence is an escape or control sequence. Its parameters are as they were written:
// digits, ';' and ':' only.
type sequence struct {
	prefix byte // one of "<=>?", or 0
	params []byte
	inter  [maxIntermediates]byte
	inters int
	final  byte
	bad    bool
}

// is reports whether the sequence has these parts: prefix and intermediates, then final.
func (s *sequence) is(parts string) bool {
	at := 0
	if s.prefix != 0 {
		if parts[0] != s.prefix {
			return false
		}
		at = 1
	}
	return len(parts) == at+s.inters+1 && string(s.inter[:s.inters]) == parts[at:at+s.inters] && parts[len(parts)-1] == s.final
}

// maxValue is the largest value of a parameter.
const maxValue = 65535

// next takes the first parameter off rest: its value, -1 where it was left out, and the
// separator behind it, 0 at the end.
func next(rest []byte) (value int, sep byte, _ []byte) {
	value = -1
	for i, c := range rest {
		if c == ';' || c == ':' {
			return value, c, rest[i+1:]
		}
		value = min(max(value, 0)*10+int(c-'0'), maxValue)
	}
	return value, 0, nil
}

// param is the n-th parameter, or otherwise where it was left out or is zero.
func (s *sequence) param(n, otherwise int) int {
	rest := s.params
	for ; n > 0 && len(rest) > 0; n-- {
		_, _, rest = next(rest)
	}
	if v, _, _ := next(rest); n == 0 && v > 0 {
		return v
	}
	return otherwise
}

// each calls do with every value, sub-parameters as well; -1 is one that was left out.
func (s *sequence) each(do func(int)) {
	for rest, sep := s.params, byte(';'); sep != 0; {
		var v int
		v, sep, rest = next(rest)
		do(v)
	}
}

type state byte

const (
	ground state = iota
	escaped
	inControl // CSI
	inString
	inStringEscape
)

// parser splits what a terminal gets into its parts. It speaks UTF-8: a C1 control is no
// single byte. How its input is cut makes no difference.
type parser struct {
	state   state
	seq     sequence
	kind    byte
	data    []byte
	long    bool
	maxData int
	partial [utf8.UTFMax]byte
	have    int
}

func (p *parser) write(h handler, in []byte) {
	for len(in) > 0 {
		switch p.state {
		case ground:
			in = p.ground(h, in)
		case inString:
			in = p.string(h, in)
		default:
			p.step(h, in[0])
			in = in[1:]
		}
	}
}

func (p *parser) ground(h handler, in []byte) []byte {
	if p.have > 0 {
		return p.complete(h, in)
	}
	n := 0
	for n < len(in) && in[n] >= 0x20 && in[n] < 0x7f {
		n++
	}
	if n > 0 {
		h.text(in[:n])
		return in[n:]
	}
	switch c := in[0]; {
	case c == 0x1b:
		p.begin()
	case c < 0x20:
		h.control(c)
	case c >= 0x80:
		return p.complete(h, in)
	} // DEL is nothing
	return in[1:]
}

// complete reads one character of more than a byte, which may have begun before in.
func (p *parser) complete(h handler, in []byte) []byte {
	taken := copy(p.partial[p.have:], in)
	all := p.partial[:p.have+taken]
	if !utf8.FullRune(all) {
		p.have = len(all)
		return nil
	}
	r, size := utf8.DecodeRune(all)
	rest := in
	if size > p.have {
		rest = in[size-p.have:]
		p.have = 0
	} else { // the first of them was wrong; what is behind it begins anew
		p.have = copy(p.partial[:], all[size:p.have])
	}
	h.char(r)
	return rest
}

func (p *parser) begin() {
	p.state = escaped
	p.seq = sequence{params: p.seq.params[:0]}
}

func (p *parser) step(h handler, c byte) {
	if p.state == inStringEscape {
		if c == '\\' {
			p.end(h)
			return
		}
		p.drop() // any other ESC gives the string up
		p.begin()
	}
	switch {
	case c == 0x1b:
		p.begin()
	case c == 0x18 || c == 0x1a: // CAN, SUB
		p.state = ground
	case c < 0x20:
		h.control(c)
	case c == 0x7f:
	case p.state == escaped:
		p.escaped(h, c)
	default:
		p.control(h, c)
	}
}

func (p *parser) escaped(h handler, c byte) {
	switch {
	case c >= 0x80:
		p.state = ground
		p.write(h, []byte{c})
	case c < 0x30:
		p.intermediate(c)
	case p.seq.inters == 0 && c == '[':
		p.state = inControl
	case p.seq.inters == 0 && bytes.IndexByte([]byte("]P_^X"), c) >= 0:
		p.state, p.kind, p.data, p.long = inString, c, p.data[:0], false
	default:
		p.state, p.seq.final = ground, c
		if !p.seq.bad {
			h.escape(&p.seq)
		}
	}
}

func (p *parser) control(h handler, c byte) {
	s := &p.seq
	switch {
	case c >= 0x80:
		s.bad = true
	case c < 0x30:
		p.intermediate(c)
	case c < 0x3c:
		if s.inters > 0 || len(s.params) == maxParams {
			s.bad = true
		} else {
			s.params = append(s.params, c)
		}
	case c < 0x40:
		if s.prefix != 0 || len(s.params) > 0 || s.inters > 0 {
			s.bad = true
		}
		s.prefix = c
	default:
		p.state, s.final = ground, c
		if !s.bad {
			h.csi(s)
		}
	}
}

func (p *parser) intermediate(c byte) {
	if p.seq.inters == maxIntermediates {
		p.seq.bad = true
		return
	}
	p.seq.inter[p.seq.inters] = c
	p.seq.inters++
}

// string reads a string to its end, or all of in.
func (p *parser) string(h handler, in []byte) []byte {
	n := bytes.IndexAny(in, "\x07\x18\x1a\x1b")
	if n < 0 {
		p.keep(in)
		return nil
	}
	p.keep(in[:n])
	switch {
	case in[n] == 0x1b:
		p.state = inStringEscape
	case in[n] == 0x07 && p.kind == ']':
		p.end(h)
	case in[n] == 0x07:
		p.keep(in[n : n+1])
	default:
		p.drop()
	}
	return in[n+1:]
}

func (p *parser) keep(b []byte) {
	if p.long || len(p.data)+len(b) > p.maxData {
		p.long = true
		return
	}
	p.data = append(p.data, b...)
}

func (p *parser) end(h handler) {
	p.state = ground
	h.str(p.kind, p.data, !p.long)
	p.drop()
}

// drop forgets a string, and what it took if that was much.
func (p *parser) drop() {
	p.state, p.long = ground, false
	if p.data = p.data[:0]; cap(p.data) > 64<<10 {
		p.data = nil
	}
}
