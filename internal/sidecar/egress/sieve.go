package egress

import (
	"bytes"
	"io"
)

// minHeld is how much of a form must have come for its beginning to be held back. Less
// is handed on, or a stream whose message happens to end in the letter that a secret
// begins with would wait for ever; what follows is still recognised.
const minHeld = 4

// sieve reads through a stream that must not carry certain byte strings, however it is
// cut into reads. It holds back only what may well be the beginning of one, so a
// stream of small events is not delayed.
type sieve struct {
	io.ReadCloser
	forms [][]byte
	found func(data []byte) error // masks in place, or refuses
	end   func()                  // called once, when the stream has ended well

	buffer []byte // what the three below are parts of
	tail   []byte // the end of what was read, which a form may have begun in
	sent   int    // how much of tail was handed on already
	ready  []byte // judged, not yet handed on
	err    error
}

// Read implements io.Reader.
func (s *sieve) Read(p []byte) (int, error) {
	for len(s.ready) == 0 && s.err == nil {
		s.fill(len(p))
	}
	n := copy(p, s.ready)
	s.ready = s.ready[n:]
	if len(s.ready) > 0 {
		return n, nil
	}
	return n, s.err
}

// fill reads once. What comes with an error is judged like everything else.
func (s *sieve) fill(size int) {
	if need := len(s.tail) + max(size, 512); cap(s.buffer) < need {
		s.buffer = make([]byte, need)
	}
	before := copy(s.buffer[:cap(s.buffer)], s.tail)
	n, err := s.ReadCloser.Read(s.buffer[before:cap(s.buffer)])
	data := s.buffer[:before+n]
	if bad := s.found(data); bad != nil {
		s.tail, s.sent, s.err = nil, 0, bad
		return
	}
	held := 0
	if err == nil {
		held = s.held(data)
	}
	judged := max(s.sent, len(data)-held)
	s.ready, s.err = data[s.sent:judged], err
	kept := min(len(data), max(held, minHeld-1))
	s.tail = data[len(data)-kept:]
	s.sent = max(0, judged-(len(data)-kept))
	if err == io.EOF && s.end != nil {
		s.end()
	}
}

// held is how much of data's end is held back.
func (s *sieve) held(data []byte) int {
	if n := begun(data, s.forms); n >= minHeld {
		return n
	}
	return 0
}

// begun is the length of the longest end of data with which a form begins.
func begun(data []byte, forms [][]byte) int {
	longest := 0
	for _, form := range forms {
		for n := min(len(form)-1, len(data)); n > longest; n-- {
			if bytes.HasPrefix(form, data[len(data)-n:]) {
				longest = n
				break
			}
		}
	}
	return longest
}

// maskSecrets overwrites our real values in an answer, byte for byte, so that lengths
// stay right (ATTACKS C3).
func (s secrets) maskSecrets(body io.ReadCloser, end func()) io.ReadCloser {
	masker := &sieve{ReadCloser: body, forms: s.realForms(), end: end}
	masker.found = func(data []byte) error { mask(data, masker.forms); return nil }
	return masker
}

func (s secrets) realForms() [][]byte {
	var forms [][]byte
	for _, n := range s.needles {
		if n.real {
			forms = append(forms, n.forms...)
		}
	}
	return forms
}

func mask(data []byte, forms [][]byte) {
	for _, form := range forms {
		for rest := data; ; {
			i := bytes.Index(rest, form)
			if i < 0 {
				break
			}
			copy(rest[i:], bytes.Repeat([]byte("*"), len(form)))
			rest = rest[i+len(form):]
		}
	}
}
