package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// keyboard is the terminal behind a Hub: it notes what is typed, and its sizes.
type keyboard struct {
	mu    sync.Mutex
	typed bytes.Buffer
	sizes []Size
}

func (k *keyboard) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.typed.Write(p)
}

func (k *keyboard) Resize(s Size) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sizes = append(k.sizes, s)
}

func (k *keyboard) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.typed.String()
}

func newTestHub(t *testing.T) (*Hub, *keyboard) {
	t.Helper()
	k := &keyboard{}
	h := NewHub(k, Size{80, 24})
	t.Cleanup(h.Close)
	return h, k
}

// glass is an operator's terminal that shows a session.
type glass struct {
	t      *testing.T
	mu     sync.Mutex
	screen *terminal.Screen
	stuck  chan struct{} // reads of it block what is shown; nil for never
	keys   *io.PipeWriter
	sizes  chan Size
	cut    func() error
	status int
	err    error
	ended  chan struct{}
}

func (g *glass) Write(p []byte) (int, error) {
	if g.stuck != nil {
		<-g.stuck
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.screen.Write(p)
}

func (g *glass) text() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.screen.Text()
}

// look attaches a terminal to a session.
func look(t *testing.T, h *Hub, s Size, change func(*Options, *glass)) *glass {
	t.Helper()
	in, keys := io.Pipe()
	g := &glass{t: t, screen: terminal.NewScreen(int(s.Width), int(s.Height), nil), keys: keys, sizes: make(chan Size, 4), ended: make(chan struct{})}
	g.sizes <- s
	o := Options{Stdin: in, Stdout: g, Size: g.sizes, DetachKeys: []byte{16, 17}, History: 100}
	if change != nil {
		change(&o, g)
	}
	near, far := net.Pipe()
	g.cut = near.Close
	var serving sync.WaitGroup
	serving.Go(func() { h.Serve(far) })
	go func() {
		defer close(g.ended)
		g.status, g.err = NewView(o).Attach(t.Context(), near)
		_ = near.Close()
	}()
	t.Cleanup(func() { _ = near.Close(); <-g.ended; serving.Wait() })
	return g
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func (g *glass) shows(want ...string) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("it does not show %q", want), func() bool {
		text := g.text()
		for i, line := range want {
			if text[i] != line {
				return false
			}
		}
		return true
	})
}

func (g *glass) send(keys string) { _, _ = io.WriteString(g.keys, keys) }

// Who comes sees the screen as it is, with what has scrolled off, and goes on with it.
func TestAttachShowsTheScreen(t *testing.T) {
	h, _ := newTestHub(t)
	h.Output([]byte(strings.Repeat("old\r\n", 30) + "\x1b[2J\x1b[Hhello\r\n\x1b[1mbold"))
	g := look(t, h, Size{80, 24}, nil)
	g.shows("hello", "bold")
	h.Output([]byte(" more"))
	g.shows("hello", "bold more")
	g.mu.Lock()
	if history := g.screen.History(100); len(history) < 7 || history[0] != "old" {
		t.Errorf("what scrolled off is %q", history)
	}
	g.mu.Unlock()
	h.Output([]byte("\x1b[?1049h\x1b[2;2Halt"))
	second := look(t, h, Size{80, 24}, nil)
	second.shows("", " alt")
	h.Output([]byte("\x1b[?1049l"))
	second.shows("hello", "bold more") // it has the screen behind, too
}

// The one who launches it gets all from the first byte, as it was printed.
func TestFirstGetsEveryByte(t *testing.T) {
	h, _ := newTestHub(t)
	h.Output([]byte("\x1b]0;title\x07first"))
	var raw bytes.Buffer
	near, far := net.Pipe()
	go h.Serve(far)
	go func() {
		_ = writeFrame(near, hello, []byte(`{"width":80,"height":24,"typing":"all","first":true}`))
	}()
	in := &frames{r: near, limit: maxToHost}
	for !strings.Contains(raw.String(), "first") {
		k, content, err := in.next()
		if err != nil || k == paint {
			t.Fatalf("got %c, %v", k, err)
		}
		if k == data {
			raw.Write(content)
		}
	}
	if raw.String() != "\x1b]0;title\x07first" {
		t.Errorf("got %q", raw.String())
	}
	_ = near.Close()
}

// Everybody types; the size is that of who typed last; one may type alone.
func TestTypingAndSizes(t *testing.T) {
	h, k := newTestHub(t)
	a := look(t, h, Size{100, 30}, nil)
	eventually(t, "the first does not size it", func() bool { s, _ := h.Drawn(); return s == Size{100, 30} })
	b := look(t, h, Size{60, 20}, nil)
	h.Output([]byte("x"))
	b.shows("x")
	if s, _ := h.Drawn(); s != (Size{100, 30}) {
		t.Errorf("who only looks has changed the size: %v", s)
	}
	b.send("b")
	eventually(t, "the size does not follow", func() bool { s, _ := h.Drawn(); return s == Size{60, 20} && k.String() == "b" })
	a.send("a")
	eventually(t, "the size does not come back", func() bool { s, _ := h.Drawn(); return s == Size{100, 30} && k.String() == "ba" })
	a.sizes <- Size{90, 25}
	eventually(t, "a change is not passed on", func() bool { s, _ := h.Drawn(); return s == Size{90, 25} })
	reader := look(t, h, Size{50, 10}, func(o *Options, _ *glass) { o.ReadOnly = true })
	reader.shows("x")
	reader.send("never")
	only := look(t, h, Size{90, 25}, func(o *Options, _ *glass) { o.Only = true })
	only.shows("x")
	only.send("o")
	eventually(t, "who types alone does not", func() bool { return k.String() == "bao" })
	h.mu.Lock()
	for _, v := range h.viewers {
		if v.may != (v.Typing == alone) {
			t.Errorf("%s: may type: %t", v.Typing, v.may)
		}
	}
	h.mu.Unlock()
	_ = only.cut()
	eventually(t, "rights do not come back", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.viewers) == 3
	})
	a.send("!")
	eventually(t, "rights do not come back: "+k.String(), func() bool { return k.String() == "bao!" })
}

// Detach keys leave, a cut stream is lost, and the session goes on.
func TestLeaving(t *testing.T) {
	h, k := newTestHub(t)
	a, b := look(t, h, Size{80, 24}, nil), look(t, h, Size{80, 24}, nil)
	h.Output([]byte("here"))
	a.shows("here")
	b.shows("here")
	a.send("x\x10\x11")
	if <-a.ended; !errors.Is(a.err, ErrDetached) {
		t.Errorf("got %v", a.err)
	}
	_ = b.cut()
	if <-b.ended; !errors.Is(b.err, ErrLost) {
		t.Errorf("got %v", b.err)
	}
	if k.String() != "x" {
		t.Errorf("typed: %q", k.String())
	}
	c := look(t, h, Size{80, 24}, nil)
	c.shows("here")
	go h.End(7, false, time.Minute)
	if <-c.ended; c.err != nil || c.status != 7 {
		t.Errorf("got %d, %v", c.status, c.err)
	}
}

// A viewer that shows nothing holds up neither the agent nor another viewer, and then sees
// the screen as it is.
func TestASlowViewerIsSkipped(t *testing.T) {
	h, _ := newTestHub(t)
	stuck := make(chan struct{})
	slow := look(t, h, Size{80, 24}, func(_ *Options, g *glass) { g.stuck = stuck })
	fast := look(t, h, Size{80, 24}, nil)
	chunk := bytes.Repeat([]byte("y, and so on for a while\r\n"), 2000)
	for range 100 {
		h.Output(chunk) // returns at once, or the test does not end
	}
	h.Output([]byte("\x1b[2J\x1b[Hthe end"))
	fast.shows("the end", "")
	h.mu.Lock()
	for _, v := range h.viewers {
		if len(v.pending)+v.inFlight > window+maxPaint {
			t.Errorf("%d bytes wait for a viewer", len(v.pending)+v.inFlight)
		}
	}
	h.mu.Unlock()
	close(stuck)
	slow.shows("the end", "")
}

// A smaller terminal shows the part that the cursor is in, not lines that wrap.
func TestASmallerViewer(t *testing.T) {
	h, _ := newTestHub(t)
	big := look(t, h, Size{80, 24}, nil)
	h.Output([]byte("x"))
	big.shows("x")
	small := look(t, h, Size{20, 5}, func(o *Options, _ *glass) { o.ReadOnly = true })
	h.Output([]byte("\x1b[2J\x1b[1;1H" + strings.Repeat("0123456789", 8) + "\x1b[2;1Hsecond"))
	small.shows("01234567890123456789", "second")
	h.Output([]byte("\x1b[20;1Hbelow"))
	small.shows("", "", "", "", "below")
}

// What the program asks is answered from the screen, and the operator's terminal is not
// asked; unless it is to be.
func TestAnswersComeFromTheScreen(t *testing.T) {
	h, k := newTestHub(t)
	h.Output([]byte("ab\x1b[6n\x1b[c"))
	eventually(t, "no answer: "+k.String(), func() bool { return k.String() == "\x1b[1;3R\x1b[?62;22c" })
	g := look(t, h, Size{80, 24}, func(o *Options, _ *glass) { o.Allow = []terminal.Allow{terminal.Answers} })
	g.shows("ab")
	h.Output([]byte("\x1b[6n"))
	g.send("\x1b[1;1R")
	eventually(t, "it is not the terminal's: "+k.String(), func() bool { return strings.HasSuffix(k.String(), "\x1b[?62;22c\x1b[1;1R") })
}

// A dashboard looks without being a viewer, time and again on one stream.
func TestWatch(t *testing.T) {
	h, k := newTestHub(t)
	h.Output([]byte("\x1b]0;a title\x07\x1b[31mone\r\ntwo\x1b]52;c;AAAA\x07"))
	near, far := net.Pipe()
	go h.Serve(far)
	w := Watch(near)
	first, err := w.Snapshot(t.Context())
	if err != nil || !first.Changed || first.State != Working || first.LastLine != "two" || first.Title != "a title" || first.Width != 80 || first.Height != 24 {
		t.Fatalf("got %+v, %v", first, err)
	}
	if runs := first.Screen.Line(0); len(runs) != 1 || runs[0].Text != "one" || runs[0].Style.Fg != 2 {
		t.Errorf("got %+v", runs)
	}
	if again, err := w.Snapshot(t.Context()); err != nil || again.Changed || again.LastLine != "two" {
		t.Errorf("got %+v, %v", again, err)
	}
	g := look(t, h, Size{70, 20}, nil) // sizes it: who watches does not
	g.shows("one")
	if resized, err := w.Snapshot(t.Context()); err != nil || resized.Width != 70 {
		t.Errorf("got %+v, %v", resized, err)
	}
	if k.String() != "" {
		t.Errorf("typed: %q", k.String())
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.Snapshot(t.Context()); err == nil {
		t.Error("a closed one answered")
	}
}

func TestStates(t *testing.T) {
	for want, r := range map[State][]report{
		Working: {{Quiet: 100}, {Quiet: 1900, Worked: true}},
		Waiting: {{Quiet: 5000, Worked: true}, {Quiet: 5000, Rang: true}},
		Idle:    {{Quiet: 5000}, {Quiet: 40 * 60 * 1000, Worked: true}},
		Exited:  {{Ended: true}},
	} {
		for _, r := range r {
			if got := r.state(); got != want {
				t.Errorf("%+v: got %s, want %s", r, got, want)
			}
		}
	}
}

// Attack H1: a guest that the agent has taken over speaks to the operator's side of the
// session itself: frames without end, of every kind, with sequences that reach beyond the
// screen, halves of them across frames, screens that are none.
func TestAttackH1_TheGuestIsHostile(t *testing.T) {
	evil := "\x1b]52;c;ZWNobw==\x07\x1b[6n\x1b[c\x1b]0;bot-bottle\x07\x1bPq\x1b\\\x9b6n"
	for name, say := range map[string]func(io.Writer){
		"output":     func(w io.Writer) { _ = writeFrame(w, data, []byte(evil)) },
		"a snapshot": func(w io.Writer) { _ = writeFrame(w, paint, []byte(evil)) },
		"in halves": func(w io.Writer) {
			_, _ = writeFrame(w, data, []byte("\x1b]52;c;")), writeFrame(w, data, []byte("AAAA\x07"))
		},
		"across both": func(w io.Writer) {
			_, _ = writeFrame(w, data, []byte("\x1b]52;")), writeFrame(w, paint, []byte("c;AAAA\x07"))
		},
		"no frame":   func(w io.Writer) { _, _ = io.WriteString(w, "what?") },
		"a long one": func(w io.Writer) { _ = binary.Write(w, binary.BigEndian, uint32('D')<<24|maxToHost) },
		"facts":      func(w io.Writer) { _ = writeFrame(w, facts, []byte("{}")) },
		"a bad end":  func(w io.Writer) { _ = writeFrame(w, exit, []byte("x")) },
	} {
		var shownThere bytes.Buffer
		near, far := net.Pipe()
		go func() {
			go func() { _, _ = io.Copy(io.Discard, far) }()
			say(far)
			_ = far.Close()
		}()
		sizes := make(chan Size, 1)
		sizes <- Size{80, 24}
		view := NewView(Options{Stdout: &shownThere, Size: sizes})
		if _, err := view.Attach(t.Context(), near); err == nil {
			t.Errorf("%s: it ended well", name)
		}
		view.Leave()
		for _, bad := range []string{"\x1b]5", "\x1b]0", "\x1b[6n", "\x1b[c", "\x1bP", "\x9b"} {
			if strings.Contains(shownThere.String(), bad) {
				t.Errorf("%s: got %q", name, shownThere.String())
			}
		}
	}
}

// And a watcher of it gets text, whatever it sends.
func TestAttackH1_AWatchedGuestIsHostile(t *testing.T) {
	for _, content := range []string{
		`{"width":4000000000,"height":4000000000,"version":1,"title":"\u001b]52;c;AAAA\u0007\u009b6n\u202e","screen":"` + "G1s2bhtdNTI7YztBQUFBBw==" + `"}`,
		`{"quiet_ms":-9223372036854775808,"version":18446744073709551615,"screen":"/w=="}`, `[]`, `{"screen":7}`, `nonsense`,
	} {
		near, far := net.Pipe()
		go func() {
			in := &frames{r: far, limit: maxToGuest}
			_, _, _ = in.next()
			_, _, _ = in.next()
			_ = writeFrame(far, facts, []byte(content))
			_, _ = io.Copy(io.Discard, far)
		}()
		s, err := Watch(near).Snapshot(t.Context())
		_ = near.Close()
		if err != nil {
			continue
		}
		for _, text := range append(s.Screen.Text(), s.Title, s.LastLine) {
			if strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x202e }) {
				t.Errorf("%s: got %q", content, text)
			}
		}
	}
}

// The guest's side takes nothing for granted either.
func FuzzServe(f *testing.F) {
	frame := func(k kind, content string) string {
		var b bytes.Buffer
		_ = writeFrame(&b, k, []byte(content))
		return b.String()
	}
	f.Add([]byte(frame(hello, `{"width":80,"height":24,"typing":"all"}`) + frame(data, "x") + frame(size, "\x00\x01\xff\xff") + frame(shown, "\xff\xff\xff\xff\xff\xff\xff\xff") + frame(ask, "12345678")))
	f.Add([]byte(frame(hello, `{"width":0,"height":99999999999,"typing":"only","history":-1}`)))
	f.Fuzz(func(t *testing.T, in []byte) {
		h := NewHub(&keyboard{}, Size{80, 24})
		near, far := net.Pipe()
		var work sync.WaitGroup
		work.Go(func() { h.Serve(far) })
		work.Go(func() { _, _ = io.Copy(io.Discard, near) })
		h.Output(in)
		_, _ = near.Write(in)
		h.Output([]byte("more"))
		_ = near.Close()
		h.Close()
		work.Wait()
	})
}

// A transcript plays to the same screen, however much was printed.
func TestRecord(t *testing.T) {
	h, _ := newTestHub(t)
	var out bytes.Buffer
	var recording sync.WaitGroup
	h.Output([]byte("first é"))
	recording.Go(h.NewRecorder(&out, "xterm").Run)
	eventually(t, "nothing is recorded", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.viewers) == 1 && len(h.viewers[0].pending) == 0
	})
	for range 100 {
		h.Output(bytes.Repeat([]byte("漢字 and a great deal more\r\n"), 2000))
	}
	h.Output([]byte("\x1b[2J\x1b[H\x1b[1mlast"))
	h.End(0, false, 20*time.Second)
	recording.Wait()
	if out.Len() > 4<<20 {
		t.Errorf("5 MB became %d bytes", out.Len())
	}
	var kept, text bytes.Buffer
	err := Keep(&out, &kept, "x-aaaaaa", func([]byte) ([][2]int, error) { return nil, nil })
	if err := errors.Join(err, Text(bytes.NewReader(kept.Bytes()), &text)); err != nil || !strings.Contains(kept.String(), `"first é`) || !strings.HasSuffix(text.String(), "last\n") {
		t.Errorf("got %.100q, %v", text.String(), err)
	}
	s := terminal.NewScreen(80, 24, nil)
	if err := Play(t.Context(), bytes.NewReader(kept.Bytes()), s, 0); err != nil {
		t.Error(err)
	}
	if got := s.Text()[0]; got != "last" {
		t.Errorf("played, it shows %q", got)
	}
}

// Secrets are masked across events; what is no transcript is left out; what was cut begins
// at a whole screen; and playing is filtered.
func TestKeep(t *testing.T) {
	cast := `[0.1,"o","a half of it"]` + "\n" + `[1.0,"r","90x30"]` + "\n" + `[1.1,"o","my sec"]` + "\nnonsense\n" + `[1.2,"o","ret and \u001b]52;c;AAAA\u0007"]` + "\n" + `[1.3,"i","typed"]` + "\n" + `[-1,"o","x"]` + "\n" + `[1.4,"o","cut`
	var kept bytes.Buffer
	hide := func(data []byte) ([][2]int, error) {
		at := bytes.Index(data, []byte("secret"))
		return [][2]int{{at, at + 6}, {-5, -1}, {1 << 40, 1 << 41}}, nil
	}
	if err := Keep(strings.NewReader(cast), &kept, "x-aaaaaa", hide); err != nil {
		t.Fatal(err)
	}
	got := kept.String()
	if strings.Contains(got, "half") || strings.Contains(got, "sec") || strings.Contains(got, "ret") || strings.Contains(got, "typed") || strings.Contains(got, "nonsense") || !strings.Contains(got, `"my ***"`) || !strings.Contains(got, `"*** and`) {
		t.Errorf("got %s", got)
	}
	var played bytes.Buffer
	if err := Play(t.Context(), &kept, &played, 0); err != nil || !strings.HasPrefix(played.String(), "my ****** and ") || strings.Contains(played.String(), "]52") {
		t.Errorf("got %q, %v", played.String(), err)
	}
	if err := Keep(strings.NewReader(cast), io.Discard, "", func([]byte) ([][2]int, error) { return nil, errors.New("no") }); err == nil {
		t.Error("what could not be searched was kept")
	}
}

// A frame that is announced takes no memory until it comes.
func TestFramesAreRead(t *testing.T) {
	var b bytes.Buffer
	if err := errors.Join(writeFrame(&b, data, []byte("content")), writeFrame(&b, shown, numberContent(9))); err != nil {
		t.Fatal(err)
	}
	in := &frames{r: &b, limit: 100}
	for _, want := range []outgoing{{data, []byte("content")}, {shown, numberContent(9)}} {
		if k, content, err := in.next(); err != nil || k != want.kind || !reflect.DeepEqual(content, want.content) {
			t.Errorf("got %c %q %v", k, content, err)
		}
	}
	_ = binary.Write(&b, binary.BigEndian, uint32('D')<<24|101)
	if _, _, err := in.next(); !errors.Is(err, errFrame) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewView(Options{Stdout: io.Discard}).Attach(ctx, nopStream{}); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
}

type nopStream struct{}

func (nopStream) Read([]byte) (int, error)    { return 0, io.EOF }
func (nopStream) Write(p []byte) (int, error) { return len(p), nil }
func (nopStream) Close() error                { return nil }

// A transcript as text has what a smaller terminal had no room for.
func TestTextKeepsWhatASmallerTerminalHasNoRoomFor(t *testing.T) {
	cast := `{"version":2,"width":20,"height":4}` + "\n" + `[0.1,"o","one\r\ntwo\r\nthree\r\nfour"]` + "\n" + `[0.2,"r","20x2"]` + "\n" + `[0.3,"o","\u001b[H\u001b[2Jthree\r\nfour"]` + "\n" + `[0.4,"r","20x9"]` + "\n" + `[0.5,"o","\r\nfive"]` + "\n"
	var text bytes.Buffer
	if err := Text(strings.NewReader(cast), &text); err != nil || text.String() != "one\ntwo\nthree\nfour\nfive\n" {
		t.Errorf("got %q, %v", text.String(), err)
	}
}

// Who only looks types nothing, and neither side relies on the other for it: the host's sends no
// key, and the guest takes none.
func TestReadOnlyIsKeptOnBothSides(t *testing.T) {
	h, k := newTestHub(t)
	near, far := net.Pipe()
	served := make(chan struct{})
	go func() { defer close(served); h.Serve(far) }()
	go func() { _, _ = io.Copy(io.Discard, near) }()
	if err := errors.Join(writeFrame(near, hello, []byte(`{"width":60,"height":20,"typing":"none"}`)), writeFrame(near, data, []byte("rm -rf /\r")), writeFrame(near, colour, []byte{1, 2, 3, 4, 5, 6}), near.Close()); err != nil {
		t.Fatal(err)
	}
	<-served
	h.mu.Lock()
	if len(h.keys) > 0 || k.String() != "" || h.screen.Scheme.Paper != (terminal.RGB{}) {
		t.Errorf("the guest took %q and %q, and the colours %v", h.keys, k.String(), h.screen.Scheme)
	}
	h.mu.Unlock()
	if s, _ := h.Drawn(); s != (Size{80, 24}) {
		t.Errorf("it has the size of who only looks: %v", s)
	}

	in, keys := io.Pipe()
	near, far = net.Pipe()
	ended := make(chan error)
	go func() {
		_, err := NewView(Options{Stdin: in, Stdout: io.Discard, ReadOnly: true}).Attach(t.Context(), near)
		ended <- err
	}()
	go func() { _, _ = io.WriteString(keys, "rm -rf /\r\x03") }()
	frames := &frames{r: far, limit: maxToGuest}
	for {
		k, content, err := frames.next()
		if err != nil {
			break
		}
		if k != hello {
			t.Errorf("the host sends %c %q", k, content)
		}
	}
	if err := <-ended; !errors.Is(err, ErrDetached) {
		t.Errorf("ctrl-C: got %v", err)
	}
}

// A title draws nothing on a dashboard's picture of the screen.
func TestATitleDrawsNothing(t *testing.T) {
	w := &Watcher{screen: terminal.NewScreen(80, 24, nil)}
	s := w.take(report{Width: 80, Height: 24, Title: "a\x1b\\\x1b[Happrove? [y/N]\x07", Screen: []byte("real")})
	if text := strings.Join(s.Screen.Text(), ""); text != "real" {
		t.Errorf("it shows %q", text)
	}
}

// An agent that was given a line, and has answered, waits for the next one, however quick it was.
// Half a line is the operator's turn still; what a terminal says by itself changes nothing.
func TestWhoseTurnItIs(t *testing.T) {
	for _, c := range []struct {
		what   string
		typed  []string
		output bool // comes then, at once
		after  string
		worked bool
	}{
		{"half a line, and its echo", []string{"he"}, true, "", false},
		{"a line", []string{"hello", "\r"}, false, "", false},
		{"a line, and its answer", []string{"hello", "\r"}, true, "", true},
		{"a line, its answer, and the terminal loses its focus", []string{"hello\r"}, true, "\x1b[O", true},
		{"a line, its answer, and half of another", []string{"hello\r"}, true, "x", false},
		{"a line, what the terminal answers, and the agent", []string{"hello\r", "\x1b[?62c"}, true, "", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			h, k := newTestHub(t)
			g := look(t, h, Size{80, 24}, nil)
			sent := ""
			send := func(keys string) {
				t.Helper()
				if sent += keys; keys != "" {
					g.send(keys)
				}
				eventually(t, "it was not typed: "+keys, func() bool { return k.String() == sent })
			}
			for _, keys := range c.typed {
				send(keys)
			}
			if c.output {
				h.Output([]byte("answer"))
			}
			send(c.after)
			near, far := net.Pipe()
			go h.Serve(far)
			w := Watch(near)
			defer func() { _ = w.Close() }()
			if r, err := w.ask(); err != nil || r.Worked != c.worked {
				t.Errorf("got %v, %v, want %v", r.Worked, err, c.worked)
			}
		})
	}
}
