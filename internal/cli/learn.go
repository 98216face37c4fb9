package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// learn prints what a bottle was refused for want of a route, as routes for its manifest.
// The bottle need not run.
func (a *App) learn(ctx context.Context, identity string, asJSON bool) error {
	m, err := a.onRecord(identity)
	if err != nil {
		return err
	}
	log, m, err := a.openLog(ctx, m, false)
	if err != nil {
		return fmt.Errorf("cannot read the audit log of %s: %w", identity, err)
	}
	defer func() { _ = log.Close() }()
	lessons, err := learnFrom(log, m.Identity)
	if err != nil {
		return fmt.Errorf("cannot read the audit log of %s: %w", identity, err)
	}
	proposals := lessons.Proposals()
	if asJSON {
		return printJSON(a.Stdout, append([]audit.Lesson{}, proposals...), true)
	}
	if len(proposals) == 0 {
		_, _ = fmt.Fprintln(a.Stderr, "nothing was refused to "+identity+" for want of a route")
		return nil
	}
	return a.printProposals(m.Identity, m.Bottle, proposals)
}

// learnFrom reads a whole log. One that is out of its place still teaches.
func learnFrom(log io.Reader, identity string) (l audit.Lessons, err error) {
	reader := audit.NewReader(log, identity)
	for {
		e, line, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return l, nil
		case line == nil:
			return l, err
		}
		l.Add(e)
	}
}

func (a *App) printProposals(identity, bottle string, proposals []audit.Lesson) error {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(a.Stdout, format+"\n", args...) }
	say("# What %s was refused for want of a route. The agent chose these names: read each", identity)
	say("# before you add it to bottles/%s.md. Nothing was changed.", bottle)
	say("egress:")
	say("  routes:")
	for _, p := range proposals {
		text, err := manifest.RouteText(p.Route)
		if err != nil {
			return err
		}
		say("    - %s  # %s", text, a.evidence(p))
	}
	return nil
}

// evidence is why a route is proposed.
func (a *App) evidence(p audit.Lesson) string {
	text := plain.Count(p.Times, "time") + ", last " + a.ago(p.Last.Format(time.RFC3339))
	if p.Unsent {
		text += "; nothing was sent yet: methods are a guess"
	} else if len(p.Route.Paths) == 0 {
		text += "; many paths"
	}
	return text
}
