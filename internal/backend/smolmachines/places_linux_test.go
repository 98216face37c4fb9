package smolmachines

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// A machine that smolvm calls failed, and that has no process, is like one that is stopped: its bottle is
// closed, resumed and removed.
func TestAFailedMachineIsResumed(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.crash(b)
	h.faults(map[string]string{"halted": "failed"})
	if active, err := h.Active(t.Context()); err != nil || len(active) > 0 {
		t.Errorf("it is listed as %+v, %v", active, err)
	}
	h.clean()
	h.crash(h.again(b))
	h.clean()
	h.remove(b)
}

// smolvm takes what is behind the first colon of a socket's path for the path in the machine. A bottle comes up
// wherever its home is, and whatever that is called.
func TestOddPlacesOfABottle(t *testing.T) {
	for name, dir := range map[string]string{
		"colon": "a:b", "colon and slash": "a:/b", "space": "a b", "line": "a\nb", "equals": "a=b", "quotes": "a'\"b", "long": strings.Repeat("long", 40),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			odd := filepath.Join(t.TempDir(), dir)
			if err := os.MkdirAll(odd, 0o700); err != nil {
				t.Fatal(err)
			}
			h := openAt(t, odd)
			h.env["XDG_RUNTIME_DIR"] = filepath.Join(odd, "r")
			b, err := h.launch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if code, err := b.Agent(t.Context(), bottle.IO{Stdout: io.Discard, Stderr: io.Discard}); code != 0 || err != nil {
				t.Errorf("got %d, %v", code, err)
			}
			if err := errors.Join(b.Close(), bottle.Use(h.Driver).Remove(t.Context(), b.Name())); err != nil {
				t.Error(err)
			}
			h.nothingLeft(name)
		})
	}
}

// Another user of this host knows a bottle's name from a process' arguments, and makes its directory in a
// place that all may write to, with a fifo where its mark would be. Nobody reads there, and nothing is taken for a
// bottle's.
func TestSomebodyElsesPlaceForSockets(t *testing.T) {
	h := open(t)
	h.env["XDG_RUNTIME_DIR"] = h.data
	b := h.waiting()
	theirs := filepath.Join(h.home, "b", "run") // as it were
	dir := filepath.Join(theirs, filepath.Base(b.dir))
	if err := errors.Join(os.MkdirAll(dir, 0o755), syscall.Mkfifo(filepath.Join(dir, markFile), 0o644), os.Lchown(theirs, 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	done := make(chan []bottle.Task, 1)
	go func() { done <- h.clean() }()
	if tasks := <-done; len(tasks) > 0 {
		t.Errorf("cleaned up: %+v", tasks)
	}
	if err := h.closed(b); err != nil {
		t.Error(err)
	}
	h.remove(b)
}

// smolvm keeps sockets of its own beside a machine's disk. Where their paths are too long a machine does not boot, or
// hangs in that, and smolvm does not say why.
func TestSmolvmsOwnPathsMayBeTooLong(t *testing.T) {
	h := open(t)
	h.data = filepath.Join(h.data, strings.Repeat("deep", 20))
	if err := os.MkdirAll(h.data, 0o755); err != nil {
		t.Fatal(err)
	}
	h.env["SMOLVM_DATA_DIR"] = h.data
	_, err := h.launch(t.Context())
	if err == nil || !strings.Contains(bottle.HintOf(err), "SMOLVM_DATA_DIR") || !strings.Contains(err.Error(), "longer than a socket's path may be") {
		t.Errorf("got %v; %s", err, bottle.HintOf(err))
	}
	h.nothingLeft("a start that failed")
}
