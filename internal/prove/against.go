package prove

import (
	"cmp"
	"context"
	"errors"
	"io"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
)

// Against attacks another set-up in the same way, to show that the attacks can succeed: open
// makes it and hands over what Run works on. There is no proxy, gate or operator in it, so
// what is about those is not tried.
func Against(ctx context.Context, name string, open func(func(bottle.Bottle) error) error, o Options) (r Report, err error) {
	r = Report{On: name, Started: o.Now()}
	defer func() { r.Took = o.Now().Sub(r.Started) }()
	s, err := newStage(ctx, cmp.Or(o.Address, Address()))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	err = open(func(b bottle.Bottle) error {
		for _, user := range []bottle.User{bottle.Root, bottle.Node} {
			o.Say.Say("attacking as " + string(user))
			arena := s.arena()
			arena.User, arena.Only, arena.Supervise = string(user), o.Only, false
			arena.Allowed, arena.Repository = "", ""
			arena.Canary.Prefix = ""
			found, err := Inside(arena, func(stdin io.Reader, stdout, stderr io.Writer) (int, error) {
				return b.Run(ctx, []string{control.Binary, "guest", "prove"}, user, bottle.IO{Stdin: stdin, Stdout: stdout, Stderr: stderr})
			})
			if err != nil {
				return err
			}
			r.Outcomes = append(r.Outcomes, found...)
		}
		r.Outcomes = append(r.Outcomes, look([]view{{"H1", "terminal", terminalClaim, func() []inside.Attempt { return unfiltered(ctx, b) }}}, o.Only)...)
		return nil
	})
	r.Outcomes = append(r.Outcomes, look([]view{s.hostView()}, o.Only)...)
	sortOutcomes(r.Outcomes)
	return r, err
}
