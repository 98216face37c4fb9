package session

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// Bounds of a transcript as the host takes it: the guest's own are well below.
const (
	maxCastLine = 4 << 20
	maxCast     = 96 << 20
)

// castHeader is an asciicast's first line.
type castHeader struct {
	Version   int               `json:"version"`
	Width     uint              `json:"width"`
	Height    uint              `json:"height"`
	Timestamp int64             `json:"timestamp,omitempty"`
	Title     string            `json:"title,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
}

// event of an asciicast: output ("o") or a change of the size ("r").
type event struct {
	at   float64
	code string
	text string
}

// errCast is a line that is none of an asciicast's.
var errCast = errors.New("it is no transcript")

func readEvent(line []byte) (e event, err error) {
	var parts []json.RawMessage
	if json.Unmarshal(line, &parts) != nil || len(parts) != 3 ||
		json.Unmarshal(parts[0], &e.at) != nil || json.Unmarshal(parts[1], &e.code) != nil || json.Unmarshal(parts[2], &e.text) != nil {
		return e, errCast
	}
	if e.at < 0 || math.IsInf(e.at, 0) || math.IsNaN(e.at) || e.code != "o" && e.code != "r" {
		return e, errCast
	}
	return e, nil
}

// castReader reads a transcript line by line. What is no line of one is left out: it comes
// from a bottle, and the engine cuts it at its beginning.
type castReader struct {
	lines *bufio.Reader
	read  int
}

func (c *castReader) next() ([]byte, error) {
	for {
		line, err := c.lines.ReadSlice('\n')
		whole := err == nil
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = c.lines.ReadSlice('\n')
		}
		if c.read += len(line); err != nil || c.read > maxCast {
			return nil, io.EOF
		}
		if whole {
			return line, nil
		}
	}
}

func newCast(r io.Reader) *castReader {
	return &castReader{lines: bufio.NewReaderSize(r, maxCastLine)}
}

// readHeader takes a header for what it is worth.
func readHeader(line []byte) (castHeader, bool) {
	var h castHeader
	if json.Unmarshal(line, &h) != nil || h.Version != 2 {
		return castHeader{}, false
	}
	h.Width, h.Height = min(max(h.Width, terminal.MinWidth), terminal.MaxWidth), min(max(h.Height, terminal.MinHeight), terminal.MaxHeight)
	return h, true
}

// Keep copies a transcript out of a bottle: what is one of it, written anew, and less the
// ranges of its output in which hide finds a secret. One that lacks its beginning starts at
// the first whole screen that is in it.
func Keep(r io.Reader, w io.Writer, title string, hide func([]byte) ([][2]int, error)) error {
	header, events := load(newCast(r))
	if len(events) == 0 {
		return nil
	}
	if err := mask(events, hide); err != nil {
		return err
	}
	header.Version, header.Title = 2, title
	out := json.NewEncoder(w)
	if err := out.Encode(header); err != nil {
		return err
	}
	for _, e := range events {
		if err := out.Encode([]any{json.RawMessage(fmt.Sprintf("%.3f", e.at)), e.code, e.text}); err != nil {
			return err
		}
	}
	return nil
}

func load(c *castReader) (header castHeader, events []event) {
	header = castHeader{Version: 2, Width: 80, Height: 24}
	begun := false
	for {
		line, err := c.next()
		if err != nil {
			return header, events
		}
		if h, ok := readHeader(line); ok && len(events) == 0 {
			header, begun = castHeader{Version: 2, Width: h.Width, Height: h.Height, Timestamp: h.Timestamp}, true
			continue
		}
		e, err := readEvent(line)
		if begun = begun || err == nil && e.code == "r"; err == nil && begun {
			events = append(events, e)
		}
	}
}

// mask searches all output joined, as a secret may lie across events, and puts stars in the
// place of what is found.
func mask(events []event, hide func([]byte) ([][2]int, error)) error {
	var all bytes.Buffer
	for _, e := range events {
		if e.code == "o" {
			all.WriteString(e.text)
		}
	}
	data := all.Bytes()
	found, err := hide(data)
	if err != nil {
		return err
	}
	for _, f := range found {
		for i := max(f[0], 0); i < min(f[1], len(data)); i++ {
			data[i] = '*'
		}
	}
	for i, e := range events {
		if e.code == "o" {
			events[i].text, data = string(data[:len(e.text)]), data[len(e.text):]
		}
	}
	return nil
}

// longestPause is how long nothing happens at most when a transcript is played.
const longestPause = 2 * time.Second

// Play plays a transcript on a terminal, so many times faster than it was: 0 is as fast as it
// goes. It shows what may reach the operator's screen, and leaves the terminal as it was.
func Play(ctx context.Context, r io.Reader, w io.Writer, speed float64, allow ...terminal.Allow) (err error) {
	filter := terminal.NewFilter(allow...)
	defer func() {
		_, left := w.Write(filter.Leave())
		err = errors.Join(err, left)
	}()
	_, events := load(newCast(r))
	var last float64
	for _, e := range events {
		if err := rest(ctx, e.at-last, speed); err != nil {
			return err
		}
		last = e.at
		if e.code == "o" {
			if _, err := w.Write(filter.Pass([]byte(e.text))); err != nil {
				return err
			}
		}
	}
	return nil
}

func rest(ctx context.Context, seconds, speed float64) error {
	if speed <= 0 || seconds <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(min(time.Duration(min(seconds/speed, 3600)*float64(time.Second)), longestPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Text writes what a transcript shows as lines: what scrolled off the screen, then its last
// state. What was drawn on the alternate screen and is gone is not in it.
func Text(r io.Reader, w io.Writer) error {
	header, events := load(newCast(r))
	s := terminal.NewScreen(int(header.Width), int(header.Height), nil)
	out := bufio.NewWriter(w)
	for _, e := range events {
		if e.code == "r" {
			var width, height int
			if n, _ := fmt.Sscanf(e.text, "%dx%d", &width, &height); n == 2 {
				s.Forget() // it is written, and shall not come back
				writeLeft(s, out, func() { s.Resize(width, height) })
			}
			continue
		}
		writeScrolled(s, e.text, out)
	}
	for _, line := range withoutEnd(s.Text()) {
		_, _ = fmt.Fprintln(out, line)
	}
	return out.Flush()
}

// writeScrolled draws, in parts that scroll off less than the screen keeps.
func writeScrolled(s *terminal.Screen, text string, out io.Writer) {
	for len(text) > 0 {
		part := text[:min(len(text), terminal.HistoryLines/2)]
		text = text[len(part):]
		writeLeft(s, out, func() { _, _ = io.WriteString(s, part) })
	}
}

// writeLeft writes the lines that scroll off while something is done to the screen.
func writeLeft(s *terminal.Screen, out io.Writer, do func()) {
	before := s.Scrolled()
	do()
	for _, line := range s.History(int(min(s.Scrolled()-before, terminal.HistoryLines))) {
		_, _ = fmt.Fprintln(out, line)
	}
}

func withoutEnd(lines []string) []string {
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}
