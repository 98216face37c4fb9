package egress

import "io"

// minHeld is how much of a form must have come for its beginning to be held back. Less
// is handed on, or a stream whose message happens to end in the letter that a secret
// begins with would wait for ever; what follows is still recognised.
const minHeld = 4

// minKept is how much of what was handed on is kept, in bytes: minHeld-1 characters and the
// beginning of one, each of them spelled out.
const minKept = minHeld * maxCharacter

// sieve masks our real values in a stream, however it is cut into reads. It holds back only
// what may well be the beginning of one, so a stream of small events is not delayed.
type sieve struct {
	io.ReadCloser
	echoes *echoes
	end    func() // called once, when the stream has ended well

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
	s.echoes.mask(data)
	held := 0
	if err == nil {
		held = s.echoes.begun(data, minHeld)
	}
	judged := max(s.sent, len(data)-held)
	s.ready, s.err = data[s.sent:judged], err
	kept := min(len(data), max(held, minKept))
	s.tail = data[len(data)-kept:]
	s.sent = max(0, judged-(len(data)-kept))
	if err == io.EOF && s.end != nil {
		s.end()
	}
}

// maskBody masks our real values in an answer's body.
func (e *echoes) maskBody(body io.ReadCloser, end func()) io.ReadCloser {
	return &sieve{ReadCloser: body, echoes: e, end: end}
}
