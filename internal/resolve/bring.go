package resolve

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/filecopy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
)

// What is brought to a guest that waits for it, on one stream (package control, machine.go).

// Attach is what becomes of the stream once the agent runs; "" if nothing does.
func (p Plan) Attach() string {
	switch {
	case p.TTY && p.Detached:
		return ""
	case p.TTY:
		return control.SaySession
	}
	return control.SayPipe
}

// patience is how long Fill may be silent.
const patience = 2 * time.Second

// Fill sends the bottle's files, and the repository at hand.
func (p Plan) Fill(ctx context.Context, to control.Pieces, files *provision.Archive, say bottle.Progress) error {
	if err := files.Tar(to); err != nil {
		return err
	}
	if p.Source != nil {
		defer time.AfterFunc(patience, func() { say.Say("bringing " + p.Source.Root + " along; that takes longer the more history it has") }).Stop()
		packed, remove, err := provision.PackRepository(ctx, *p.Source, p.Git)
		if err != nil {
			return err
		}
		err = filecopy.Pack(to, packed, provider.Workspace[1:], provider.UID, nil)
		if err := errors.Join(err, remove()); err != nil {
			return err
		}
	}
	return to.Close()
}

// Order is what the guest is to run, with the services that it reaches.
func (p Plan) Order(env []string, services []control.Service) control.Order {
	o := control.Order{Argv: p.Command(), Env: env, Dir: provider.Workspace, Services: services, Stdin: p.Stdin, Awaited: !p.Detached, NProc: uint64(p.PIDs)}
	if p.TTY {
		o.Size = bottle.Size{Width: cmp.Or(p.Size.Width, 80), Height: cmp.Or(p.Size.Height, 24)}
	}
	return o
}
