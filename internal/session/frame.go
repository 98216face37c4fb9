package session

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// kind of a frame.
type kind byte

// To the guest: a hello, once and first; what was typed; the viewer's size; how many bytes
// it has shown; a question for a snapshot; its terminal's colours. From it: output as it comes; a whole screen in
// place of all before; whether what is typed is taken; how the agent ended; facts.
const (
	hello  kind = 'H'
	data   kind = 'D'
	size   kind = 'Z'
	shown  kind = 'A'
	ask    kind = 'Q'
	colour kind = 'C'
	paint  kind = 'P'
	rights kind = 'T'
	exit   kind = 'X'
	facts  kind = 'F'
)

// Bounds of a frame's content.
const (
	maxToGuest = 64 << 10
	maxToHost  = 1<<24 - 1
)

// errFrame is a frame that is none.
var errFrame = errors.New("the other side of the session does not speak its protocol")

// writeFrame writes a frame with one Write.
func writeFrame(w io.Writer, k kind, content []byte) error {
	if len(content) > maxToHost {
		return fmt.Errorf("a frame of %d bytes: %w", len(content), errFrame)
	}
	frame := make([]byte, 4, 4+len(content))
	binary.BigEndian.PutUint32(frame, uint32(k)<<24|uint32(len(content)))
	_, err := w.Write(append(frame, content...))
	return err
}

// frames reads frames of at most limit bytes.
type frames struct {
	r      io.Reader
	limit  int
	buffer []byte
}

// next returns the next frame. Its content is valid until the next call. Memory is taken as
// the content comes, not as it is announced.
func (f *frames) next() (kind, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, err
	}
	all := binary.BigEndian.Uint32(head[:])
	k, n := kind(all>>24), int(all&maxToHost)
	if n > f.limit {
		return 0, nil, fmt.Errorf("a frame of %d bytes: %w", n, errFrame)
	}
	f.buffer = f.buffer[:0]
	for len(f.buffer) < n {
		part := min(n-len(f.buffer), 256<<10)
		at := len(f.buffer)
		f.buffer = append(f.buffer, make([]byte, part)...)
		if _, err := io.ReadFull(f.r, f.buffer[at:]); err != nil {
			return 0, nil, fmt.Errorf("a frame was cut short: %w", err)
		}
	}
	return k, f.buffer, nil
}

// Size of a terminal in cells.
type Size struct{ Width, Height uint }

func (s Size) content() []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(min(s.Width, 65535))), uint16(min(s.Height, 65535)))
}

func readSize(b []byte) (Size, error) {
	if len(b) != 4 {
		return Size{}, errFrame
	}
	return Size{uint(binary.BigEndian.Uint16(b)), uint(binary.BigEndian.Uint16(b[2:]))}, nil
}

func number(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errFrame
	}
	return binary.BigEndian.Uint64(b), nil
}

func numberContent(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// typing says whose keys reach the agent.
type typing string

const (
	everybody typing = "all"  // this viewer's, beside the others'
	alone     typing = "only" // this viewer's alone, for as long as it stays
	nobody    typing = "none" // not this viewer's
)

// greeting is what a viewer says first.
type greeting struct {
	Width   uint   `json:"width"`
	Height  uint   `json:"height"`
	Typing  typing `json:"typing"`
	History int    `json:"history"`           // lines of what has scrolled off
	First   bool   `json:"first,omitempty"`   // from the session's first byte, if that is there still
	Watch   bool   `json:"watch,omitempty"`   // wants snapshots when it asks, and nothing else
	Answers bool   `json:"answers,omitempty"` // its terminal answers the agent's questions
	Title   bool   `json:"title,omitempty"`
	Colours bool   `json:"colours,omitempty"` // its terminal is being asked for its colours
}

func readGreeting(b []byte) (g greeting, err error) {
	if err := json.Unmarshal(b, &g); err != nil {
		return g, fmt.Errorf("%w: %v", errFrame, err)
	}
	switch g.Typing {
	case everybody, alone, nobody:
		return g, nil
	}
	return g, errFrame
}
