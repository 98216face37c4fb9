package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// change approves a change of a bottle's image: it is built first, so that what cannot be
// built is not approved, and then the bottle is started again with it.
func (a *App) change(ctx context.Context, desk control.Client, s requests.Shown, d requests.Decision, flags approval) error {
	if d.Scope != (requests.Scope{}) || flags.session {
		return &usageError{what: s.ID + " is a change of the image, which stays for as long as there is the bottle", hint: "bot-bottle approve " + s.ID + ", with --always to have it in the manifest's Dockerfile as well"}
	}
	record, err := a.recordOf(s.Bottle)
	if err != nil {
		return err
	}
	if record.Remove {
		return &usageError{what: "cannot approve " + s.ID + ": " + s.Bottle + " was started with --rm, and would lose its home and workspace when it is started again", hint: "bot-bottle reject " + s.ID + " --reason …, and put it into the manifest's Dockerfile"}
	}
	backend, err := a.backend(record.Backend)
	if err != nil {
		return err
	}
	if err := a.startable(ctx, backend, record); err != nil && !flags.later {
		return fmt.Errorf("cannot approve %s: %w", s.ID, err)
	}
	keep, err := a.agree(ctx, s, flags)
	if err != nil {
		return err
	}
	layer := image.Layer{Packages: s.Image.Packages, Dockerfile: s.Image.Dockerfile}
	if err := backend.Build(ctx, s.Bottle, layer, (&operator{app: a}).Progress); err != nil {
		return fmt.Errorf("%s is not approved: %w", s.ID, err)
	}
	d.Digest = s.Digest
	done, err := desk.Decide(ctx, s.ID, d)
	if err != nil {
		return fmt.Errorf("cannot approve %s: %w", s.ID, err)
	}
	if err := keep(); err != nil {
		return fmt.Errorf("%s is approved, but not for good: %w", s.ID, err)
	}
	if flags.later {
		return a.done(done, flags.json, fmt.Sprintf("granted %s; %s has it when it is resumed", s.ID, s.Bottle))
	}
	if err := a.restart(ctx, s); err != nil {
		return fmt.Errorf("%s is approved, and the image is built, but %s did not start again: %w", s.ID, s.Bottle, err)
	}
	return a.done(done, flags.json, fmt.Sprintf("granted %s; %s runs with it: bot-bottle attach %s", s.ID, s.Bottle, s.Bottle))
}

// agree shows a change, and asks. What it returns keeps it for good, where that was asked for.
func (a *App) agree(ctx context.Context, s requests.Shown, flags approval) (keep func() error, err error) {
	if flags.digest != "" && flags.digest != s.Digest {
		return nil, fmt.Errorf("cannot approve %s: %w", s.ID, requests.ErrChanged)
	}
	_, _ = fmt.Fprint(a.Stderr, a.shown(s, a.errWidth()))
	keep = func() error { return nil }
	if flags.always {
		change, err := a.forGood(s)
		if err != nil {
			return nil, fmt.Errorf("cannot approve %s for good: %w", s.ID, err)
		}
		_, _ = fmt.Fprint(a.Stderr, printableLines(change.diff(a.errWidth())))
		keep = change.write
	}
	if flags.yes {
		return keep, nil
	}
	question := "Build it, and start the bottle again?"
	if flags.later {
		question = "Build it?"
	}
	if ok, err := a.ask(ctx, question); err != nil || !ok {
		return nil, errors.Join(err, notGranted(err))
	}
	return keep, nil
}

// settleLimit bounds how long whoever holds a bottle may take to let go of it.
const settleLimit = time.Minute

// restart stops a bottle, and resumes it in the background with a word to its agent.
func (a *App) restart(ctx context.Context, s requests.Shown) error {
	if err := a.stopOne(ctx, s.Bottle); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for a.store().Locked(s.Bottle) { // whoever was attached records the end
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	note := "Your operator approved " + s.ID + ", and this machine was restarted with it. Go on with what you were doing."
	silent := *a
	silent.Stdout = io.Discard // whoever approves says what runs
	return silent.runResume(ctx, s.Bottle, []string{note}, startFlags{yes: true, detach: true})
}

// startable makes sure that a bottle could be started from here: its secrets are found, for
// one. Nothing is stopped that could not come back.
func (a *App) startable(ctx context.Context, backend bottle.Backend, record state.Metadata) error {
	spec, err := a.spec(record.Agent, nil, startFlags{detach: true})
	if err != nil {
		return err
	}
	spec.Identity = record.Identity
	if _, err := backend.Prepare(ctx, spec); err != nil {
		return fmt.Errorf("%s could not be started again from here: %w", record.Identity, err)
	}
	return nil
}
