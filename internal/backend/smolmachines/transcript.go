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
	"github.com/bot-bottle/bot-bottle/internal/state"
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

// Limits of what hands a transcript out: it is on the machine's disk, and is sent as fast as it goes.
const (
	transcriptSilence = 10 * time.Second
	transcriptLimit   = time.Minute
)

// copyTranscript copies what there is of a transcript, without the secrets that are known by
// their values or by their shape. What came before an error is copied.
func (d *Driver) copyTranscript(ctx context.Context, name, identity string, w io.Writer, secrets map[string]secret.Value) error {
	watched, heard, stop := bottle.Patience{Silence: transcriptSilence, Whole: transcriptLimit}.Watch(ctx, io.Discard)
	defer stop()
	k, err := d.inside(watched, name, "guest", "transcript")
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	defer k.until(watched)()
	from := &noting{from: io.TeeReader(k, heard)}
	err = session.Keep(from, w, identity, func(data []byte) ([][2]int, error) { return session.FindSecrets(ctx, data, secrets) })
	if cause := context.Cause(watched); cause != nil {
		return errors.Join(err, cause)
	}
	return errors.Join(err, from.failed)
}

// noting keeps the error that a reader ended with.
type noting struct {
	from   io.Reader
	failed error
}

func (n *noting) Read(p []byte) (int, error) {
	c, err := n.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.failed = err
	}
	return c, err
}

// keepTranscript puts a run's transcript into the bottle's state. A bottle without a record has
// none; a machine that is gone has taken it along. What is lost of it is told, and holds nothing up:
// the machine must end all the same.
func (d *Driver) keepTranscript(ctx context.Context, identity, name string, secrets map[string]secret.Value) {
	m, err := d.State.Read(identity)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = d.keepTranscriptOf(ctx, m, name, secrets)
	}
	switch {
	case err == nil, gone(err, name):
	case m.TranscriptLeft && !m.Remove:
		d.tellLeft(identity, err)
	default:
		d.tellLost(identity, err)
	}
}

// keepTranscriptOf keeps the transcript of a run, and takes down that it is kept once it is whole.
func (d *Driver) keepTranscriptOf(ctx context.Context, m state.Metadata, name string, secrets map[string]secret.Value) error {
	err := d.State.KeepTranscript(m, func(w io.Writer) error {
		if err := d.copyTranscript(ctx, name, m.Identity, w, secrets); err != nil {
			return &state.BrokenOffError{Err: err}
		}
		return nil
	})
	now, readErr := d.State.Read(m.Identity)
	if err != nil || readErr != nil || !now.TranscriptLeft || !now.StartedAt.Equal(m.StartedAt) {
		return errors.Join(err, readErr)
	}
	now.TranscriptLeft = false
	return d.State.Write(now)
}

// fetchTranscript keeps what is left on the disk of a machine that was just started, and runs no agent: the
// guest, or the machine, was gone before. It stays there until the next agent begins. The disk itself is
// nothing for this host to read, whose file system is the machine's to write.
func (d *Driver) fetchTranscript(ctx context.Context, m *state.Metadata, name string, secrets map[string]secret.Value) {
	if !m.TranscriptLeft {
		return
	}
	if err := d.keepTranscriptOf(ctx, *m, name, secrets); err != nil {
		d.tellLost(m.Identity, err)
		return
	}
	m.TranscriptLeft = false // nor is it looked for in what an agent that now begins writes
}

func (d *Driver) tellLeft(identity string, why error) {
	d.Log.Error("the transcript of a run is still on its machine's disk: resume, cp and pull keep it", "bottle", identity, "err", why)
}

func (d *Driver) tellLost(identity string, why error) {
	d.Log.Error("the transcript of a run is lost, or not whole", "bottle", identity, "err", why)
}
