package docker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// Audit reads a run's audit log from the engine, which keeps all of it until the bundle's
// container goes: also what came while no process of ours was there to read it.
func (d *Driver) Audit(ctx context.Context, identity string, follow bool) (io.ReadCloser, error) {
	if !bottle.ValidIdentity(identity) {
		return nil, fmt.Errorf("%q: %w", identity, bottle.ErrNotRunning)
	}
	found, err := d.Client.ContainerInspect(ctx, resource(identity, roleSidecar), client.ContainerInspectOptions{})
	if err == nil {
		var owner string
		if owner, err = d.State.Owner(); err == nil && found.Container.Config.Labels[labelOwner] != owner {
			return nil, fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
		}
	}
	var run *runLog
	if err == nil {
		run, err = d.runLog(ctx, found.Container.ID, follow)
	}
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
	}
	if err != nil {
		return nil, err
	}
	return run, nil
}

// keepAudit writes the bundle's audit log in place of what an earlier process may have
// read of it.
func (d *Driver) keepAudit(ctx context.Context, identity, id string) error {
	run, err := d.runLog(ctx, id, false)
	if err != nil {
		return err
	}
	return errors.Join(d.State.KeepAudit(identity, run), run.Close())
}

// runLog is a bundle's standard output, less its first line, which is no event.
type runLog struct {
	out   *bufio.Reader
	first bool // still to come
	end   func() error
}

// output reads a container's standard output from the engine. One whose removal has begun has none any
// more, as one that is gone: the engine refuses it, also for ever if it was killed in the middle
// of the removal and calls the container dead.
func (d *Driver) output(ctx context.Context, id string, follow bool) (io.ReadCloser, error) {
	logs, err := d.Client.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, Follow: follow})
	if errdefs.IsConflict(err) {
		return nil, fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
	}
	return logs, err
}

func (d *Driver) runLog(ctx context.Context, id string, follow bool) (*runLog, error) {
	logs, err := d.output(ctx, id, follow)
	if err != nil {
		return nil, err
	}
	reader, writer := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := stdcopy.StdCopy(writer, io.Discard, logs)
		_ = writer.CloseWithError(err)
	}()
	return &runLog{out: bufio.NewReader(reader), first: true, end: func() error {
		err := errors.Join(reader.Close(), logs.Close())
		<-done
		return err
	}}, nil
}

func (r *runLog) Read(p []byte) (int, error) {
	for r.first {
		_, err := r.out.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, err
		}
		r.first = err != nil
	}
	return r.out.Read(p)
}

// Close lets go of the log.
func (r *runLog) Close() error { return r.end() }
