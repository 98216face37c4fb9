package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// consoleFile is what a machine's process writes beside its disk.
const consoleFile = "agent-console.log"

// consoleWidth bounds what is shown of it.
const consoleWidth = 240

// lost adds to the failure of a call whose machine is gone what is last on that machine's console:
// smolvm itself does not say why one ended. Other failures stay as they are.
func (d *Driver) lost(ctx context.Context, name string, err error) error {
	var failed *callError
	if !errors.As(err, &failed) || !strings.Contains(failed.said, "connection to VM lost") && !strings.Contains(failed.said, "' is not running") {
		return err
	}
	if words := d.lastWords(ctx, name); words != "" {
		return fmt.Errorf("%w; last on its console: %s", err, words)
	}
	return err
}

// wordsLimit bounds what an error waits for its reason.
const wordsLimit = 5 * time.Second

// lastWords is the last line on a machine's console, "" if there is none. A connection is lost
// before its machine has ended, and a machine says why last of all: its process is waited for. smolvm
// is asked once which that is, since its answer costs every machine of the user's one of its
// connections.
func (d *Driver) lastWords(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(ctx, wordsLimit)
	defer cancel()
	if m, err := d.status(ctx, name); err == nil && m.up() {
		for late := time.Now().Add(endGrace); time.Now().Before(late) && runs(m.PID) && pause(ctx) == nil; {
		}
	}
	return lastLine(d.dataDir(ctx, name))
}

// dataDir is where smolvm keeps a machine, "" if it does not say.
func (d *Driver) dataDir(ctx context.Context, name string) string {
	out, err := d.call(ctx, wordsLimit, []string{"machine", "data-dir", "--name", name})
	dir := strings.TrimSpace(string(out))
	if err != nil || !filepath.IsAbs(dir) || len(dir) > longestDir {
		return ""
	}
	return dir
}

// longestDir bounds what is taken for a directory's path (PATH_MAX).
const longestDir = 4096

// ownSocket is one of those that smolvm makes beside a machine's disk.
const ownSocket = "/agent.sock"

// cramped adds to the failure of a start that smolvm's own sockets have no room where it keeps its machines: it
// says something else, or nothing until it gives up.
func (d *Driver) cramped(ctx context.Context, name string, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if dir := d.dataDir(ctx, name); len(dir)+len(ownSocket) >= len(syscall.RawSockaddrUnix{}.Path) {
		return withHint("have smolvm keep its machines elsewhere, by a short SMOLVM_DATA_DIR (on macOS, HOME)", "%w; smolvm keeps the machine in %s, where paths of sockets are longer than a socket's path may be", err, plain.Text(dir))
	}
	return err
}

// runs reports whether there is a process of the operator's with a number. 0 and below are none
// (kill(2)).
func runs(pid int) bool { return pid > 0 && syscall.Kill(pid, 0) == nil }

// lastLine reads the end of a console. A machine's process writes in that directory what it likes:
// no link leads out of it, nothing in it is waited for, and what is printed is made harmless.
func lastLine(dir string) string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ""
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(consoleFile, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	var end plain.Tail
	_, _ = io.Copy(&end, io.NewSectionReader(f, max(0, info.Size()-plain.TailSize), plain.TailSize))
	return plain.Cut(end.Last(), consoleWidth)
}
