package session

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// chunks reads one part after the other.
type chunks struct{ parts []string }

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.parts[0])
	if c.parts[0] = c.parts[0][n:]; c.parts[0] == "" {
		c.parts = c.parts[1:]
	}
	return n, nil
}

// Keys that leave are known however the terminal tells them: a program in the bottle that has
// it speak kitty's or xterm's keyboard protocol keeps nobody from leaving.
func TestKeysThatLeave(t *testing.T) {
	const usual, other = "\x10\x11", "\x01d"
	for name, c := range map[string]struct {
		keys, in, passed string
		left             bool
	}{
		"bytes":                    {usual, "ab\x10\x11cd", "ab", true},
		"not both":                 {usual, "ab\x10cd", "ab\x10cd", false},
		"the first twice":          {usual, "ab\x10\x10\x11", "ab\x10", true},
		"the second alone":         {usual, "\x11", "\x11", false},
		"kitty":                    {usual, "a\x1b[112;5u\x1b[113;5u", "a", true},
		"kitty, with events":       {usual, "\x1b[57442;5u\x1b[112;5:1u\x1b[112;5:3u\x1b[113;5:1u", "\x1b[57442;5u", true},
		"kitty, ctrl let go":       {usual, "\x1b[112;5:1u\x1b[112;5:3u\x1b[57442;1:3u\x1b[57442;5u\x1b[113;5u", "", true},
		"kitty, caps and num lock": {usual, "\x1b[112;197u\x1b[113;197u", "", true},
		"kitty, alternates, text":  {usual, "\x1b[112:80:112;5;112u\x1b[113;5u", "", true},
		"kitty, with alt":          {usual, "\x1b[112;7u\x1b[113;7u", "\x1b[112;7u\x1b[113;7u", false},
		"kitty, let go only":       {usual, "\x1b[112;5:3u\x1b[113;5:3u", "\x1b[112;5:3u\x1b[113;5:3u", false},
		"kitty, and then not":      {usual, "\x1b[112;5:1u\x1b[112;5:3u\x1b[97;5u", "\x1b[112;5:1u\x1b[112;5:3u\x1b[97;5u", false},
		"xterm":                    {usual, "\x1b[27;5;112~\x1b[27;5;113~", "", true},
		"one of each":              {usual, "\x10\x1b[27;5;113~", "", true},
		"other keys":               {other, "\x01d", "", true},
		"other keys, kitty":        {other, "\x1b[97;5u\x1b[100u", "", true},
		"arrows and pastes":        {usual, "\x1b[A\x1b[1;5C\x1b[200~x\x1b[201~\x1b[3~\x1b[<0;1;1M\x1b\x1b[", "\x1b[A\x1b[1;5C\x1b[200~x\x1b[201~\x1b[3~\x1b[<0;1;1M\x1b\x1b[", false},
		"a sequence without end":   {usual, "\x1b[" + strings.Repeat("1", 100) + "\x10\x11", "\x1b[" + strings.Repeat("1", 100), true},
		"none":                     {"", "\x10\x11", "\x10\x11", false},
	} {
		passed, err := io.ReadAll(NewLeaving(strings.NewReader(c.in), []byte(c.keys)))
		if string(passed) != c.passed || errors.Is(err, ErrDetached) != c.left || !c.left && err != nil {
			t.Errorf("%s: got %q, %v, want %q, left %t", name, passed, err, c.passed, c.left)
		}
	}
}

// FuzzLeaving: what does not leave comes through as it is, and what does, leaves, wherever it
// is cut behind a key's first three bytes.
func FuzzLeaving(f *testing.F) {
	f.Add("a\x10b\x1b[112;5:1u\x1b[112;5:3u\x1b[113;5u", uint(9))
	f.Add("\x1b[112;5u\x1b[99\x1b[112;5u", uint(3))
	f.Fuzz(func(t *testing.T, in string, cut uint) {
		whole, err := io.ReadAll(NewLeaving(&chunks{[]string{in + "."}}, []byte{16, 17}))
		if err == nil && string(whole) != in+"." || !strings.HasPrefix(in+".", string(whole)) {
			t.Fatalf("%q: got %q, %v", in, whole, err)
		}
		at := int(cut % uint(len(in)+1))
		if at > 0 && in[at-1] == 0x1b || at > 1 && in[at-2:at] == "\x1b[" {
			return
		}
		halves, cutErr := io.ReadAll(NewLeaving(&chunks{[]string{in[:at], in[at:] + "."}}, []byte{16, 17}))
		if !bytes.Equal(halves, whole) || errors.Is(cutErr, ErrDetached) != errors.Is(err, ErrDetached) {
			t.Fatalf("%q: cut at %d: got %q, %v, want %q, %v", in, at, halves, cutErr, whole, err)
		}
	})
}

// deaf is a terminal whose program reads nothing until it is woken.
type deaf struct {
	keyboard
	awake chan struct{}
}

func (d *deaf) Write(p []byte) (int, error) {
	<-d.awake
	return d.keyboard.Write(p)
}

// Who has pasted a large text into an agent that reads nothing sees what it prints, and can leave;
// what was pasted is there when the agent reads.
func TestLeavingAnAgentThatReadsNothing(t *testing.T) {
	d := &deaf{awake: make(chan struct{})}
	h := NewHub(d, Size{80, 24})
	wake := sync.OnceFunc(func() { close(d.awake) })
	t.Cleanup(func() { wake(); h.Close() })
	a := look(t, h, Size{80, 24}, nil)
	h.Output([]byte("here"))
	a.shows("here")
	text := strings.Repeat("0123456789abcdef", 64<<10)
	a.send(text)
	h.Output([]byte("\r\nstill here"))
	a.shows("here", "still here")
	a.send("\x10\x11")
	select {
	case <-a.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it cannot be left")
	}
	if !errors.Is(a.err, ErrDetached) {
		t.Errorf("got %v", a.err)
	}
	wake()
	eventually(t, "what was pasted is lost", func() bool { return d.String() == text })
}

// What was pasted goes its way before one leaves, however slow that is: no more than a part of it in the time
// that is waited where nothing moves.
func TestLeavingBehindASlowPaste(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Repeat("0123456789abcdef", 64<<10)
		near, far := net.Pipe()
		var got strings.Builder
		read := make(chan struct{})
		go func() {
			defer close(read)
			for in := (&frames{r: far, limit: maxToGuest}); ; time.Sleep(lastKeys / 2) {
				k, content, err := in.next()
				if err != nil {
					return
				}
				if k == data {
					got.Write(content)
				}
			}
		}()
		sizes := make(chan Size, 1)
		sizes <- Size{80, 24}
		v := NewView(Options{Stdin: strings.NewReader(text + "\x10\x11"), Stdout: io.Discard, Size: sizes, DetachKeys: []byte{16, 17}})
		if _, err := v.Attach(t.Context(), near); !errors.Is(err, ErrDetached) {
			t.Errorf("got %v", err)
		}
		<-read
		if got.String() != text {
			t.Errorf("of %d bytes, %d were sent", len(text), got.Len())
		}
	})
}

// A paste without end stops at its bound, and holds nobody up: neither who leaves nor the end.
func TestAPasteWithoutEnd(t *testing.T) {
	d := &deaf{awake: make(chan struct{})}
	h := NewHub(d, Size{80, 24})
	t.Cleanup(func() { close(d.awake); h.Close() })
	a := look(t, h, Size{80, 24}, nil)
	h.Output([]byte("here"))
	a.shows("here")
	for range 3 {
		a.send(strings.Repeat("x", maxTyped))
	}
	h.mu.Lock()
	if len(h.keys) > maxTyped {
		t.Errorf("the guest holds %d bytes", len(h.keys))
	}
	h.mu.Unlock()
	a.send("\x10\x11")
	select {
	case <-a.ended:
	case <-time.After(20 * time.Second):
		t.Error("it cannot be left")
	}
}

// A query that an agent repeats and never reads the answer of takes no room.
func TestAnswersThatNobodyReads(t *testing.T) {
	d := &deaf{awake: make(chan struct{})}
	h := NewHub(d, Size{80, 24})
	t.Cleanup(func() { close(d.awake); h.Close() })
	for range 20 {
		h.Output(bytes.Repeat([]byte("\x1b[c"), 10<<10))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.keys) > maxToGuest || len(h.answers) > 2*maxToGuest {
		t.Errorf("it holds %d and %d bytes", len(h.keys), len(h.answers))
	}
}
