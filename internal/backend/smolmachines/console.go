package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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

// lastWords is the last line on a machine's console, "" if there is none. A connection is lost
// before its machine has ended, and a machine says why last of all: it is waited for.
func (d *Driver) lastWords(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	for late := time.Now().Add(endGrace); time.Now().Before(late) && d.isUp(ctx, name) && pause(ctx) == nil; {
	}
	dir, err := d.call(ctx, askLimit, []string{"machine", "data-dir", "--name", name})
	if err != nil {
		return ""
	}
	return lastLine(strings.TrimSpace(string(dir)))
}

func (d *Driver) isUp(ctx context.Context, name string) bool {
	all, err := d.machines(ctx)
	for _, m := range all {
		if m.Name == name {
			return err == nil && m.up()
		}
	}
	return false
}

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
