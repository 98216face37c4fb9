package smolmachines

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// shows types a word into a bottle's terminal, and returns once that shows it. No line ends: the agent gets nothing.
func (h house) shows(b *Bottle, word string) {
	h.t.Helper()
	found, err := h.Open(h.t.Context(), b.Name())
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, leave := context.WithCancel(h.t.Context())
	defer leave()
	in, keys := io.Pipe()
	defer func() { _ = keys.Close() }()
	seen := &watched{want: word, seen: leave}
	go func() { _, _ = io.WriteString(keys, word) }()
	if _, err := found.Agent(ctx, bottle.IO{Stdin: in, Stdout: seen, Stderr: io.Discard, TTY: true}); !errors.Is(err, bottle.ErrDetached) {
		h.t.Fatalf("got %v, and saw %q", err, seen.all.String())
	}
}

// watched calls seen once it has been written what is wanted.
type watched struct {
	all  bytes.Buffer
	want string
	seen func()
}

func (w *watched) Write(p []byte) (int, error) {
	if n, err := w.all.Write(p); err != nil || !strings.Contains(w.all.String(), w.want) {
		return n, err
	}
	w.seen()
	return len(p), nil
}

// closed ends a bottle as stop does.
func (h house) closed(b *Bottle) error {
	found, err := h.Open(h.t.Context(), b.Name())
	if err != nil {
		return err
	}
	return found.Close()
}

// killMachine kills a machine with all that is in it.
func (h house) killMachine(b *Bottle) {
	h.t.Helper()
	for _, pid := range h.inMachine() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			h.t.Fatal(err)
		}
	}
	for {
		m, err := h.status(h.t.Context(), b.machine)
		if err != nil {
			h.t.Fatal(err)
		}
		if !m.up() {
			return
		}
	}
}

// What an agent showed outlives its guest and its machine: it is on the machine's disk, and is kept when
// that is started next, whatever for, before another agent runs. Until then it is told where it is.
func TestATranscriptOutlivesItsGuestAndItsMachine(t *testing.T) {
	deaths := map[string]func(house, *Bottle){"guest": func(h house, _ *Bottle) { h.killGuest() }, "machine": house.killMachine}
	starts := map[string]func(house, *Bottle) error{
		"resume": func(h house, b *Bottle) error { h.again(b); return h.closed(b) },
		"cp": func(h house, b *Bottle) error {
			files, err := h.Files(h.t.Context(), b.Name())
			if err != nil {
				return err
			}
			return files.Close()
		},
	}
	for death, kill := range deaths {
		for start, do := range starts {
			t.Run(death+" "+start, func(t *testing.T) {
				t.Parallel()
				h := open(t)
				var told bytes.Buffer
				h.Log = slog.New(slog.NewTextHandler(&told, nil))
				b := h.waiting()
				h.shows(b, "what-was-shown")
				kill(h, b)
				if err := h.closed(b); err != nil && !errors.Is(err, bottle.ErrNotRunning) {
					t.Fatal(err)
				}
				h.clean()
				if said := told.String(); !strings.Contains(said, "the transcript of a run is still on its machine's disk: resume, cp and pull keep it") {
					t.Errorf("it was told %q", said)
				}
				if err := do(h, b); err != nil {
					t.Fatal(err)
				}
				first, err := filepath.Glob(filepath.Join(h.State.Dir(b.Name()), "transcript-r000001-*.cast"))
				if err != nil || len(first) != 1 {
					t.Fatalf("got %v, %v", first, err)
				}
				if data, err := os.ReadFile(first[0]); err != nil || !strings.Contains(string(data), "what-was-shown") {
					t.Errorf("got %q, %v", data, err)
				}
				h.remove(b)
			})
		}
	}
}

// A run without a terminal has no transcript, and that of a run before is not taken for its own.
func TestATranscriptIsOfItsOwnRun(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.shows(b, "first")
	if err := h.closed(b); err != nil {
		t.Fatal(err)
	}
	spec := h.spec()
	spec.Identity, spec.Resume, spec.Detached = b.Name(), true, true
	plan, err := bottle.Use(h.Driver).Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	headless, err := plan.Launch(t.Context(), nil)
	if err == nil {
		err = headless.Detach()
	}
	if err != nil {
		t.Fatal(err)
	}
	h.killMachine(b)
	h.clean()
	h.shows(h.again(b), "third")
	if err := h.closed(b); err != nil {
		t.Fatal(err)
	}
	all := h.State.Transcripts(b.Name())
	if len(all) != 2 || !strings.Contains(all[0], "-r000001-") || !strings.Contains(all[1], "-r000003-") {
		t.Errorf("got %v", all)
	}
	h.remove(b)
}
