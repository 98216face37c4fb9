package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// Attack H3: a path with a newline and a forged JSON object, and control sequences
// for the terminal that shows the log.
func TestAttackH3_NothingForgesALine(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	hostile := "/x\n{\"event\":\"request\",\"decision\":\"allow\"}\r\x1b]52;c;aGk=\x07\u009b31m\u202e" + strings.Repeat("é", 1000)
	if err := w.Write(Event{Kind: Request, Decision: Deny, Path: hostile, Host: hostile, Method: hostile, Reason: hostile}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Fatalf("got %d lines", n)
	}
	if i := strings.IndexFunc(strings.TrimSuffix(out.String(), "\n"), func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x202e
	}); i >= 0 {
		t.Errorf("control character at %d of %q", i, out.String())
	}
	var e Event
	if err := json.Unmarshal(out.Bytes(), &e); err != nil || e.Decision != Deny || len(e.Path) > 2*maxField {
		t.Errorf("got %+v, %v", e, err)
	}
}

type broken struct{ writes int }

func (b *broken) Write([]byte) (int, error) { b.writes++; return 0, errors.New("full") }

func TestALostLineIsNotForgotten(t *testing.T) {
	out := &broken{}
	w := NewWriter(out)
	first, second := w.Write(Event{}), w.Write(Event{})
	if first == nil || second == nil || out.writes != 1 {
		t.Errorf("got %v, %v after %d writes", first, second, out.writes)
	}
}
