package smolmachines

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// killGuest kills process 1 of a machine's workload. The machine goes on.
func (h house) killGuest() {
	h.t.Helper()
	process, err := filepath.Glob(filepath.Join(h.data, "vms", "*", "agent.pid"))
	if err != nil || len(process) != 1 {
		h.t.Fatalf("got %v, %v", process, err)
	}
	data, err := os.ReadFile(process[0])
	if err != nil {
		h.t.Fatal(err)
	}
	for below := []string{strings.TrimSpace(string(data))}; len(below) > 0; below = below[1:] {
		command, _ := os.ReadFile("/proc/" + below[0] + "/cmdline")
		if words := strings.Split(string(command), "\x00"); slices.Contains(words, "guest") && slices.Contains(words, "machine") {
			pid, err := strconv.Atoi(below[0])
			if err = errors.Join(err, syscall.Kill(pid, syscall.SIGKILL)); err != nil {
				h.t.Fatal(err)
			}
			return
		}
		tasks, _ := filepath.Glob("/proc/" + below[0] + "/task/*/children")
		for _, task := range tasks {
			children, _ := os.ReadFile(task)
			below = append(below, strings.Fields(string(children))...)
		}
	}
	h.t.Fatal("the machine has no guest")
}

// A bottle whose guest does not answer any more, in a machine that runs, can be ended all the same.
func TestABottleWithoutItsGuestIsEnded(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.killGuest()
	d := bottle.Use(h.Driver)
	found, err := d.Open(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := found.Agent(t.Context(), bottle.IO{}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Agent: got %v", err)
	}
	if _, err := found.Watch(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Watch: got %v", err)
	}
	if err := found.Close(); err != nil {
		t.Error(err)
	}
	if active, err := d.Active(t.Context()); err != nil || len(active) > 0 {
		t.Errorf("got %v, %v", active, err)
	}
	if r, err := h.State.Read(b.Name()); err != nil || r.EndedAt == nil {
		t.Errorf("got %+v, %v", r, err)
	}
	h.remove(b)
}

// Who looks at a bottle whose guest is killed is not told that its session goes on.
func TestAViewerOfADeadGuest(t *testing.T) {
	h := open(t)
	b := h.waiting()
	found, err := bottle.Use(h.Driver).Open(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	in, keys := io.Pipe()
	defer func() { _ = keys.Close() }()
	shown, ended := &once{seen: make(chan struct{})}, make(chan error, 1)
	go func() {
		_, err := found.Agent(t.Context(), bottle.IO{Stdin: in, Stdout: shown, Stderr: shown, TTY: true})
		ended <- err
	}()
	<-shown.seen
	h.killGuest()
	if err := <-ended; err == nil || strings.Contains(err.Error(), "goes on") || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("got %v", err)
	}
	if err := found.Close(); err != nil {
		t.Error(err)
	}
	h.remove(b)
}

// once closes seen at the first byte.
type once struct {
	seen chan struct{}
	do   sync.Once
}

func (o *once) Write(p []byte) (int, error) {
	o.do.Do(func() { close(o.seen) })
	return len(p), nil
}
