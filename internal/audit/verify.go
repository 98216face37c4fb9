package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Expect is what is known of a log from elsewhere.
type Expect struct {
	Bottle string
	Head   *Head // recorded when a run of the bottle ended; nil if none was
	Ended  bool  // no run came after Head
}

// Report describes a log that is whole.
type Report struct {
	Head
	Runs int  // of the bottle
	Open bool // the last run has no end: it goes on, or was killed
}

// BrokenError is a log that is not what was written.
type BrokenError struct {
	Line int64 // the first that is wrong
	Why  string

	unlinked bool // this line or the one before was changed
}

func (e *BrokenError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Why) }

// Verify reads a log to its end. The error is a *BrokenError when the log is not whole.
func Verify(log io.Reader, want Expect) (Report, error) {
	r := NewReader(log, want.Bottle)
	for {
		_, _, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return r.report, r.atEnd(want)
		case err != nil:
			return r.report, r.blame(err, want)
		case want.Head != nil && r.report.Lines == want.Head.Lines && r.report.Hash != want.Head.Hash:
			return r.report, &BrokenError{Line: r.report.Lines, Why: "it is not the line that was last when the bottle ended"}
		}
	}
}

func (r *Reader) atEnd(want Expect) error {
	head := r.report.Head
	switch {
	case want.Head == nil:
	case head.Lines < want.Head.Lines:
		return &BrokenError{Line: head.Lines + 1, Why: fmt.Sprintf("it is missing: the log had %d lines when the bottle ended, and has %d", want.Head.Lines, head.Lines)}
	case head.Lines > want.Head.Lines && want.Ended:
		return &BrokenError{Line: want.Head.Lines + 1, Why: "it was added after the bottle's end"}
	}
	return nil
}

// blame says which of two lines that do not fit was changed: not the later one if what
// comes after was written after it as it is.
func (r *Reader) blame(err error, want Expect) error {
	broken := (*BrokenError)(nil)
	if !errors.As(err, &broken) || !broken.unlinked {
		return err
	}
	head := r.report.Head
	vouched := want.Head != nil && *want.Head == head
	next, _ := r.in.Peek(len(head.next()))
	switch {
	case vouched || string(next) == head.next():
		return &BrokenError{Line: broken.Line - 1, Why: fmt.Sprintf("it was changed: line %d was written after another one", broken.Line)}
	case len(next) > 0:
		return &BrokenError{Line: broken.Line, Why: "it was changed"}
	}
	return &BrokenError{Line: broken.Line - 1, Why: fmt.Sprintf("it was changed, or line %d was", broken.Line)}
}

// Reader reads a log and follows its chain.
type Reader struct {
	in     *bufio.Reader
	bottle string
	report Report
	closed bool // how the agent ended is told: this run has no more lines
	err    error
}

// maxLine bounds a line of a log, in bytes.
const maxLine = 128 << 10

// NewReader returns a Reader of bottle's log.
func NewReader(log io.Reader, bottle string) *Reader {
	return &Reader{in: bufio.NewReaderSize(log, maxLine), bottle: bottle}
}

// Next returns the next event, and its line as it is, which is good until the next call.
// After the last the error is io.EOF. With a *BrokenError the event is still there if the
// line holds one, whatever its place in the chain; reading on is of use to show the log,
// and never makes it whole. Another error ends the log.
func (r *Reader) Next() (Event, []byte, error) {
	if r.err != nil {
		return Event{}, nil, r.err
	}
	line, err := r.in.ReadSlice('\n')
	number := r.report.Lines + 1
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		r.err = io.EOF
	case errors.Is(err, io.EOF):
		r.err = &BrokenError{Line: number, Why: "it is cut short: it has no end"}
	case errors.Is(err, bufio.ErrBufferFull):
		r.err = &BrokenError{Line: number, Why: "it is longer than any event"}
	case err != nil:
		r.err = err
	}
	if r.err != nil {
		return Event{}, nil, r.err
	}
	var e Event
	if err := json.Unmarshal(line, &e); err != nil || e.Kind == "" {
		r.err = &BrokenError{Line: number, Why: "it is no event"}
		return Event{}, nil, r.err
	}
	err = r.link(number, e, line)
	r.report.Head = r.report.Head.then(line)
	return e, line, err
}

// link checks a line's place in the chain.
func (r *Reader) link(number int64, e Event, line []byte) error {
	why, unlinked := r.misplaced(number, e, line)
	switch {
	case e.Kind == Begin:
		r.report.Runs, r.report.Open, r.closed = r.report.Runs+1, true, false
	case e.Kind == End:
		r.report.Open = false
	case e.Kind == AgentEnd:
		r.closed = true
	}
	if why == "" {
		return nil
	}
	return &BrokenError{Line: number, Why: why, unlinked: unlinked}
}

func (r *Reader) misplaced(number int64, e Event, line []byte) (why string, unlinked bool) {
	head := r.report.Head
	switch {
	case e.Seq != number:
		return fmt.Sprintf("it is numbered %d: a line was deleted, inserted or moved", e.Seq), false
	case e.Prev != head.prev() && number == 1:
		return "it is not the first of a log, or was changed", false
	case e.Prev != head.prev():
		return "it was written after another line than the one before it", true
	case !strings.HasPrefix(string(line), head.next()):
		return "it does not begin with its number and the hash of the line before", false
	case e.Bottle != r.bottle:
		return fmt.Sprintf("it is of bottle %q", e.Bottle), false
	case e.Kind != Begin && r.closed:
		return "it came after the agent's end", false
	case e.Kind == AgentEnd && r.report.Runs > 0: // its run was closed by End, or its bundle killed
	case e.Kind != Begin && !r.report.Open:
		return "it belongs to no run: a run begins with a line that says so", false
	}
	return "", false
}
