package dlp

import (
	"encoding/binary"
	"math/bits"
)

// numbers decodes bytes written as decimal or octal numbers. It looks where more than
// a quarter of the characters are digits.
func (c *scan) numbers(v *view, depth int) {
	if !c.work(len(v.data) / 2) {
		return
	}
	const block = 64
	start, end := 0, 0
	for i := 0; i < len(v.data); i += block {
		part := v.data[i:min(i+block, len(v.data))]
		if 25*countDigits(part) < 7*len(part) {
			continue
		}
		if i > end+block {
			c.numbersIn(v, depth, start, end)
			start = max(end, i-block)
		}
		end = min(i+2*block, len(v.data))
	}
	c.numbersIn(v, depth, start, end)
}

// countDigits counts them eight bytes at a time.
func countDigits(text []byte) (n int) {
	const high, low = 0x8080808080808080, 0x0101010101010101
	i := 0
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		digits := ((w | high) - '0'*low) &^ ((w | high) - ('9'+1)*low) &^ w & high
		n += bits.OnesCount64(digits)
	}
	for _, ch := range text[i:] {
		if isDigit(ch) {
			n++
		}
	}
	return n
}

func (c *scan) numbersIn(v *view, depth, start, end int) {
	if end-start < 2*c.least || !c.work(end-start) {
		return
	}
	data := v.data[start:end]
	var list numberList
	list.decimal, list.octal = c.borrow(), c.borrow()
	flush := func() {
		if len(list.at) >= c.least {
			at := list.at
			origin := func(s, e int) (int, int) { return start + at[s], start + at[e-1] + 3 }
			c.bytes(v.child("decimal", list.decimal, origin), depth-1)
			c.bytes(v.child("octal", list.octal, origin), depth-1)
		}
		list.decimal, list.octal, list.at = list.decimal[:0], list.octal[:0], list.at[:0]
	}
	gap := 0
	for i := 0; i < len(data); {
		if !isDigit(data[i]) {
			gap++
			i++
			continue
		}
		if gap > maxNumberGap {
			flush()
		}
		first := i
		for i < len(data) && isDigit(data[i]) {
			i++
		}
		if !list.add(data[first:i], first, i < len(data) && data[i]|0x20 == 'o') {
			flush()
		}
		gap = 0
	}
	flush()
	c.giveBack(list.decimal)
	c.giveBack(list.octal)
}

// maxNumberGap is how much may stand between two numbers.
const maxNumberGap = 12

type numberList struct {
	decimal, octal []byte
	at             []int
}

// add takes one run of digits: a number, or numbers of three digits each.
func (l *numberList) add(run []byte, at int, octalMark bool) bool {
	if len(run) == 1 && run[0] == '0' && octalMark { // 0o141
		return true
	}
	if len(run) == 4 && run[0] == '0' {
		run, at = run[1:], at+1
	}
	first := len(l.at) == 0 // to which a digit may be glued that is none of it
	if odd := len(run) % 3; len(run) > 3 && odd != 0 && first {
		run, at = run[odd:], at+odd
	} else if len(run) > 3 && odd != 0 {
		return false
	}
	for len(run) > 0 {
		n := min(3, len(run))
		decimal, octal := 0, 0
		for _, c := range run[:n] {
			decimal = decimal*10 + int(c-'0')
			octal = octal*8 + int(c-'0')
			if c > '7' {
				octal = 256
			}
		}
		if first = first && len(l.at) == 0; first && decimal > 255 {
			decimal %= 100
		}
		if first && octal > 255 {
			octal %= 64
		}
		l.decimal = append(l.decimal, small(decimal))
		l.octal = append(l.octal, small(octal))
		l.at = append(l.at, at)
		run, at = run[n:], at+n
	}
	return true
}

// small is n as a byte, zero if it is none.
func small(n int) byte {
	if n > 255 {
		return 0
	}
	return byte(n)
}
