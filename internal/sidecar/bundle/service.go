package bundle

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// service is one sidecar process, again and again.
type service struct {
	name     control.Service
	listener *os.File
	talk     func(context.Context, net.Conn) // takes the stream on which it asks, or is asked, until that ends; nil: there is none
	errands  string                          // the directory of sockets that it is connected with on demand; "": there are none
	heard    func(audit.Event)               // is told of each event, and must not wait; may be nil
	lost     func()                          // is told when a process has ended, after its last event; may be nil

	mu     sync.Mutex
	config []byte      // its part of the document, for the next start
	link   net.Conn    // to the process; nil while none listens
	kill   func(error) // ends the process, for a reason
}

// change puts another configuration in force, now and for every later start. A process
// of which nobody knows whether it took it over is ended: it starts again with what it had.
func (s *service) change(config []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return fmt.Errorf("%s is being started; try again in a moment", s.name)
	}
	err := say(s.link, config)
	if errors.As(err, new(errSilent)) {
		s.kill(fmt.Errorf("it did not take over a change: %w", err))
		return fmt.Errorf("%s did not take the change over, and is started again without it: %w", s.name, err)
	}
	if err == nil {
		s.config = config
	}
	return err
}

// must puts a configuration in force that takes something away: now, or with the process's
// next start. One that does not take it over is ended, and starts again with it.
func (s *service) must(config []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = config
	if s.link == nil {
		return // whoever is being started is told when it listens
	}
	if err := say(s.link, config); err != nil {
		s.kill(fmt.Errorf("it did not take over a change: %w", err))
	}
}

// later keeps a configuration for the next start. It must be one that allows the same.
func (s *service) later(config []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = config
}

// connect lets changes reach the process, or nobody where link is nil. It started with
// a configuration that may have been replaced since.
func (s *service) connect(started []byte, link net.Conn, kill func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.kill = link, kill
	if link == nil || bytes.Equal(started, s.config) {
		return
	}
	if err := say(link, s.config); err != nil {
		kill(fmt.Errorf("it did not take over a change: %w", err))
	}
}

// current is the configuration to start with.
func (s *service) current() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// How long a crashed service waits for its next start.
const (
	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
	stopGrace  = 2 * time.Second
)

// readyTimeout is how long a service may take to say that it listens.
const readyTimeout = 10 * time.Second

// maxLine bounds a line of a service's output.
const maxLine = 64 << 10

// supervise runs the service until ctx ends. Once, it tells ready whether the first
// start went well; a first start that did not is the last. It calls gone when the service
// says that the bottle has ended.
func (s *service) supervise(ctx context.Context, o Options, out *log, ready chan<- error, gone func()) {
	defer func() { _ = s.listener.Close() }()
	pause := firstPause
	for first := true; ; first = false {
		started := time.Now()
		var up bool
		err := s.run(ctx, o, out, func() {
			up = true
			if first {
				ready <- nil
			}
		})
		if first && !up {
			ready <- fmt.Errorf("%s did not start: %w", s.name, orEnded(err))
			return
		}
		if s.lost != nil {
			s.lost()
		}
		if ctx.Err() != nil {
			return
		}
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == control.ExitGuestGone {
			s.tell(out, "the bottle has ended, and with it its services")
			gone()
			return
		}
		s.tell(out, fmt.Sprintf("%s ended (%v) and is started again", s.name, orEnded(err)))
		if time.Since(started) > time.Minute {
			pause = firstPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, longPause)
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("it ended")
	}
	return err
}

// tell records what happened to the service.
func (s *service) tell(out *log, what string) {
	out.record(string(s.name), audit.Event{Kind: audit.Lifecycle, Reason: what})
}

// run runs the service once, from start to end. It calls up when the service says
// that it listens.
func (s *service) run(ctx context.Context, o Options, out *log, up func()) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	late := time.AfterFunc(readyTimeout, func() { end(fmt.Errorf("it was not ready within %s", readyTimeout)) })
	defer late.Stop()
	link, theirs, err := newLink()
	if err != nil {
		return err
	}
	defer func() { _ = link.Close() }()
	command := exec.CommandContext(ctx, o.Self, append([]string{"sidecar", string(s.name)}, o.Host.arguments()...)...)
	command.Env = []string{} // nil would be ours
	config := s.current()
	command.Stdin = bytes.NewReader(config)
	command.Stderr = o.Stderr
	command.ExtraFiles = []*os.File{s.listener, theirs} // listenerFD, linkFD
	defer func() { _ = letGo(command) }()               // also what no process got
	asking, err := s.asking(command)
	if err != nil {
		return err
	}
	defer func() { _ = asking.Close() }()
	runErrands, err := s.errandsFor(command)
	if err != nil {
		return err
	}
	defer runErrands()
	command.SysProcAttr = s.attributes(o)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopGrace
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := errors.Join(command.Start(), letGo(command)); err != nil {
		return err
	}
	var talking sync.WaitGroup
	defer talking.Wait()
	defer func() { _ = asking.Close() }()
	listening := func() {
		late.Stop()
		if s.talk != nil {
			talking.Go(func() { s.talk(ctx, asking) })
		}
		s.connect(config, link, end)
		up()
	}
	if err := s.forward(stdout, out, listening); err != nil {
		end(err) // who cannot be recorded, stops
	}
	s.connect(nil, nil, nil)
	ended := command.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return ended
}

// letGo closes on our side what a service gets but for its listener, which the next one gets, too.
func letGo(command *exec.Cmd) error {
	var failed []error
	for _, theirs := range command.ExtraFiles[1:] {
		failed = append(failed, theirs.Close())
	}
	return errors.Join(failed...)
}

// of is the service that an event is about: pipelock has no process here, and egress tells of
// it.
func (s *service) of(e audit.Event) control.Service {
	if s.name == control.Egress && (e.Kind == audit.Scanner || e.Kind == audit.Flag) {
		return control.Pipelock
	}
	return s.name
}

// errandsFor makes the stream on which the service has us connect it (errandsFD), if it does, and
// runs its errands until end is called.
func (s *service) errandsFor(command *exec.Cmd) (end func(), err error) {
	if s.errands == "" {
		return func() {}, nil
	}
	ours, theirs, err := newLink()
	if err != nil {
		return nil, err
	}
	command.ExtraFiles = append(command.ExtraFiles, theirs)
	var running sync.WaitGroup
	running.Go(func() { runErrands(ours, s.errands) })
	return func() {
		_ = ours.Close()
		running.Wait()
	}, nil
}

// asking makes the stream on which the service asks us, if it does (askingFD).
func (s *service) asking(command *exec.Cmd) (net.Conn, error) {
	ours, theirs, err := newLink()
	if err != nil {
		return nil, err
	}
	if s.talk == nil {
		return ours, errors.Join(theirs.Close())
	}
	command.ExtraFiles = append(command.ExtraFiles, theirs)
	return ours, nil
}

// forward records a service's events, after its first line, which says that it is ready.
// It ends with the service's output, or with an error at a line that is no event: what
// else a service may want to say there is not for the log.
func (s *service) forward(stdout io.Reader, out *log, up func()) error {
	buffered := bufio.NewReaderSize(stdout, maxLine)
	first := true
	for {
		line, err := buffered.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return errors.New("it wrote a line that is too long")
		}
		if err != nil {
			return nil // its end
		}
		var r control.Ready
		switch {
		case !first:
			e, err := audit.Decode(line)
			if err != nil {
				return errors.New("it wrote a line that is no event") // the cause may quote a secret
			}
			out.record(string(s.of(e)), e)
			if s.heard != nil {
				s.heard(e)
			}
		case json.Unmarshal(line, &r) == nil && r.Ready:
			first = false
			up()
		default:
			return errors.New(cmp.Or(r.Error, "it did not say that it is ready"))
		}
	}
}
