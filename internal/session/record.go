package session

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// Bounds of a transcript as the guest writes it. What comes faster is left out: a snapshot
// stands for it.
const (
	recordRate  = 64 << 10 // bytes a second in the long run
	recordBurst = 1 << 20
	recordEvery = 50 * time.Millisecond // output of so long is one event
	keyEvery    = 256 << 10             // so much later comes a snapshot, from which a cut transcript can be read
)

// Recorder writes an asciicast (version 2) of a session.
type Recorder struct {
	hub     *Hub
	v       *viewer
	w       io.Writer
	header  map[string]any
	began   time.Time
	allowed float64 // bytes that may come at once
	last    time.Time
	since   int    // bytes since the last snapshot
	rest    []byte // of a character that has begun
}

// NewRecorder makes a Recorder of all that the agent prints from now on, and of what it
// printed before if no viewer has come yet. Run it.
func (h *Hub) NewRecorder(w io.Writer, term string) *Recorder {
	now := time.Now()
	s, _ := h.Drawn()
	r := &Recorder{hub: h, w: w, began: now, last: now, allowed: recordBurst}
	r.header = map[string]any{"version": 2, "width": s.Width, "height": s.Height, "timestamp": now.Unix(), "env": map[string]string{"TERM": term}}
	r.v = &viewer{greeting: greeting{Typing: nobody, First: true}, hub: h, put: r.put}
	h.admit(r.v)
	return r
}

// Run writes, an event a line, until the agent has ended. A writer that is slow gets less.
func (r *Recorder) Run() {
	if r.line(r.header) == nil {
		r.v.writeAll()
	}
	r.hub.dismiss(r.v)
}

func (r *Recorder) line(what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	_, err = r.w.Write(append(text, '\n'))
	return err
}

func (r *Recorder) event(code, text string) error {
	at := json.RawMessage(fmt.Sprintf("%.3f", time.Since(r.began).Seconds()))
	return r.line([]any{at, code, text})
}

func (r *Recorder) put(k kind, content []byte) (err error) {
	switch k {
	case paint:
		s, _ := r.hub.Drawn()
		r.rest, r.since = nil, 0
		err = r.event("r", fmt.Sprintf("%dx%d", s.Width, s.Height))
		fallthrough
	case data:
		if err == nil {
			err = r.output(content)
		}
		r.pace(len(content))
	}
	return err
}

// output writes whole characters, as JSON wants them.
func (r *Recorder) output(content []byte) error {
	content = append(r.rest, content...)
	n := len(content)
	for cut := 1; cut < utf8.UTFMax && cut <= n; cut++ {
		if c := content[n-cut]; utf8.RuneStart(c) {
			if !utf8.FullRune(content[n-cut:]) {
				n -= cut
			}
			break
		}
	}
	r.rest = append([]byte(nil), content[n:]...)
	r.since += n
	if n == 0 {
		return nil
	}
	return r.event("o", string(content[:n]))
}

// pace waits until more may be written, and then lets more come.
func (r *Recorder) pace(n int) {
	now := time.Now()
	r.allowed = min(r.allowed+now.Sub(r.last).Seconds()*recordRate, recordBurst) - float64(n)
	r.last = now
	wait := recordEvery
	if r.allowed < 0 {
		wait = time.Duration(-r.allowed / recordRate * float64(time.Second))
	}
	select {
	case <-time.After(wait):
	case <-r.hub.ending:
	}
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.v.inFlight = 0
	if r.since > keyEvery && !r.hub.ended {
		r.v.fallBehind()
	}
}
