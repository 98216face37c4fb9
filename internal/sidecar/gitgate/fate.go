package gitgate

import (
	"context"
	"errors"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// fate is what became of a push that was sent, and that the upstream did not say it has taken.
type fate int

const (
	unclear fate = iota // nobody can say
	arrived             // it is upstream all the same
	nothing             // nothing of it is
)

// lookTimeout bounds how long the upstream is asked what became of a push: the client waits.
const lookTimeout = 2 * time.Minute

// fate finds out what became of a push that failed. Where that was not the upstream's own word, its
// refs tell, as far as they do. They are only looked at: git is about to change the mirror's itself.
func (p *push) fate(g git, updates []policy.RefUpdate, failed error) fate {
	if errors.As(failed, new(*rejected)) {
		return nothing
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), lookTimeout)
	defer cancel()
	theirs, err := p.mirror.ask(ctx)
	if err != nil {
		return unclear
	}
	missing, moved := g.compare(ctx, updates, theirs)
	switch {
	case missing == len(updates) && !errors.Is(failed, errNoAnswer): // which may take it yet
		return nothing
	case missing == 0 && len(moved) == 0:
		return arrived
	}
	return unclear
}

// compare compares the upstream's refs with what a push was to make of them: how many are as they
// were, and which are neither that nor what was pushed, nor built upon that.
func (g git) compare(ctx context.Context, updates []policy.RefUpdate, theirs policy.Refs) (missing int, moved []string) {
	for _, u := range updates {
		switch is := theirs.IDs[u.Ref]; {
		case is == u.New:
		case is == u.Old:
			missing++
		case u.New != "" && is != "" && !u.Forced && g.contains(ctx, is, u.New):
		default:
			moved = append(moved, u.Ref)
		}
	}
	return missing, moved
}

// contains reports whether a commit is part of another's history.
func (g git) contains(ctx context.Context, tip, commit string) bool {
	_, err := g.run(ctx, nil, "merge-base", "--is-ancestor", commit, tip)
	return err == nil
}
