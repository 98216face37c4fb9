//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// Transcript reads the transcript of a run that was not taken down yet.
func (d *Driver) Transcript(ctx context.Context, identity string) (io.ReadCloser, error) {
	m, now, err := d.begun(ctx, identity)
	if err != nil {
		return nil, err
	}
	if !now.Terminal {
		return nil, fmt.Errorf("%s: %w", identity, bottle.ErrNoTerminal)
	}
	reader, writer := io.Pipe()
	go func() { _ = writer.CloseWithError(m.copyTranscript(ctx, writer)) }()
	return reader, nil
}

// copyTranscript copies what there is of it, without the secrets.
func (m *machine) copyTranscript(ctx context.Context, w io.Writer) error {
	k, err := m.inside(ctx, "transcript")
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	defer context.AfterFunc(ctx, func() { _ = k.Close() })()
	return session.Keep(k, w, m.identity, func(data []byte) ([][2]int, error) { return session.FindSecrets(ctx, data, m.secrets) })
}

// keepTranscript puts a run's transcript into the bottle's state, before it goes with the machine.
func (d *Driver) keepTranscript(ctx context.Context, m *machine) error {
	if !m.tty || m.guest.over() {
		return nil
	}
	record, err := d.State.Read(m.identity)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.State.KeepTranscript(record, func(w io.Writer) error { return m.copyTranscript(ctx, w) })
}
