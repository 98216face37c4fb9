package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// ReadHead finds where a log ends, and how many bytes come after: those of a line that
// has no end, because whoever wrote it was killed.
func ReadHead(log io.Reader) (head Head, torn int64, err error) {
	head, _, torn, err = readEnd(log)
	return head, torn, err
}

// readEnd is ReadHead, with the last line that is whole.
func readEnd(log io.Reader) (head Head, last []byte, torn int64, err error) {
	in := bufio.NewReaderSize(log, maxLine)
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			head, last, line = head.then(line), line, last[:0]
		case errors.Is(err, io.EOF):
			return head, last, int64(len(line)), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return head, nil, 0, err
		}
	}
}

// Ending is the line to append to a log, for how its bottle's agent ended, once the last cut bytes
// of the log are taken off: those of a line that a crash had cut short, of which it tells. There is
// none where no run began, and where somebody has written one. head is where the log ends with it;
// call it on a log to which nobody writes.
func Ending(log io.Reader, e Event) (line []byte, head Head, cut int64, err error) {
	head, last, torn, err := readEnd(log)
	if err != nil || head.Lines == 0 {
		return nil, head, 0, err
	}
	var before Event
	if json.Unmarshal(last, &before) == nil && before.Kind == AgentEnd {
		return nil, head, 0, nil
	}
	e.Kind, e.Service = AgentEnd, Agent
	if torn > 0 {
		e.Reason += "; " + TakenOff(torn)
	}
	chain := Continue(head)
	line, err = chain.Line(e)
	return line, chain.head, torn, err
}

// TakenOff says in a line of a log that a part of one before it is gone.
func TakenOff(bytes int64) string {
	return fmt.Sprintf("%d bytes of a line that a crash had cut short were taken off before this", bytes)
}

// Splice is a bottle's whole log: the lines of the runs before, out of file, and all that
// the last run wrote, out of run, in place of what file may have of it. Where run begins in
// the log, its first line says. A run of which there is no whole line leaves file as it is.
func Splice(file, run io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(run, maxLine)
	first, err := in.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return file, nil
	}
	if err != nil {
		return nil, err
	}
	var e Event
	if json.Unmarshal(first, &e) != nil || e.Seq < 1 {
		e.Seq = math.MaxInt64 // it does not verify; nothing is lost
	}
	return io.MultiReader(&lines{in: file, left: e.Seq - 1}, bytes.NewReader(first), in), nil
}

// lines reads so many lines and no more. Like Splice, it reads ahead.
type lines struct {
	in   io.Reader
	left int64
	torn bool // the last byte was no newline
}

func (l *lines) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, io.EOF
	}
	n, err := l.in.Read(p)
	for i, b := range p[:n] {
		l.torn = b != '\n'
		if !l.torn {
			l.left--
		}
		if l.left == 0 {
			return i + 1, nil
		}
	}
	if errors.Is(err, io.EOF) && n == 0 && l.torn && len(p) > 0 { // what follows is a line of its own
		l.torn, p[0] = false, '\n'
		return 1, nil
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

// Extends reports whether long begins with all of short.
func Extends(long, short io.Reader) (bool, error) {
	var a, b [32 << 10]byte
	for {
		n, err := io.ReadFull(short, b[:])
		if n > 0 {
			m, longErr := io.ReadFull(long, a[:n])
			if !bytes.Equal(a[:m], b[:n]) {
				return false, ignoreEnd(longErr)
			}
		}
		if err != nil {
			return ignoreEnd(err) == nil, ignoreEnd(err)
		}
	}
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
