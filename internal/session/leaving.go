package session

import (
	"bytes"
	"io"
	"strconv"
)

// Leaving reads what is typed on a terminal, up to the keys that leave it: Read passes on all
// that is before them, and then returns ErrDetached. Keys are known however the terminal tells
// them, since programs have it tell them otherwise: as bytes, in kitty's keyboard protocol
// (CSI 112;5u is ctrl-p), or in xterm's (CSI 27;5;112~).
type Leaving struct {
	in      io.Reader
	keys    []byte
	matched int    // of keys
	held    []byte // what matched them so far
	partial []byte // a sequence that has begun
	ready   []byte
	err     error
	buffer  []byte
}

// NewLeaving makes a Leaving. Without keys it ends with in alone.
func NewLeaving(in io.Reader, keys []byte) *Leaving {
	return &Leaving{in: in, keys: keys, buffer: make([]byte, 16<<10)}
}

// Read implements io.Reader.
func (l *Leaving) Read(p []byte) (int, error) {
	for len(l.ready) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		n, err := l.in.Read(l.buffer)
		l.err = err
		if l.take(l.buffer[:n]) {
			l.err = ErrDetached
		} else if err != nil {
			l.ready = append(append(l.ready, l.held...), l.partial...)
		}
	}
	n := copy(p, l.ready)
	l.ready = l.ready[n:]
	return n, nil
}

// take reports whether the keys that leave were typed.
func (l *Leaving) take(in []byte) bool {
	if len(l.keys) == 0 || l.matched == 0 && len(l.partial) == 0 && bytes.IndexByte(in, l.keys[0]) < 0 && bytes.IndexByte(in, 0x1b) < 0 {
		l.ready = append(l.ready[:0], in...) // most is
		return false
	}
	in = append(l.partial, in...)
	l.partial = nil
	for len(in) > 0 {
		n, whole := keyLength(in)
		if !whole {
			l.partial = bytes.Clone(in)
			return false
		}
		if l.key(in[:n]) {
			return true
		}
		in = in[n:]
	}
	return false
}

// keyLength is how many bytes the first key takes, and whether all of them are there. What no
// key is told as is taken byte by byte.
func keyLength(in []byte) (n int, whole bool) {
	if len(in) < 3 || in[0] != 0x1b || in[1] != '[' || in[2] < '0' || in[2] > '9' {
		return 1, true
	}
	const longest = 64
	for n = 2; n < len(in) && n < longest; n++ {
		if c := in[n]; (c < '0' || c > '9') && c != ';' && c != ':' {
			return n + 1, true
		}
	}
	return n, n == longest
}

// key takes one key, and reports whether it is the last of those that leave.
func (l *Leaving) key(told []byte) bool {
	code, event, known := readKey(told)
	if known && event == ignored {
		if l.matched > 0 {
			l.held = append(l.held, told...)
		} else {
			l.ready = append(l.ready, told...)
		}
		return false
	}
	if !known || event != pressed || code != l.keys[l.matched] {
		l.ready, l.held = append(l.ready, l.held...), l.held[:0]
		if again := l.matched > 0 && known && event == pressed && code == l.keys[0]; !again {
			l.matched = 0
			l.ready = append(l.ready, told...)
			return false
		}
		l.matched = 0
	}
	l.held = append(l.held, told...)
	l.matched++
	return l.matched == len(l.keys)
}

// What became of a key.
const (
	pressed = iota
	ignored // it was let go, or changes others only
)

// readKey reads one key: a byte, or a sequence that stands for one.
func readKey(told []byte) (code byte, event int, known bool) {
	if len(told) == 1 {
		return told[0], pressed, true
	}
	final := told[len(told)-1]
	fields := bytes.Split(told[2:len(told)-1], []byte(";"))
	switch {
	case final == '~' && len(fields) == 3 && string(fields[0]) == "27":
		fields = [][]byte{fields[2], fields[1]}
	case final != 'u':
		return 0, 0, false
	}
	number, _, _ := bytes.Cut(fields[0], []byte(":"))
	key, err := strconv.Atoi(string(number))
	if err != nil {
		return 0, 0, false
	}
	held, what := 1, "1"
	if len(fields) > 1 {
		modifiers, kind, found := bytes.Cut(fields[1], []byte(":"))
		if found {
			what = string(kind)
		}
		if n, err := strconv.Atoi(string(modifiers)); err == nil {
			held = n
		}
	}
	if what == "3" || key >= 57441 && key <= 57454 { // let go; shift, ctrl and the like
		return 0, ignored, true
	}
	return withModifiers(key, held-1)
}

// withModifiers is the byte that a key is told as in the usual way. Caps and num lock do not
// count.
func withModifiers(key, held int) (code byte, event int, known bool) {
	const shift, ctrl, locks = 1, 4, 64 | 128
	held &^= locks
	switch {
	case key > 126:
	case held&^shift == 0:
		return byte(key), pressed, true
	case held&^shift == ctrl && (key >= '@' && key <= '_' || key >= 'a' && key <= 'z'):
		return byte(key) & 0x1f, pressed, true
	}
	return 0, 0, false
}
