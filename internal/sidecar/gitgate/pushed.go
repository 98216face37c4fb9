package gitgate

import (
	"context"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// pushed is a push that did not wait, and that the upstream has. It was checked: no secret
// that is known is in it.
type pushed struct {
	mirror  *mirror
	updates []policy.RefUpdate
	trunk   string // what the default branch was at
}

// show has a push shown to the operator, some time later: nobody waits for it. Where too many
// are to be shown, it is not.
func (s *Server) show(p pushed) {
	select {
	case s.pushed <- p:
	default:
	}
}

// showPushed hands in what pushes have changed, one after the other, until ctx ends.
func (s *Server) showPushed(ctx context.Context) {
	for {
		select {
		case p := <-s.pushed:
			if err := s.handIn(ctx, p); err != nil && ctx.Err() == nil {
				s.Log.Info("what a push has changed could not be shown", "repository", p.mirror.Name, "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// diffTimeout bounds how long git takes to tell what a push has changed.
const diffTimeout = 30 * time.Second

func (s *Server) handIn(ctx context.Context, p pushed) error {
	limited, cancel := context.WithTimeout(ctx, diffTimeout)
	defer cancel()
	var text strings.Builder
	var updates []audit.Update
	for _, u := range p.updates {
		updates = append(updates, audit.Update{Old: u.Old, New: u.New})
		if u.New == "" {
			continue
		}
		from, err := p.mirror.local.diffBase(limited, p.trunk, u)
		if err != nil {
			return err
		}
		diff, err := p.mirror.local.diff(limited, from, u.New)
		if err != nil {
			return err
		}
		text.Write(diff)
	}
	const room = control.MaxPushed - 100 // for what cutBytes says
	return s.Holder.Pushed(limited, control.Pushed{
		Key: control.PushKey(p.mirror.Name, updates), Text: strings.ToValidUTF8(cutBytes(text.String(), room), "?"),
	})
}
