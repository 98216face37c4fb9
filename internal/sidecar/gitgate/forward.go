package gitgate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// forward sends what was checked to the upstream, and reports whether it has it. Once begun
// it is brought to its end, whether or not the client still waits.
func (p *push) forward(g git, v *verdict, say func(string)) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), maxOperation)
	defer cancel()
	if p.ctx.Err() != nil {
		p.record(v, audit.Deny, "whoever pushed went away before it was forwarded")
		return false
	}
	grant, give, err := p.mirror.use(v.updates)
	if err != nil {
		say("REFUSED: " + err.Error())
		p.record(v, audit.Deny, err.Error())
		return false
	}
	v.grant = grant
	p.recordOpening(v)
	began := time.Now()
	said, err := p.mirror.send(ctx, g.extra, v.updates)
	p.sent = millis(began)
	for _, line := range said {
		say("upstream: " + cut(p.server.mask(line), 400))
	}
	became := "forwarded"
	if err != nil {
		if !p.arrivedAllTheSame(g, v, err, give, say) {
			return false
		}
		became = "forwarded: the upstream has it, and has not said so"
	}
	p.record(v, audit.Allow, became)
	p.renamed = v.renamed
	p.shown = &pushed{p.mirror, v.updates, p.mirror.trunk()}
	for _, u := range v.renamed {
		if branch, ok := strings.CutPrefix(u.Ref, "refs/heads/"); ok {
			say(fmt.Sprintf("%s is upstream as %.10s: go on from there with git pull --rebase origin %s", branch, u.New, branch))
		}
	}
	return true
}

// arrivedAllTheSame says what became of a push that failed, and reports whether the upstream has it.
func (p *push) arrivedAllTheSame(g git, v *verdict, err error, give func(), say func(string)) bool {
	why := func(otherwise string) string {
		return "the upstream " + cut(p.server.mask(explain(err, otherwise)), 400)
	}
	switch p.fate(g, v.updates, err) {
	case nothing:
		give()
		say(why("did not take it"))
		p.record(v, audit.Deny, why("did not take it"))
		return false
	case unclear:
		p.unknown = true
		say(why("broke off before it had answered"))
		p.record(v, audit.Unknown, "whether it is upstream is not known: "+why("broke off before it had answered"))
		return false
	}
	say("the upstream broke off before it had answered, and has it")
	return true
}

// send pushes exact object ids, each if the upstream's ref is still what it was when it was
// checked (git-push(1), --force-with-lease): all of them, or none. It returns what the
// upstream said to whoever pushes.
func (m *mirror) send(ctx context.Context, objects []string, updates []policy.RefUpdate) (said []string, err error) {
	args := []string{"push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed", "--no-recurse-submodules"}
	if len(updates) > 1 {
		args = append(args, "--atomic")
	}
	for _, u := range updates {
		args = append(args, "--force-with-lease="+u.Ref+":"+u.Old) // an empty Old: there must be none
	}
	args = append(args, "--", m.Upstream)
	for _, u := range updates {
		args = append(args, u.New+":"+u.Ref)
	}
	g := m.upstream
	g.extra = objects
	c := g.command(ctx, args...)
	out, complaint := &bounded{most: 1 << 20}, &bounded{most: 64 << 10, tail: true}
	c.Stdout, c.Stderr = out, complaint
	failed := c.Run()
	if ctx.Err() != nil {
		return nil, errNoAnswer
	}
	for line := range strings.Lines(complaint.String()) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "remote:"); ok && strings.TrimSpace(text) != "" {
			said = append(said, printable(strings.TrimSpace(text)))
		}
	}
	if failed == nil {
		return said, nil
	}
	return said, answer(out.String(), said, &gitError{"push", failed, withoutRemote(complaint.String())})
}

// errNoAnswer is of a push that the upstream may have taken all the same.
var errNoAnswer = errors.New("did not answer in time, and may have it all the same: fetch to see")

// rejected is of a push that the upstream has refused, or git for what the upstream has: nothing
// of it is there.
type rejected struct{ refs string }

func (r *rejected) Error() string { return r.refs }

// answer is what the upstream says of each ref that it did not take: lines of
// "!\tfrom:to\t[rejected] (reason)". Where two were at it at the same instant it says no more
// than that it failed, and why before; where it says nothing, git has "[remote failure]".
func answer(porcelain string, said []string, otherwise error) error {
	overtaken := slices.ContainsFunc(said, func(line string) bool {
		return strings.Contains(line, "cannot lock ref") && strings.Contains(line, "but expected")
	})
	var all []string
	heard := true
	for line := range strings.Lines(porcelain) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) < 3 || fields[0] != "!" {
			continue
		}
		_, ref, _ := strings.Cut(fields[1], ":")
		reason := printable(strings.TrimSpace(fields[2]))
		heard = heard && (strings.HasPrefix(reason, "[rejected]") || strings.HasPrefix(reason, "[remote rejected]"))
		if strings.Contains(reason, "stale info") || strings.Contains(reason, "fetch first") || overtaken && strings.Contains(reason, "failed to update ref") {
			reason = "it has moved meanwhile: fetch, and push again"
		}
		all = append(all, fmt.Sprintf("%s: %s", printable(ref), reason))
	}
	if len(all) == 0 {
		return otherwise
	}
	text := strings.Join(all, "; ")
	if !heard {
		return errors.New(text)
	}
	return &rejected{text}
}

func withoutRemote(s string) string {
	var kept strings.Builder
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "remote:") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
