package control

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/bot-bottle/bot-bottle/internal/session"
)

// In a virtual machine the guest is process 1 of a workload that starts before anything was
// brought in, and goes on after the agent ended. What to run it is told on its socket, which
// nobody but root may speak on: a line with a verb, and what belongs to that.

// Order is what a guest in a machine is told to run.
type Order struct {
	Argv     []string     `json:"argv"`
	Env      []string     `json:"env"`
	Dir      string       `json:"dir"`
	Services []Service    `json:"services"` // that there are; the others' sockets lead nowhere
	Size     session.Size `json:"size"`     // of the terminal; zero: the agent has none
	Stdin    bool         `json:"stdin"`    // without a terminal: it has a standard input
	Awaited  bool         `json:"awaited"`  // an operator is on the way
	NProc    uint64       `json:"nproc"`    // how many processes the agent's user may have
}

// OnTerminal reports whether the agent gets one.
func (o Order) OnTerminal() bool { return o.Size.Width > 0 }

// Condition is how far a guest in a machine is.
type Condition struct {
	Begun    bool `json:"begun"`
	Terminal bool `json:"terminal"`
	Ended    bool `json:"ended"`
	Status   int  `json:"status"`
}

// Verbs on the guest's socket.
const (
	SayBegin   = "begin"   // an Order, a line; the answer is an outcome, a line
	SaySession = "session" // of a terminal: package session
	SayPipe    = "pipe"    // of an agent without one: session.Pipe
	SayStatus  = "status"  // the answer is a Condition, a line
	SayEnd     = "end"     // asks the agent to end; the answer comes when it has
)

// A host brings a bottle into a machine on one stream: it says a Bringing, hears what the guest
// has found (Found), sends an archive in pieces and an Order, and hears that the agent runs. What
// follows then on the stream is the agent's.

// Bringing is what a host says first.
type Bringing struct {
	Services []Service `json:"services"`
	Attach   string    `json:"attach"` // session, pipe, or "" for nothing
}

// Found is what the guest sees of the machine that it is in.
type Found struct {
	Interfaces []string  `json:"interfaces"`
	Routes     int       `json:"routes"`
	Reached    []string  `json:"reached"` // addresses beyond the bottle that did not answer "unreachable"
	Silent     []Service `json:"silent"`  // services that do not answer
	PID1       bool      `json:"pid1"`    // the guest is process 1
}

// Err says what is wrong with the machine, nil if nothing is.
func (f Found) Err() error {
	switch {
	case !f.PID1:
		return errors.New("the guest is not process 1 of the machine's workload")
	case len(f.Interfaces) != 1 || f.Interfaces[0] != "lo":
		return fmt.Errorf("it has the network interfaces %q, not loopback alone", f.Interfaces)
	case f.Routes != 0:
		return fmt.Errorf("it has %d routes", f.Routes)
	case len(f.Reached) > 0:
		return fmt.Errorf("it reaches %q", f.Reached)
	case len(f.Silent) > 0:
		return fmt.Errorf("its sockets do not lead to %v", f.Silent)
	}
	return nil
}

// Begun is the guest's last line before the agent's own bytes.
type Begun struct {
	Error string `json:"error,omitempty"`
}

// maxPiece bounds a piece of the archive.
const maxPiece = 1 << 20

// Pieces writes an archive piece by piece: each is preceded by its length, 4 bytes, and Close
// writes an empty one, the last.
type Pieces struct{ W io.Writer }

// Write implements io.Writer.
func (p Pieces) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		piece := b[:min(len(b), maxPiece)]
		if err := binary.Write(p.W, binary.BigEndian, uint32(len(piece))); err != nil {
			return n, err
		}
		wrote, err := p.W.Write(piece)
		n += wrote
		if err != nil {
			return n, err
		}
		b = b[len(piece):]
	}
	return n, nil
}

// Close ends the archive.
func (p Pieces) Close() error { return binary.Write(p.W, binary.BigEndian, uint32(0)) }

// PiecesReader is the other side of Pieces.
type PiecesReader struct {
	R     io.Reader
	left  uint32
	over  bool
	Taken int64 // bytes so far
}

// Read implements io.Reader.
func (p *PiecesReader) Read(b []byte) (int, error) {
	for p.left == 0 {
		if p.over {
			return 0, io.EOF
		}
		if err := binary.Read(p.R, binary.BigEndian, &p.left); err != nil {
			return 0, err
		}
		p.over = p.left == 0
		if p.left > maxPiece {
			return 0, errors.New("that is no archive")
		}
	}
	n, err := p.R.Read(b[:min(len(b), int(p.left))])
	p.left -= uint32(n)
	p.Taken += int64(n)
	return n, err
}

// SayLine writes JSON, a line of it.
func SayLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(line, '\n'))
	}
	return err
}

// HearLine reads one line of JSON, and not a byte more.
func HearLine(r io.Reader, v any) error {
	var line []byte
	var b [1]byte
	for len(line) < maxLine {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		if b[0] == '\n' {
			return json.Unmarshal(line, v)
		}
		line = append(line, b[0])
	}
	return errors.New("a line is too long")
}

// maxLine bounds a line that is read on either side.
const maxLine = 1 << 20

// Stream is a host's side of the stream.
type Stream struct{ io.ReadWriter }

// Ask says what is to be brought, and returns what the guest has found.
func (s Stream) Ask(b Bringing) (f Found, err error) {
	if err = SayLine(s, b); err == nil {
		err = HearLine(s, &f)
	}
	return f, err
}

// Begin gives the Order, once the archive has been sent, and waits until the agent runs.
func (s Stream) Begin(o Order) error {
	var said Begun
	err := SayLine(s, o)
	if err == nil {
		err = HearLine(s, &said)
	}
	if err == nil && said.Error != "" {
		err = errors.New(said.Error)
	}
	return err
}
