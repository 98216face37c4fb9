package session

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// State of an agent, as far as its terminal tells.
type State string

// States of an agent.
const (
	Working State = "working" // it prints
	Waiting State = "waiting" // it has printed since it was last typed to, and has stopped, or it rings
	Idle    State = "idle"    // it has had nothing to say for long, or since it was typed to
	Exited  State = "exited"
)

// Bounds of the states.
const (
	workingFor = 2 * time.Second  // after it last printed
	idleAfter  = 30 * time.Minute // of silence
)

// report is what the guest knows besides the screen, and the screen unless it is known.
type report struct {
	Width   uint   `json:"width"`
	Height  uint   `json:"height"`
	Version uint64 `json:"version"`
	Quiet   int64  `json:"quiet_ms"`
	Worked  bool   `json:"worked"` // it has printed since a line was given to it, or later than a second after it was last typed to
	Rang    bool   `json:"rang"`   // since then
	Ended   bool   `json:"ended,omitempty"`
	Status  int    `json:"status,omitempty"`
	Title   string `json:"title,omitempty"`
	Screen  []byte `json:"screen,omitempty"`
}

func (r report) state() State {
	quiet := time.Duration(r.Quiet) * time.Millisecond
	switch {
	case r.Ended:
		return Exited
	case quiet < workingFor:
		return Working
	case quiet < idleAfter && (r.Worked || r.Rang):
		return Waiting
	}
	return Idle
}

// Snapshot is a session's screen at an instant. Nothing in it can speak to a terminal: text
// and titles hold no controls.
type Snapshot struct {
	Width, Height int
	State         State
	Quiet         time.Duration // since it last printed
	Title         string        // as the agent chose it: never show it as ours
	LastLine      string
	Changed       bool // since the last Snapshot of the same Watcher
	// Screen is what the terminal shows, by lines and styles, or as text. It is the
	// Watcher's: read it before the next Snapshot.
	Screen *terminal.Screen
}

// Watcher asks a session for snapshots on one stream, as often as one likes, without being
// a viewer of it. It may be used concurrently.
type Watcher struct {
	mu     sync.Mutex
	stream io.ReadWriteCloser
	in     *frames
	screen *terminal.Screen
	known  uint64
	greets bool // still has to
}

// Watch makes a Watcher of a stream to a session. Close closes the stream.
func Watch(stream io.ReadWriteCloser) *Watcher {
	return &Watcher{stream: stream, in: &frames{r: stream, limit: maxToHost}, screen: terminal.NewScreen(80, 24, nil), greets: true}
}

// Close ends the stream.
func (w *Watcher) Close() error { return w.stream.Close() }

// Snapshot asks for the screen as it is now. After an error, the Watcher is of no more use.
func (w *Watcher) Snapshot(ctx context.Context) (Snapshot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer context.AfterFunc(ctx, func() { _ = w.stream.Close() })()
	r, err := w.ask()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return Snapshot{}, fmt.Errorf("cannot look at the session: %w", err)
	}
	return w.take(r), nil
}

func (w *Watcher) ask() (r report, err error) {
	if w.greets {
		content, err := json.Marshal(greeting{Watch: true, Typing: nobody})
		if err == nil {
			err = writeFrame(w.stream, hello, content)
		}
		if err != nil {
			return r, err
		}
		w.greets = false
	}
	if err := writeFrame(w.stream, ask, numberContent(w.known)); err != nil {
		return r, err
	}
	for {
		k, content, err := w.in.next()
		if err != nil {
			return r, err
		}
		if k == facts {
			return r, json.Unmarshal(content, &r)
		}
		if k != rights {
			return r, errFrame
		}
	}
}

// take draws what came on a screen of our own: whatever it was, it is text and styles then.
func (w *Watcher) take(r report) Snapshot {
	changed := len(r.Screen) > 0
	if changed {
		w.screen = terminal.NewScreen(int(min(r.Width, terminal.MaxWidth)), int(min(r.Height, terminal.MaxHeight)), nil)
		_, _ = w.screen.Write(r.Screen)
		_, _ = w.screen.Write([]byte("\x18\x1b\\\x1b]2;" + plainTitle(r.Title) + "\x1b\\"))
		w.known = r.Version
	}
	width, height := w.screen.Size()
	return Snapshot{
		Width: width, Height: height, State: r.state(), Quiet: max(0, time.Duration(min(r.Quiet, 1<<40))*time.Millisecond),
		Title: w.screen.Title, LastLine: w.screen.LastLine(), Changed: changed, Screen: w.screen,
	}
}

// plainTitle keeps a title from ending the sequence that it is put into; the screen takes
// only readable ones.
func plainTitle(s string) string {
	out := make([]rune, 0, min(len(s), 256))
	for _, r := range s {
		if r >= 0x20 && r != 0x7f && len(out) < 200 {
			out = append(out, r)
		}
	}
	return string(out)
}
