//go:build linux

package memory

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// Audit reads a run's audit log from the file that its bundle appends to.
func (d *Driver) Audit(ctx context.Context, identity string, follow bool) (io.ReadCloser, error) {
	m := d.find(identity)
	if m == nil || m.bundle.over() {
		return nil, notRunning(identity)
	}
	record, err := d.State.Read(identity)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(d.State.AuditFile(identity))
	if err != nil {
		return nil, err
	}
	run := &runLog{ctx: ctx, file: file, lines: bufio.NewReader(file), bundle: m.bundle, over: !follow}
	if record.Audit != nil {
		run.skip = record.Audit.Lines
	}
	return run, nil
}

// runLog is a bundle's log from the run's first line on; followed, until the bundle has ended.
type runLog struct {
	ctx    context.Context
	file   *os.File
	lines  *bufio.Reader
	skip   int64 // lines of runs before
	bundle *process
	over   bool // what there is now is all
}

func (r *runLog) Read(p []byte) (int, error) {
	for ; r.skip > 0; r.skip-- {
		if _, err := r.lines.ReadString('\n'); err != nil {
			return 0, err
		}
	}
	for {
		n, err := r.lines.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) || r.over {
			return n, err
		}
		select { // nothing tells of a line
		case <-r.bundle.ended:
			r.over = true
		case <-time.After(10 * time.Millisecond):
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}

// Close lets go of the log.
func (r *runLog) Close() error { return r.file.Close() }
