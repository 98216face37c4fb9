package smolmachines

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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

// Attack: whoever else is on this host reads what processes were started with, which /proc shows to all
// (arguments) or to the same user (environments), and what is on disks. No secret is there, while a bottle runs.
func TestNoSecretIsWhereProcessesShowIt(t *testing.T) {
	h := open(t)
	b := h.waiting()
	var looked int
	for _, part := range []string{"cmdline", "environ"} {
		all, err := filepath.Glob("/proc/[0-9]*/" + part)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range all {
			data, _ := os.ReadFile(file) // it may have ended
			if strings.Contains(string(data), realKey) {
				t.Errorf("it is in %s", file)
			}
			if strings.Contains(string(data), b.Name()) {
				looked++
			}
		}
	}
	if looked == 0 {
		t.Error("no process of the bottle was looked at")
	}
	for _, dir := range []string{h.home, h.data, b.dir} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if strings.Contains(string(data), realKey) {
				t.Errorf("it is in %s", path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	if err := h.closed(b); err != nil {
		t.Error(err)
	}
	h.remove(b)
}

// A bundle that is suspended takes nobody in, and once enough have come nobody can so much as ring. It is still there,
// with its secrets: it is not taken for ended, and the directory that leads to it stays.
func TestASuspendedBundleIsNotTakenForEnded(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(dir, controlSocket)}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := net.Dial("unix", filepath.Join(dir, controlSocket))
		if err != nil {
			break
		}
		defer func() { _ = conn.Close() }()
	}
	if err := writeMark(dir, mark{}); err != nil {
		t.Fatal(err)
	}
	if !bundleLives(dir) {
		t.Error("it is taken for ended")
	}
	if err := endBundle(t.Context(), dir); err == nil {
		t.Error("it is said to be ended")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("what leads to it is gone: %v", err)
	}
}
