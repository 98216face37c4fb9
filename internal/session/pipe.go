package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Frames of an agent without a terminal, beside data (its input) and exit: what it writes, and
// the end of its input.
const (
	outputs kind = 'O'
	errs    kind = 'E'
	ends    kind = 'C'
)

// Pipe is an agent without a terminal as the guest keeps it. Until somebody has come, nothing
// that it writes is lost: it waits. Afterwards, what nobody is there for goes nowhere. Its
// methods may be called concurrently.
type Pipe struct {
	stdin io.WriteCloser // nil: it has none

	mu      sync.Mutex
	changed *sync.Cond
	viewer  io.ReadWriteCloser // the last who came; nil for nobody
	came    bool
}

// NewPipe makes a Pipe. With alone, nobody is waited for.
func NewPipe(stdin io.WriteCloser, alone bool) *Pipe {
	p := &Pipe{stdin: stdin, came: alone}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// Stdout and Stderr copy what the agent writes until it ends.
func (p *Pipe) Stdout(r io.Reader) { p.copy(outputs, r) }

// Stderr is Stdout's other.
func (p *Pipe) Stderr(r io.Reader) { p.copy(errs, r) }

func (p *Pipe) copy(k kind, r io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			p.say(k, buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

// say waits for the first who comes. One who does not read holds the agent up, as the reader of
// any pipe does.
func (p *Pipe) say(k kind, content []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.came {
		p.changed.Wait()
	}
	if p.viewer != nil && writeFrame(p.viewer, k, content) != nil {
		_ = p.viewer.Close()
		p.viewer = nil
	}
}

// Serve serves one who came until he goes. Who came before gets nothing more.
func (p *Pipe) Serve(stream io.ReadWriteCloser) {
	defer func() { _ = stream.Close() }()
	p.mu.Lock()
	if p.viewer != nil {
		_ = p.viewer.Close()
	}
	p.viewer, p.came = stream, true
	p.changed.Broadcast()
	p.mu.Unlock()
	in := &frames{r: stream, limit: maxToGuest}
	for {
		k, content, err := in.next()
		if err != nil {
			break
		}
		switch {
		case k == data && p.stdin != nil:
			_, _ = p.stdin.Write(content) // an agent that no longer reads is no error
		case k == ends && p.stdin != nil:
			_ = p.stdin.Close()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.viewer == stream {
		p.viewer = nil
		if p.stdin != nil {
			_ = p.stdin.Close() // nobody else types
		}
	}
	p.changed.Broadcast()
}

// End tells how the agent ended, and waits until that is read, or patience is over. With nobody
// there, whoever comes within patience is told. Call it once.
func (p *Pipe) End(status int, awaited bool, patience time.Duration) {
	content, _ := json.Marshal(status)
	over := false
	timer := time.AfterFunc(patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		over = true
		p.changed.Broadcast()
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for awaited && !p.came && !over {
		p.changed.Wait()
	}
	if p.viewer == nil || writeFrame(p.viewer, exit, content) != nil {
		return
	}
	for p.viewer != nil && !over { // it goes once it has read that
		p.changed.Wait()
	}
}

// Plug connects an operator's streams with a Pipe on the other side of stream, and returns how
// the agent ended; ErrLost when the stream ended before. It closes the stream. A read of stdin may
// still be pending when it returns.
func Plug(stream io.ReadWriteCloser, stdin io.Reader, stdout, stderr io.Writer) (status int, err error) {
	defer func() { _ = stream.Close() }()
	if stdin != nil {
		go func() { plugIn(stream, stdin) }()
	}
	in := &frames{r: stream, limit: maxToHost}
	for {
		k, content, err := in.next()
		if err != nil {
			if errors.Is(err, errFrame) {
				return 0, err
			}
			return 0, fmt.Errorf("%w (%v)", ErrLost, err)
		}
		switch k {
		case outputs:
			_, err = stdout.Write(content)
		case errs:
			_, err = stderr.Write(content)
		case exit:
			return status, json.Unmarshal(content, &status)
		default:
			err = errFrame
		}
		if err != nil {
			return 0, err
		}
	}
}

func plugIn(stream io.Writer, stdin io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := stdin.Read(buffer)
		if n > 0 && writeFrame(stream, data, buffer[:n]) != nil {
			return
		}
		if err != nil {
			_ = writeFrame(stream, ends, nil)
			return
		}
	}
}
