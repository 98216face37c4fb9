package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// The guest keeps the transcript on the machine's disk. Before the machine is stopped, it is put
// into the bottle's state.

// Transcript reads the transcript of a bottle's run that is not in its state yet.
func (d *Driver) Transcript(ctx context.Context, identity string) (io.ReadCloser, error) {
	m, now, err := d.begun(ctx, identity)
	if err != nil {
		return nil, err
	}
	if !now.Terminal {
		return nil, fmt.Errorf("%s: %w", identity, bottle.ErrNoTerminal)
	}
	reader, writer := io.Pipe()
	go func() { _ = writer.CloseWithError(d.copyTranscript(ctx, m.Name, identity, writer, nil)) }()
	return reader, nil
}

// transcriptLimit bounds how long a machine may take to hand its transcript out.
const transcriptLimit = time.Minute

// copyTranscript copies what there is of a transcript, without the secrets that are known by
// their values or by their shape.
func (d *Driver) copyTranscript(ctx context.Context, name, identity string, w io.Writer, secrets map[string]secret.Value) error {
	limited, cancel := context.WithTimeout(ctx, transcriptLimit)
	defer cancel()
	k, err := d.inside(limited, name, "guest", "transcript")
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	defer k.until(limited)()
	return session.Keep(k, w, identity, func(data []byte) ([][2]int, error) { return session.FindSecrets(ctx, data, secrets) })
}

// keepTranscript puts a run's transcript into the bottle's state. A bottle without a record has
// none; a machine that is gone has taken it along.
func (d *Driver) keepTranscript(ctx context.Context, identity, name string, secrets map[string]secret.Value) error {
	m, err := d.State.Read(identity)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = d.State.KeepTranscript(identity, m.StartedAt, func(w io.Writer) error { return d.copyTranscript(ctx, name, identity, w, secrets) })
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("cannot keep the transcript of %s: %w", identity, err)
	}
	return nil
}
