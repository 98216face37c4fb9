package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// edit lets the operator change what was asked for, as JSON, in an editor of theirs.
func (a *App) edit(ctx context.Context, desk control.Client, s requests.Shown) (requests.Shown, error) {
	var to requests.Change
	var err error
	switch s.Kind {
	case requests.Egress, requests.Secret:
		err = a.inEditor(ctx, s.Routes, &to.Routes)
	case requests.Repo:
		to.Push = &policy.Push{}
		err = a.inEditor(ctx, policy.Push{Refs: s.Git.Push.Refs, Force: s.Git.Push.Force, Delete: s.Git.Push.Delete}, to.Push)
	case requests.Capability:
		to.Image = &requests.Image{}
		err = a.inEditor(ctx, s.Image, to.Image)
	default:
		err = &usageError{what: "only routes, refs and changes of the image can be edited", hint: "reject it with a reason, and let the agent ask again"}
	}
	if err != nil {
		return s, err
	}
	edited, err := desk.Edit(ctx, s.ID, s.Digest, to)
	if err != nil {
		return s, fmt.Errorf("cannot edit %s: %w", s.ID, err)
	}
	return edited, nil
}

// inEditor shows a value in the operator's editor, and reads it back into another.
func (a *App) inEditor(ctx context.Context, from, to any) error {
	before, err := json.MarshalIndent(from, "", "  ")
	if err != nil {
		return err
	}
	after, err := a.editText(ctx, before)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(after))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil {
		return fmt.Errorf("cannot read what you wrote: %w", err)
	}
	return nil
}

func (a *App) editText(ctx context.Context, text []byte) ([]byte, error) {
	editor := a.Getenv("VISUAL")
	if editor == "" {
		editor = a.Getenv("EDITOR")
	}
	if editor == "" {
		return nil, &usageError{what: "there is no editor", hint: "set $EDITOR"}
	}
	f, err := os.CreateTemp("", "bot-bottle-*.json")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", f.Name()) // as git does: it may have arguments
	command.Stdin, command.Stdout, command.Stderr = a.Stdin, a.Stderr, a.Stderr
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("cannot edit it with %s: %w", editor, err)
	}
	return os.ReadFile(f.Name())
}
