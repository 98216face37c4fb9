package pipelock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pipelock"
)

// How long things take at most.
const (
	startLimit  = 6 * time.Second
	healthLimit = 2 * time.Second
	endLimit    = 2 * time.Second
)

var errNone = errors.New("it was not told yet how to run")

// child is one process of pipelock's. A nil one can be ended.
type child struct {
	options  Options
	settings pipelock.Settings
	cancel   context.CancelFunc
	ended    chan struct{} // closed once it has
	why      error         // read it after ended
	last     tail
}

// start starts pipelock and waits until it is well.
func start(ctx context.Context, o Options, s pipelock.Settings) (*child, error) {
	if err := write(o.ConfigFile, s.Config()); err != nil {
		return nil, fmt.Errorf("cannot write its configuration: %w", err)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &child{options: o, settings: s, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		c.why = c.run(running)
	}()
	if err := c.await(ctx); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// write leaves no moment in which others could read the file.
func write(path string, data []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

func (c *child) run(ctx context.Context) error {
	command := exec.CommandContext(ctx, c.options.Program, "run", "--config", c.options.ConfigFile)
	if c.options.Copy != nil {
		command.Path, command.ExtraFiles = "/proc/self/fd/3", []*os.File{c.options.Copy} // the first of them is 3 there
	}
	command.Env = []string{} // nil would be ours
	command.Dir = "/"
	command.Stderr = &c.last
	command.SysProcAttr = attributes()
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = endLimit
	return c.options.orphans.run(command)
}

// await waits until pipelock is well. There is no event to wait for: it is asked.
func (c *child) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		if c.well(ctx) == nil {
			return nil
		}
		select {
		case <-c.ended:
			return fmt.Errorf("it does not run: %v%s", c.why, c.last.line())
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("it is not well after %s%s", startLimit, c.last.line())
		}
	}
}

// well asks pipelock whether it is.
func (c *child) well(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.settings.Health+pipelock.HealthPath, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return errors.New("it does not say that it is well")
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it says that it is not well (%d)", response.StatusCode)
	}
	return nil
}

func (c *child) end() {
	if c == nil {
		return
	}
	c.cancel()
	<-c.ended
}

// tail keeps the end of what is written to it. It may be used concurrently.
type tail struct {
	mu   sync.Mutex
	data []byte
}

const tailSize = 1024

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	t.data = bytes.Clone(t.data[max(0, len(t.data)-tailSize):])
	return len(p), nil
}

// line is the last line, to be put behind a sentence.
func (t *tail) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.data)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return ": " + last
	}
	return ""
}
