package session

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// An agent asks its terminal whether it is dark, and draws accordingly. The bottle answers; the
// operator's terminal is asked by us, and nothing but six numbers goes into the bottle.

// askColours has a terminal tell its colours, of what is drawn and of what is behind it.
const askColours = "\x1b]10;?\x1b\\\x1b]11;?\x1b\\"

// How long an answer is waited for.
const (
	answerWithin = 250 * time.Millisecond // by who leaves
	viewerComes  = 2 * time.Second        // by an agent that asks before its operator is there
	viewerTells  = 300 * time.Millisecond // and then
	answerAtAll  = 5 * time.Second        // later it is taken for what somebody typed
)

// palette reads what is typed on a terminal that was asked for its colours, less its answers.
type palette struct {
	in      io.Reader
	asked   time.Time
	ready   []byte
	partial []byte
	err     error

	mu     sync.Mutex
	parts  map[string]terminal.RGB // by the number of the command
	told   chan struct{}           // closed when both are there
	buffer []byte
}

func newPalette(in io.Reader) *palette {
	return &palette{in: in, asked: time.Now(), parts: map[string]terminal.RGB{}, told: make(chan struct{}), buffer: make([]byte, 16<<10)}
}

var (
	colourAnswer = regexp.MustCompile(`\x1b\](1[01]);rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})(?:/[0-9a-fA-F]{1,4})?(?:\x07|\x1b\\)`)
	answerBegun  = regexp.MustCompile(`\x1b\](?:1(?:[01](?:;[rgba0-9A-Fa-f:/]{0,32}\x1b?)?)?)?$`)
)

// Read implements io.Reader.
func (p *palette) Read(b []byte) (int, error) {
	for len(p.ready) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		n, err := p.in.Read(p.buffer)
		p.ready, p.partial, p.err = append(p.partial, p.buffer[:n]...), nil, err
		if p.expects() {
			p.take()
		}
	}
	n := copy(b, p.ready)
	p.ready = p.ready[n:]
	return n, nil
}

func (p *palette) expects() bool { return time.Since(p.asked) < answerAtAll && !closed(p.told) }

// take takes answers out of what was read. One that has begun is kept back until it is whole.
func (p *palette) take() {
	p.ready = colourAnswer.ReplaceAllFunc(p.ready, func(answer []byte) []byte {
		m := colourAnswer.FindSubmatch(answer)
		if !p.note(string(m[1]), terminal.RGB{R: part(m[2]), G: part(m[3]), B: part(m[4])}) {
			return answer
		}
		return nil
	})
	if at := answerBegun.FindIndex(p.ready); at != nil && p.err == nil && p.expects() {
		p.ready, p.partial = p.ready[:at[0]], bytes.Clone(p.ready[at[0]:])
	}
}

// part of a colour, of one to four digits.
func part(digits []byte) uint8 {
	n, _ := strconv.ParseUint(string(digits), 16, 16) // the pattern has only such
	return uint8(n * 255 / (1<<(4*len(digits)) - 1))
}

// note takes one of the two answers down, once.
func (p *palette) note(number string, c terminal.RGB) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.parts[number]; known {
		return false
	}
	if p.parts[number] = c; len(p.parts) == 2 {
		close(p.told)
	}
	return true
}

// await waits until the terminal has answered, if it still may.
func (p *palette) await() {
	select {
	case <-p.told:
	case <-time.After(answerWithin - time.Since(p.asked)):
	}
}

// content is what is told of the colours.
func (p *palette) content() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	ink, paper := p.parts["10"], p.parts["11"]
	return []byte{ink.R, ink.G, ink.B, paper.R, paper.G, paper.B}
}

// known is closed once the terminal's colours are known; nil if it is not asked.
func (v *View) known() <-chan struct{} {
	if v.palette == nil {
		return nil
	}
	return v.palette.told
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// coloured takes a viewer's colours over.
func (v *viewer) coloured(content []byte) bool {
	if len(content) != 6 {
		return false
	}
	h := v.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.Colours && v.Typing != nobody && !v.Watch {
		h.screen.Scheme = terminal.Scheme{Ink: terminal.RGB{R: content[0], G: content[1], B: content[2]}, Paper: terminal.RGB{R: content[3], G: content[4], B: content[5]}}
	}
	h.schemed, v.Colours = true, false
	h.changed.Broadcast()
	return true
}

// asksColours reports whether what an agent prints asks for its terminal's colours.
func asksColours(p []byte) bool {
	return bytes.Contains(p, []byte("\x1b]10;?")) || bytes.Contains(p, []byte("\x1b]11;?")) || bytes.Contains(p, []byte("\x1b[?996n"))
}

// Await says that an operator is on the way, whose colours an agent that asks for them at once
// may wait for.
func (h *Hub) Await() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.awaited = true
}

// awaitColours waits for the first viewer to tell its colours, once.
func (h *Hub) awaitColours() {
	h.waitWhile(viewerComes, func() bool { return h.awaited && !h.looked })
	h.waitWhile(viewerTells, h.tells)
	h.schemed = true
}

// waitWhile waits while something is so that a viewer changes, and no colours are known.
func (h *Hub) waitWhile(atMost time.Duration, so func() bool) {
	over := false
	timer := time.AfterFunc(atMost, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		over = true
		h.changed.Broadcast()
	})
	defer timer.Stop()
	for !over && !h.schemed && !h.closed && so() {
		h.changed.Wait()
	}
}

// tells reports whether a viewer is asking its terminal.
func (h *Hub) tells() bool {
	for _, v := range h.viewers {
		if v.Colours {
			return true
		}
	}
	return false
}
