package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Head is where a log ends: how many lines it has, and the hash of the last of them.
// The zero Head is that of a log without a line.
type Head struct {
	Lines int64  `json:"lines"`
	Hash  string `json:"hash"` // SHA-256 of the line with its newline, in hex
}

// origin stands before the first line of a log.
var origin = strings.Repeat("0", 2*sha256.Size)

func (h Head) prev() string {
	if h.Lines == 0 {
		return origin
	}
	return h.Hash
}

// next is how the line after begins.
func (h Head) next() string { return fmt.Sprintf(`{"seq":%d,"prev":"%s",`, h.Lines+1, h.prev()) }

func (h Head) then(line []byte) Head {
	sum := sha256.Sum256(line)
	return Head{Lines: h.Lines + 1, Hash: hex.EncodeToString(sum[:])}
}

// Chain makes the lines of one log: each has its number, counted from 1, and the hash of
// the line before, first of all. It is made in one place, where the events of all services
// come together. It is not for concurrent use.
type Chain struct{ head Head }

// Continue returns the chain of a log that ends at head.
func Continue(head Head) *Chain { return &Chain{head} }

// Line is the next line. The chain goes on from it, whether or not it is written.
func (c *Chain) Line(e Event) ([]byte, error) {
	e.Seq, e.Prev = c.head.Lines+1, c.head.prev()
	line, err := encode(e)
	if err != nil {
		return nil, err
	}
	c.head = c.head.then(line)
	return line, nil
}

// Decode reads what a service printed as an event: one JSON object with the fields of an
// Event and no other, of a kind that services write. What came is data to be written anew,
// never bytes to be passed on: a key that is there twice, white space or an invalid
// character is not in what Chain makes of it.
func Decode(line []byte) (Event, error) {
	var e Event
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return Event{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Event{}, errors.New("something follows it on its line")
	}
	switch {
	case slices.Contains([]string{Begin, End, AgentEnd, Lifecycle, Ask, Edit, Decision, GrantEnd}, e.Kind):
		return Event{}, fmt.Errorf("%s is not for a service to say", e.Kind)
	case e.Snapshot != nil:
		return Event{}, errors.New("a snapshot is not for a service to say")
	case e.Kind == "" || !word(e.Kind) || !word(e.Decision) || !word(e.Phase) || !word(string(e.Protocol)):
		return Event{}, errors.New("its kind, decision, phase or protocol is no word")
	}
	return e, nil
}

// word reports whether s has the form of our constants.
func word(s string) bool {
	return len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
