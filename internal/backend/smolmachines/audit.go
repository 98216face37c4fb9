package smolmachines

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// Audit reads a run's audit log from the file that its bundle appends to.
func (d *Driver) Audit(ctx context.Context, identity string, follow bool) (io.ReadCloser, error) {
	notRunning := fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
	if !bottle.ValidIdentity(identity) {
		return nil, fmt.Errorf("%q: %w", identity, bottle.ErrNotRunning)
	}
	record, err := d.State.Read(identity)
	if err != nil || record.Backend != d.Name() || record.EndedAt != nil {
		return nil, notRunning
	}
	dir, err := d.runningIn(identity)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, notRunning
	}
	file, err := os.Open(d.State.AuditFile(identity))
	if err != nil {
		return nil, err
	}
	run := &runLog{ctx: ctx, file: file, lines: bufio.NewReader(file), dir: dir, follow: follow}
	if record.Audit != nil {
		run.skip = record.Audit.Lines
	}
	return run, nil
}

// runningIn is where a bottle's bundle listens, "" if it does not.
func (d *Driver) runningIn(identity string) (string, error) {
	owner, err := d.State.Owner()
	if err != nil {
		return "", err
	}
	for _, base := range d.bases() {
		if dir := filepath.Join(base, directoryName(owner, identity)); bundleLives(dir) {
			return dir, nil
		}
	}
	return "", nil
}

// runLog is a bundle's log from the run's first line on; followed, until the bundle has ended.
type runLog struct {
	ctx    context.Context
	file   *os.File
	lines  *bufio.Reader
	skip   int64 // lines of runs before
	dir    string
	follow bool
	over   bool // the bundle has ended: what there is now is all
}

func (r *runLog) Read(p []byte) (int, error) {
	for r.skip > 0 {
		_, err := r.lines.ReadSlice('\n')
		switch {
		case err == nil:
			r.skip--
		case errors.Is(err, bufio.ErrBufferFull):
		default:
			return 0, err
		}
	}
	for {
		n, err := r.lines.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) || !r.follow || r.over {
			return n, err
		}
		r.over = !bundleLives(r.dir)
		if !r.over && pause(r.ctx) != nil {
			return 0, r.ctx.Err()
		}
	}
}

// Close lets go of the log.
func (r *runLog) Close() error { return r.file.Close() }
