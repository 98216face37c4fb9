package egress

import (
	"bytes"
	"io"
)

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
	now    func() *echoes // of what the upstream may know by now
	echoes *echoes        // as it was when something came last
	end    func()         // called once, when the stream has ended well

	pooled *[sieveSize]byte // nil where the buffer is the sieve's own
	buffer []byte           // what the three below are parts of
	tail   []byte           // the end of what was read, which a form may have begun in
	raw    []byte           // the same as it came; nil where no stars can hide what begins below them
	sent   int              // how much of tail was handed on already
	ready  []byte           // judged, not yet handed on
	err    error
}

// Read implements io.Reader.
func (s *sieve) Read(p []byte) (int, error) {
	for len(s.ready) == 0 && s.err == nil {
		s.fill()
	}
	n := copy(p, s.ready)
	s.ready = s.ready[n:]
	if len(s.ready) > 0 {
		return n, nil
	}
	if s.err != nil {
		s.giveBack()
	}
	return n, s.err
}

// sieveSize is room for a read as large as answers are copied by, behind a tail of the usual
// length.
const sieveSize = bufferSize + 2<<10

// room makes the buffer hold the tail and something to read behind it.
func (s *sieve) room() {
	switch need := len(s.tail) + 512; {
	case s.buffer == nil && need <= sieveSize && s.echoes != nil:
		s.pooled = s.echoes.buffers.Get().(*[sieveSize]byte)
		s.buffer = s.pooled[:]
	case len(s.buffer) < need:
		s.tail = append(make([]byte, 0, need+bufferSize), s.tail...)
		s.giveBack()
		s.buffer = s.tail[:cap(s.tail)]
	}
}

// giveBack lets the next answer have the buffer. What is in it is masked.
func (s *sieve) giveBack() {
	if s.pooled != nil && s.echoes != nil {
		s.echoes.buffers.Put(s.pooled)
	}
	s.pooled, s.buffer = nil, nil
}

// fill reads once. What comes with an error is judged like everything else.
func (s *sieve) fill() {
	s.room()
	before := copy(s.buffer, s.tail)
	n, err := s.ReadCloser.Read(s.buffer[before:])
	data := s.buffer[:before+n]
	raw := data
	if s.echoes = s.now(); s.echoes != nil && s.echoes.pieces {
		if s.raw == nil {
			s.raw = bytes.Clone(data[:before])
		}
		s.raw = append(s.raw, data[before:]...)
		raw = s.raw
	}
	s.echoes.maskAs(data, raw)
	held := 0
	if err == nil {
		held = s.echoes.begun(raw, minHeld)
	}
	judged := max(s.sent, len(data)-held)
	s.ready, s.err = data[s.sent:judged], err
	kept := min(len(data), max(held, minKept))
	s.tail = data[len(data)-kept:]
	if s.raw != nil {
		s.raw = append(s.raw[:0], raw[len(raw)-kept:]...)
	}
	s.sent = max(0, judged-(len(data)-kept))
	if err == io.EOF && s.end != nil {
		s.end()
	}
}

// maskBody masks our real values in an answer's body: those of now, each time something comes.
func maskBody(now func() *echoes, body io.ReadCloser, end func()) io.ReadCloser {
	return &sieve{ReadCloser: body, now: now, echoes: now(), end: end}
}
