package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/session"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// playTranscript shows what a bottle's agent showed in its last run: as it happened on a
// terminal, as text elsewhere, or the asciicast itself.
func (a *App) playTranscript(ctx context.Context, m state.Metadata, o logsOptions) error {
	view, err := a.view(viewFlags{})
	if err != nil {
		return err
	}
	cast, err := a.openTranscript(ctx, m)
	if err != nil {
		return err
	}
	defer func() { _ = cast.Close() }()
	switch {
	case o.json && !isTerminal(a.Stdout):
		_, err = io.Copy(a.Stdout, cast)
	case isTerminal(a.Stdout):
		err = session.Play(ctx, cast, a.Stdout, o.speed, view.Allow...)
	default:
		err = session.Text(cast, a.Stdout)
	}
	if ctx.Err() != nil {
		return nil // that is how one stops it
	}
	return err
}

// openTranscript opens the transcript of the last run: what the backend still has of it is
// newer than what is in the state.
func (a *App) openTranscript(ctx context.Context, m state.Metadata) (io.ReadCloser, error) {
	if m.EndedAt == nil {
		backend, err := a.backend(m.Backend)
		if err != nil {
			return nil, err
		}
		cast, err := backend.Transcript(ctx, m.Identity)
		if err == nil {
			return cast, nil
		}
		if errors.Is(err, bottle.ErrNoTerminal) {
			return nil, noTranscript(m.Identity)
		}
		if !errors.Is(err, bottle.ErrNotRunning) {
			return nil, fmt.Errorf("cannot read the transcript of %s: %w", m.Identity, err)
		}
	}
	if m.TranscriptLeft && !m.Remove && m.EndedAt != nil && !a.store().HasTranscript(m) {
		return nil, &usageError{what: "the transcript of " + m.Identity + " is still on its machine's disk", hint: "bot-bottle resume, cp and pull keep it, if that machine is still there"}
	}
	kept := a.store().Transcripts(m.Identity)
	if len(kept) == 0 {
		return nil, noTranscript(m.Identity)
	}
	return os.Open(kept[len(kept)-1])
}

func noTranscript(identity string) error {
	return &usageError{what: "there is no transcript of " + identity, hint: "only an agent with a terminal has one; bot-bottle logs " + identity + " shows what it did"}
}
