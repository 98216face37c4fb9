package gitgate

import (
	"context"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// sensitive reports whether a change of a path is held or refused.
func (p *push) sensitive(path string) bool {
	action, _ := p.mirror.Push.PathAction(path)
	return action != policy.AllowPath
}

// protected adds what a protected branch itself gets: its commits may be upstream already,
// on a branch that anybody may push to. A new one gets what it has beside the default branch.
func (p *push) protected(ctx context.Context, g git, v *verdict) error {
	for _, u := range v.updates {
		if u.New == "" || !p.mirror.Push.Protects(u.Ref, p.mirror.refs) {
			continue
		}
		from, err := g.diffBase(ctx, p.mirror.trunk(), u)
		if err != nil {
			return err
		}
		paths, err := g.moved(ctx, from, u.New, p.sensitive)
		if err != nil {
			return err
		}
		for _, path := range paths {
			v.seen.changed = append(v.seen.changed, change{u.New, path})
		}
	}
	return nil
}

// judgePaths holds or refuses changes of paths that others act on.
func (p *push) judgePaths(v *verdict) {
	worst := make(map[string]policy.PathAction)
	var order []string
	for _, c := range v.seen.changed {
		if _, known := worst[c.path]; !known {
			action, _ := p.mirror.Push.PathAction(c.path)
			worst[c.path] = action
			order = append(order, c.path)
		}
	}
	for _, path := range order {
		switch worst[path] {
		case policy.HoldPath:
			v.held = append(v.held, "it changes "+cut(p.check.clean(path), 120))
		case policy.RefusePath:
			v.refuse("%s may not be changed from here", cut(p.check.clean(path), 120))
		}
	}
}
