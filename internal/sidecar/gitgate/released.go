package gitgate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// release carries an approved push out: the object ids that were shown, and no others. It is
// judged again, as if it were pushed now: a secret may be known that was not when it was parked,
// and what the bottle may do may have changed. The approval stands for the waiting, and for a
// grant that allowed the push when it was shown and has ended since; for nothing else. Where the
// upstream does not say what it makes of it, the approval is given back: it is not used up, and must
// not stay good until the upstream is there again. Then the push waits as it did before.
func (s *Server) release(ctx context.Context, h *held) (waits bool) {
	result, again := s.carryOut(ctx, h)
	if ctx.Err() != nil && result != control.Forwarded {
		return false // the next gate does it
	}
	if again {
		return s.giveBack(ctx, h, result)
	}
	if err := s.Holder.Done(context.WithoutCancel(ctx), h.ID, result); err != nil {
		s.Log.Info("what became of a held push could not be told", "request", h.ID, "err", err)
	}
	s.drop(h)
	return false
}

// giveBack gives an approval back, and reports whether that is so: else the next gate tries with it.
func (s *Server) giveBack(ctx context.Context, h *held, why string) bool {
	if err := s.Holder.Again(ctx, h.ID, why); err != nil {
		s.Log.Info("that a held push waits again could not be told", "request", h.ID, "err", err)
		return false
	}
	s.ask(ctx, h) // an operator's side that began anew has no diff of it
	return true
}

// carryOut says what became of it, for the operator and the agent, and whether it may be tried again.
func (s *Server) carryOut(ctx context.Context, h *held) (result string, again bool) {
	for {
		all := s.repositories()
		i := slices.IndexFunc(all, func(m *mirror) bool { return m.Name == h.Push.Repository && m.Upstream == h.Push.Upstream })
		if i < 0 {
			return s.nowhere(h), false
		}
		v, err := s.send(ctx, all[i], h)
		switch {
		case errors.Is(err, errUndeclared): // another may be in its place
		case err != nil:
			return err.Error(), false
		case len(v.refused) == 0:
			return control.Forwarded, false
		default:
			return reasons(v.refused), v.again
		}
	}
}

// nowhere says that an approved push has no repository any more.
func (s *Server) nowhere(h *held) string {
	why := h.doubtful(errUndeclared.Error())
	of := &mirror{GitRepository: control.GitRepository{Name: h.Push.Repository}}
	p := &push{server: s, mirror: of, check: s.checks.Load(), started: time.Now(), approved: h}
	p.record(&verdict{updates: h.Push.Updates}, audit.Deny, "approved as "+h.ID+": "+why)
	return why
}

// send sends an approved push, unless the upstream has it already: whoever sent it may have been
// killed before it told. Its error is errUndeclared, where the mirror is not the bottle's any more,
// or that of ctx.
func (s *Server) send(ctx context.Context, m *mirror, h *held) (*verdict, error) {
	release, err := s.places.take(ctx, m)
	if err != nil {
		return nil, err
	}
	defer release()
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &push{server: s, mirror: m, check: s.checks.Load(), ctx: ctx, started: time.Now(), approved: h}
	g := m.local
	g.extra = []string{"GIT_OBJECT_DIRECTORY=" + filepath.Join(h.dir, "objects"), "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + filepath.Join(m.dir, "objects")}
	v := p.judgeApproved(g)
	if m.rights.over() && !v.there {
		return nil, errUndeclared
	}
	if len(v.refused) == 0 {
		if err := p.deliver(g, v); err != nil {
			return nil, err
		}
	}
	switch {
	case len(v.refused) == 0 && v.there:
		p.record(v, audit.Allow, "approved as "+h.ID+": the upstream has it already")
	case len(v.refused) == 0:
		p.record(v, audit.Allow, "approved as "+h.ID+": forwarded")
	case ctx.Err() == nil && v.unknown:
		p.record(v, audit.Unknown, "approved as "+h.ID+": "+reasons(v.refused))
	case ctx.Err() == nil: // else the next gate tries
		p.record(v, audit.Deny, "approved as "+h.ID+": "+reasons(v.refused))
	}
	return v, nil
}

// judgeApproved judges an approved push by what the upstream has, and by what is known and
// allowed now.
func (p *push) judgeApproved(g git) *verdict {
	ctx, end := p.mirror.within(p.ctx)
	defer end()
	v := p.ask(ctx, g)
	if v.there || len(v.refused) > 0 {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	began := time.Now()
	v = p.judgeNow(ctx, g, p.approved.lines())
	p.checked = millis(began)
	return v
}

// ask asks the upstream whether it has an approved push.
func (p *push) ask(ctx context.Context, g git) *verdict {
	v := &verdict{updates: p.approved.Push.Updates}
	if err := p.refreshed(ctx); err != nil {
		v.refuse("%s", p.approved.doubtful("the upstream "+p.server.mask(explain(err, "does not answer"))))
		v.again = true
		return v
	}
	p.look(ctx, g, v)
	return v
}

func (p *push) refreshed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxOperation)
	defer cancel()
	return p.mirror.update(ctx)
}

// look finds out whether the upstream has the push, as far as its refs say. One that was not sent
// is there if it is what they are, to the letter.
func (p *push) look(ctx context.Context, g git, v *verdict) {
	if !p.approved.Sending {
		v.there = !slices.ContainsFunc(v.updates, func(u policy.RefUpdate) bool { return p.mirror.refs.IDs[u.Ref] != u.New })
		return
	}
	missing, moved := g.compare(ctx, v.updates, p.mirror.refs)
	for _, ref := range moved {
		v.refuse("%s", p.approved.doubtful(p.check.clean(ref)+" has moved since"))
	}
	v.there = missing == 0 && len(moved) == 0
}

// doubtful adds to what stands in the way of a push that it may be upstream, if it may.
func (h *held) doubtful(why string) string {
	if !h.Sending {
		return why
	}
	return "it was on its way before, and " + why + ": whether it was upstream before is not known"
}

// deliver sends what was judged, if the upstream does not have it. The next gate can find out
// what became of that. Its error is errUndeclared, where the mirror is not the bottle's any more.
func (p *push) deliver(g git, v *verdict) error {
	h := p.approved
	if v.there && !h.Sending { // by somebody else
		return nil
	}
	grant, give, err := p.take()
	if v.grant = grant; v.there {
		return nil // if it needed a grant that has ended since, that was good when it was sent
	}
	if errors.Is(err, errUndeclared) { // for which no approval stands
		return err
	}
	if err != nil && !h.standsFor(p.mirror) {
		v.refuse("%v", err)
		return nil
	}
	p.recordOpening(v)
	before := *h
	h.Sending, h.Grant = true, cmp.Or(h.Grant, grant)
	if err := h.write(); err != nil {
		*h = before
		p.server.Log.Error("that a push is sent could not be written down", "request", h.ID, "err", err)
		v.refuse("the gate cannot write down that it sends it")
		v.again = true
	} else {
		p.transmit(g, v)
	}
	if len(v.refused) > 0 && !v.unknown && p.ctx.Err() == nil {
		p.takeBack(v, give)
	}
	return nil
}

// take takes the grant that an approved push needs, unless it has been sent by it before.
func (p *push) take() (grant string, give func(), err error) {
	if p.approved.Grant == "" {
		return p.mirror.use(p.approved.Push.Updates)
	}
	if p.mirror.rights.over() {
		err = errUndeclared
	}
	return "", func() {}, err
}

// takeBack gives the use of a grant back that came to nothing. That it is on record no more is
// written down first: a gate that begins anew must not send by it for nothing.
func (p *push) takeBack(v *verdict, give func()) {
	h := p.approved
	if v.grant != "" && h.Grant == v.grant {
		h.Grant = ""
		if err := h.write(); err != nil {
			p.server.Log.Error("that a push was not sent by its grant could not be written down", "request", h.ID, "err", err)
			h.Grant, v.grant = v.grant, ""
			return
		}
	}
	give()
}

func (p *push) transmit(g git, v *verdict) {
	ctx, cancel := context.WithTimeout(p.ctx, maxOperation)
	defer cancel()
	began := time.Now()
	said, err := p.mirror.send(ctx, g.extra, v.updates)
	p.sent = millis(began)
	if err != nil {
		why := "the upstream " + explain(err, "did not take it")
		if len(said) > 0 {
			why += "; it said: " + strings.Join(said, "; ")
		}
		v.refuse("%s", p.server.mask(why))
		if !errors.As(err, new(*rejected)) {
			p.lookAgain(g, v)
			v.unknown = v.unknown || !v.there && errors.Is(err, errNoAnswer) // it may take it yet
		}
	}
}

// lookAgain finds out what became of a push on which the upstream gave no answer.
func (p *push) lookAgain(g git, v *verdict) {
	ctx, end := p.mirror.within(p.ctx)
	defer end()
	now := p.ask(ctx, g)
	if v.there = now.there; v.there {
		v.refused = nil
		return
	}
	v.refused = append(v.refused, now.refused...)
	v.unknown = len(now.refused) > 0
	v.again = now.again || len(now.refused) == 0 // it has none of it
}

// lines are what git's hook would be asked about it.
func (h *held) lines() string {
	var b strings.Builder
	for _, u := range h.Push.Updates {
		_, _ = fmt.Fprintf(&b, "%s %s %s\n", orZeros(u.Old), orZeros(u.New), u.Ref)
	}
	return b.String()
}

// orZeros is git's id for nothing, for none.
func orZeros(id string) string { return cmp.Or(id, strings.Repeat("0", 40)) }

// covers reports whether the approval stands for a grant that has ended.
func (h *held) covers(u policy.RefUpdate, have policy.Refs) bool {
	return h != nil && h.Right != nil && h.Right.CheckUpdate(u, have) == nil
}

// standsFor reports whether the approval is all that the push needs besides what is declared.
func (h *held) standsFor(m *mirror) bool {
	return !slices.ContainsFunc(h.Push.Updates, func(u policy.RefUpdate) bool { return m.Push.CheckUpdate(u, m.refs) != nil && !h.covers(u, m.refs) })
}

// maxResult bounds how many reasons a result tells.
const maxResult = 5

func reasons(refused []string) string {
	text := cut(strings.Join(refused[:min(len(refused), maxResult)], "; "), 800)
	if n := len(refused) - maxResult; n > 0 {
		text += fmt.Sprintf("; and %d more", n)
	}
	return text
}
