package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// The guest writes the transcript to its standard output, which the engine keeps, with
// nobody attached too, for as long as the container is there. Before it goes, the transcript
// is put into the bottle's state.

// Transcript reads the transcript of a bottle's run that is not in its state yet.
func (d *Driver) Transcript(ctx context.Context, identity string) (io.ReadCloser, error) {
	found, err := d.ownAgent(ctx, identity)
	if err != nil {
		return nil, err
	}
	if found.Config.Labels[labelTerminal] != "true" {
		return nil, fmt.Errorf("%s: %w", identity, bottle.ErrNoTerminal)
	}
	reader, writer := io.Pipe()
	go func() { _ = writer.CloseWithError(d.copyTranscript(ctx, found.ID, identity, writer, nil)) }()
	return reader, nil
}

// copyTranscript copies what the engine has of a transcript, without the secrets that are
// known by their values or by their shape.
func (d *Driver) copyTranscript(ctx context.Context, id, identity string, w io.Writer, secrets map[string]secret.Value) error {
	logs, err := d.output(ctx, id, false)
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }()
	reader, writer := io.Pipe()
	go func() {
		_, err := stdcopy.StdCopy(writer, io.Discard, logs)
		_ = writer.CloseWithError(err)
	}()
	defer func() { _ = reader.Close() }()
	return session.Keep(reader, w, identity, func(data []byte) ([][2]int, error) { return session.FindSecrets(ctx, data, secrets) })
}

// keepTranscript puts a run's transcript into the bottle's state, before its container goes.
// A bottle without a terminal, or without a record, has none.
func (d *Driver) keepTranscript(ctx context.Context, identity string, secrets map[string]secret.Value) error {
	m, err := d.State.Read(identity)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	found, err := d.ownAgent(ctx, identity)
	if errors.Is(err, bottle.ErrNotRunning) || err == nil && found.Config.Labels[labelTerminal] != "true" {
		return nil
	}
	if err == nil {
		err = d.State.KeepTranscript(m, func(w io.Writer) error {
			return d.copyTranscript(ctx, found.ID, identity, w, secrets)
		})
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot keep the transcript of %s: %w", identity, err)
	}
	return nil
}

// endAgent removes an agent's container, once its transcript is kept: what cannot be kept, the engine
// still has, and nothing of it runs.
func (b *Bottle) endAgent(ctx context.Context) error {
	if b.agent.tty {
		if err := b.driver.keepTranscript(ctx, b.identity, b.secrets); err != nil {
			return errors.Join(err, b.driver.stop(ctx, b.agent.id, 0))
		}
	}
	return b.driver.removeContainer(ctx, b.agent.id)
}
