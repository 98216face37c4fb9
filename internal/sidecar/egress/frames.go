package egress

import (
	"encoding/binary"
	"errors"
)

// Opcodes of WebSocket frames (RFC 6455 §5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// errFrame says that what came is no WebSocket (ATTACKS B8).
var errFrame = errors.New("what was sent is no WebSocket frame")

// frame is the head of one.
type frame struct {
	final  bool
	opcode byte
	masked bool
	key    [4]byte
	length uint64
	head   []byte // as it came
}

func (f *frame) control() bool { return f.opcode >= opClose }

// frames takes a stream of WebSocket frames apart, however it is cut into writes. No
// extension is spoken, so reserved bits are errors. It is not for concurrent use.
type frames struct {
	fromClient bool // whose frames are masked, all of them, and those of servers never
	// begin is told of each frame, then data of its payload, piece by piece with the mask
	// undone, then end. An error of theirs ends the stream.
	begin func(*frame) error
	data  func(f *frame, plain []byte) error
	end   func(*frame) error

	head     []byte
	now      *frame
	read     uint64 // of now's payload
	in       bool   // a message has begun and not ended
	plain    []byte
	finished bool // a close frame came: nothing may follow
}

// between reports whether what came so far ends with a message's end.
func (s *frames) between() bool { return s.now == nil && !s.in && len(s.head) == 0 }

// Write takes the next bytes.
func (s *frames) Write(p []byte) error {
	for len(p) > 0 || s.now != nil && s.read == s.now.length {
		if s.now == nil {
			n, err := s.readHead(p)
			if err != nil {
				return err
			}
			p = p[n:]
			continue
		}
		n := int(min(uint64(len(p)), s.now.length-s.read))
		if err := s.readPayload(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (s *frames) readHead(p []byte) (int, error) {
	if s.finished {
		return 0, errFrame
	}
	for n, c := range p {
		s.head = append(s.head, c)
		f, err := s.parse()
		if err != nil {
			return 0, err
		}
		if f != nil {
			s.now, s.read, s.head = f, 0, nil
			return n + 1, s.begin(f)
		}
	}
	return len(p), nil
}

// parse reads the head, once it is whole.
func (s *frames) parse() (*frame, error) {
	h := s.head
	if len(h) < 2 {
		return nil, nil
	}
	f := &frame{final: h[0]&0x80 != 0, opcode: h[0] & 0x0f, masked: h[1]&0x80 != 0, length: uint64(h[1] & 0x7f)}
	if err := s.check(f, h[0]&0x70); err != nil {
		return nil, err
	}
	need := 2
	switch f.length {
	case 126:
		need += 2
	case 127:
		need += 8
	}
	extended := need
	if f.masked {
		need += 4
	}
	if len(h) < need {
		return nil, nil
	}
	switch extended {
	case 4:
		f.length = uint64(binary.BigEndian.Uint16(h[2:]))
	case 10:
		f.length = binary.BigEndian.Uint64(h[2:])
	}
	if f.length>>63 != 0 {
		return nil, errFrame
	}
	if f.masked {
		copy(f.key[:], h[extended:])
	}
	f.head = h
	if !f.control() {
		s.in = !f.final
	}
	s.finished = f.opcode == opClose
	return f, nil
}

func (s *frames) check(f *frame, reserved byte) error {
	known := f.opcode <= opBinary || f.opcode >= opClose && f.opcode <= opPong
	switch {
	case reserved != 0, !known, f.masked != s.fromClient:
		return errFrame
	case f.control():
		if !f.final || f.length > 125 {
			return errFrame
		}
	case s.in != (f.opcode == opContinuation):
		return errFrame
	}
	return nil
}

func (s *frames) readPayload(p []byte) error {
	f := s.now
	s.plain = append(s.plain[:0], p...)
	if f.masked {
		for i := range s.plain {
			s.plain[i] ^= f.key[(s.read+uint64(i))&3]
		}
	}
	s.read += uint64(len(p))
	if len(p) > 0 {
		if err := s.data(f, s.plain); err != nil {
			return err
		}
	}
	if s.read < f.length {
		return nil
	}
	s.now = nil
	return s.end(f)
}
