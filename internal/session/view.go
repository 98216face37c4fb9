package session

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// Options of a View: the operator's terminal, and what the operator wants of the session.
type Options struct {
	Stdin  io.Reader
	Stdout io.Writer
	Size   <-chan Size // at once, then at every change

	DetachKeys []byte           // leave; none if empty
	Allow      []terminal.Allow // what may reach beyond the screen
	ReadOnly   bool             // types nothing
	Only       bool             // nobody else types meanwhile
	Colours    bool             // the terminal can be asked for its colours
	History    int              // lines of what has scrolled off
	First      bool             // has launched the session: wants all from its first byte
}

// ErrDetached says that the operator typed the detach keys.
var ErrDetached = errors.New("detached")

// ErrLost says that the stream ended before the session.
var ErrLost = errors.New("lost the connection to the session, which goes on")

// View shows a session on a terminal. It may be attached several times, one after the other:
// when a stream was lost, and another takes over.
type View struct {
	o       Options
	filter  *terminal.Filter
	typed   *typed
	palette *palette // nil if the terminal is not asked
	detach  chan error
	size    Size
	again   bool
}

// NewView begins to read the terminal. That read cannot be ended: it stays behind until the
// process ends, and what it gets goes nowhere.
func NewView(o Options) *View {
	v := &View{o: o, filter: terminal.NewFilter(o.Allow...), typed: newTyped(), detach: make(chan error, 1)}
	if o.Colours && !o.ReadOnly && o.Stdin != nil && !slices.Contains(o.Allow, terminal.Answers) {
		v.palette = newPalette(o.Stdin)
		v.o.Stdin = v.palette
		_, _ = io.WriteString(o.Stdout, askColours)
	}
	if o.Stdin != nil {
		go v.read()
	}
	return v
}

func (v *View) read() {
	in := io.Reader(NewLeaving(v.o.Stdin, v.o.DetachKeys))
	if v.o.ReadOnly { // ctrl-C has nobody else to go to
		in = NewLeaving(in, []byte{0x03})
	}
	buffer := make([]byte, 16<<10)
	for {
		n, err := in.Read(buffer)
		if n > 0 && !v.o.ReadOnly {
			v.typed.add(buffer[:n])
		}
		if err != nil { // it was left, or is gone
			v.detach <- ErrDetached
			return
		}
	}
}

// lastKeys is how long who leaves waits for what was typed before while nothing of it is sent.
const lastKeys = time.Second

// leave ends ctx once the operator has left.
func (v *View) leave(ctx context.Context, cancel context.CancelCauseFunc) {
	var err error
	select {
	case err = <-v.detach:
	case <-ctx.Done():
		return
	}
	left := time.Now()
	for patience := lastKeys; patience > 0 && !v.typed.empty(); patience = lastKeys - v.typed.still(left) {
		select {
		case <-v.typed.emptied:
		case <-time.After(patience):
		case <-ctx.Done():
			v.detach <- err // for the next stream
			return
		}
	}
	cancel(err)
}

// Leave writes what puts the terminal back, whatever the session did to it.
func (v *View) Leave() {
	if v.palette != nil {
		v.palette.await() // or its answer would be typed to a shell
	}
	_, _ = v.o.Stdout.Write(v.filter.Leave())
}

// Attach shows the session on the other end of stream until it ends, and returns how the
// other end says that it did: believe it in nothing else. Otherwise the error is ErrDetached,
// ErrLost or ctx's.
func (v *View) Attach(ctx context.Context, stream io.ReadWriteCloser) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { _ = stream.Close() })()
	out := &locked{w: stream}
	if err := v.greet(ctx, out); err != nil {
		return 0, err
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel(nil)
	sending.Go(func() { v.send(ctx, out) })
	sending.Go(func() { v.leave(ctx, cancel) })
	status, err := v.show(stream, out)
	if cause := context.Cause(ctx); cause != nil {
		return 0, cause
	}
	return status, err
}

// locked writes one frame at a time.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) put(k kind, content []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if writeFrame(l.w, k, content) != nil {
		return ErrLost
	}
	return nil
}

// greet says who looks, once the size is known.
func (v *View) greet(ctx context.Context, out *locked) error {
	if v.size == (Size{}) && v.o.Size != nil {
		select {
		case v.size = <-v.o.Size:
		case err := <-v.detach:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	g := greeting{
		Width: v.size.Width, Height: v.size.Height, Typing: everybody, History: v.o.History, First: v.o.First && !v.again,
		Colours: v.palette != nil,
		Answers: slices.Contains(v.o.Allow, terminal.Answers), Title: slices.Contains(v.o.Allow, terminal.Title),
	}
	if v.again {
		g.History = 0
	}
	v.again = true
	switch {
	case v.o.ReadOnly:
		g.Typing, g.Answers = nobody, false
	case v.o.Only:
		g.Typing = alone
	}
	content, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return out.put(hello, content)
}

// send passes on what is typed, and sizes, until the stream is lost, which show sees as well.
func (v *View) send(ctx context.Context, out *locked) {
	signal(v.typed.more) // of before, maybe
	known := v.known()
	for {
		var err error
		select {
		case <-v.typed.more:
			if keys := v.typed.first(); len(keys) > 0 {
				if err = out.put(data, keys); err == nil {
					v.typed.done(len(keys))
				}
			}
		case <-known:
			known, err = nil, out.put(colour, v.palette.content())
		case s, ok := <-v.o.Size:
			if !ok {
				v.o.Size = nil
				continue
			}
			v.size = s
			err = out.put(size, s.content())
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// show draws what comes, and says how much of it was drawn.
func (v *View) show(stream io.Reader, out *locked) (int, error) {
	in := &frames{r: stream, limit: maxToHost}
	for {
		k, content, err := in.next()
		if errors.Is(err, errFrame) {
			return 0, err
		}
		if err != nil {
			return 0, ErrLost
		}
		switch k {
		case paint:
			v.filter.Restart()
			fallthrough
		case data:
			if _, err := v.o.Stdout.Write(v.filter.Pass(content)); err != nil {
				return 0, ErrDetached // nobody is there to see it
			}
			if err := out.put(shown, numberContent(uint64(len(content)))); err != nil {
				return 0, err
			}
		case rights:
		case exit:
			status, err := number(content)
			return int(status & 0xff), err
		default:
			return 0, errFrame
		}
	}
}
