package gitgate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// push is one that the bottle makes. What happens to it is decided in git's hook, while
// its objects are in quarantine.
type push struct {
	server  *Server
	mirror  *mirror
	check   *checker
	ctx     context.Context
	started time.Time
	checked float64 // milliseconds that the check took
	sent    float64 // and sending it upstream

	mu       sync.Mutex
	deciding chan struct{}      // closed when the decision is made; nil until git asks
	over     bool               // nobody waits for a decision any more
	approved *held              // what the operator has approved of it; nil for a push that did not wait
	renamed  []policy.RefUpdate // what git makes the mirror's refs, and what they are upstream
	shown    *pushed            // to the operator; nil if the upstream does not have it
	unknown  bool               // it was sent, and nobody can say whether the upstream has it
}

// push takes a pack in (gitprotocol-pack(5)), and lets git ask us by way of its hook.
func (s *Server) push(w http.ResponseWriter, r *http.Request, m *mirror) {
	release, err := s.places.take(r.Context(), m)
	if err != nil {
		return
	}
	defer release()
	ctx, cancel := context.WithCancel(r.Context())
	p := &push{server: s, mirror: m, check: s.checks.Load(), ctx: ctx, started: time.Now()}
	env, end := s.hooks.begin(p)
	m.receiving.begin(p)
	defer m.receiving.end(p, m.dir)
	defer p.finish()
	defer cancel()
	defer end()
	said := &lastBytes{}
	in, out := s.backend(w, r, m, backendCall{path: receivePack, extra: env, said: said})
	if out > 0 && string(said.b) != flushPacket {
		// A git whose answer ends before its end waits for the rest for ever, unless the connection ends (git-remote-http).
		_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
	}
	if in > int64(len("0000")) && !p.asked() { // less is how git asks whether it may
		p.record(&verdict{}, audit.Deny, "git did not take it in: it is broken, too large, or was cut short")
	}
}

// flushPacket is the last of what git answers (gitprotocol-common(5)).
const flushPacket = "0000"

// lastBytes keeps as many of those that were written to it as a flushPacket has.
type lastBytes struct{ b []byte }

func (l *lastBytes) Write(p []byte) (int, error) {
	l.b = append(l.b, p[max(0, len(p)-len(flushPacket)):]...)
	l.b = l.b[max(0, len(l.b)-len(flushPacket)):]
	return len(p), nil
}

// asked reports whether git has asked for a decision.
func (p *push) asked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deciding != nil
}

// begin locks the mirror for the rest of the push, once; false if it is over.
func (p *push) begin() bool {
	p.mu.Lock()
	if p.over || p.deciding != nil {
		p.mu.Unlock()
		return false
	}
	p.deciding = make(chan struct{})
	p.mu.Unlock()
	p.mirror.mu.Lock()
	return true
}

// finish waits for a decision that is being made, and lets go of the mirror: by now git has
// changed its refs, or not.
func (p *push) finish() {
	p.mu.Lock()
	p.over = true
	deciding := p.deciding
	p.mu.Unlock()
	if deciding != nil {
		<-deciding
		p.mirror.current = false
		if len(p.renamed) > 0 {
			if err := p.mirror.takeOver(context.WithoutCancel(p.ctx), p.renamed); err != nil {
				p.server.Log.Info("the mirror has what was pushed until the next fetch", "repository", p.mirror.Name, "err", err)
			}
		}
		p.mirror.mu.Unlock()
		if p.shown != nil { // its objects are the mirror's by now
			p.server.show(*p.shown)
		}
	}
}

// maxRefs bounds how many refs one push may change.
const maxRefs = 100

// checkTimeout bounds the inspection of one push.
const checkTimeout = 10 * time.Minute

// decide is the hook's answer: whether git may take the push over, which is so once the
// upstream has it.
func (p *push) decide(q question, say func(string)) bool {
	if !p.begin() {
		return false
	}
	defer close(p.deciding)
	ctx, cancel := context.WithTimeout(p.ctx, checkTimeout)
	defer cancel()
	say = spoken(say)
	g, err := p.quarantined(q)
	if err != nil {
		say("REFUSED: " + err.Error())
		p.record(&verdict{}, audit.Deny, err.Error())
		return false
	}
	if err := p.server.volume.room(sizeOf(q.Quarantine)); err != nil {
		p.server.tidy() // once this push is over
		say("REFUSED: " + err.Error())
		p.record(&verdict{}, audit.Deny, err.Error())
		return false
	}
	if err := p.mirror.look(ctx); err != nil { // another push may have changed refs since
		const why = "the gate cannot read its refs"
		say("REFUSED: " + why)
		p.record(&verdict{}, audit.Deny, why)
		return false
	}
	began := time.Now()
	v := p.judgeNow(ctx, g, q.Updates)
	if n := v.commits(); len(v.refused) == 0 && n > 0 {
		say(fmt.Sprintf("checked %s, %s: no secrets", plain.Count(n, "commit"), plain.Count(v.seen.objects, "object")))
	}
	if len(v.refused) == 0 {
		if err := p.sign(ctx, g, v, say); err != nil {
			p.server.Log.Info("a push could not be signed", "repository", p.mirror.Name, "err", err)
			v.refuse("it could not be signed: %s", p.server.mask(err.Error()))
		}
	}
	p.checked = millis(began)
	for _, line := range v.report() {
		say(line)
	}
	switch {
	case len(v.refused) > 0:
		p.record(v, audit.Deny, strings.Join(v.refused, "; "))
		return false
	case len(v.held) > 0:
		return p.hold(ctx, g, v, say)
	}
	return p.forward(g, v, say)
}

// spoken puts our name before what the client shows after "remote: ", and takes out what would steer
// a terminal: an upstream's names are in it.
func spoken(say func(string)) func(string) {
	return func(text string) { say("bot-bottle: " + printable(text)) }
}

// quarantined is git with the objects that are not visible yet.
func (p *push) quarantined(q question) (git, error) {
	g := p.mirror.local
	if q.Quarantine == "" { // without a pack there is nothing new: refs are deleted
		return g, nil
	}
	objects := filepath.Join(g.dir, "objects")
	dir := filepath.Clean(q.Quarantine)
	if filepath.Dir(dir) != objects {
		return g, errors.New("git did not put the push into quarantine")
	}
	g.extra = quarantineEnv(dir, objects)
	return g, nil
}

func quarantineEnv(dir, objects string) []string {
	return []string{"GIT_OBJECT_DIRECTORY=" + dir, "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + objects, "GIT_QUARANTINE_PATH=" + dir}
}

// verdict is what is to be done with a push. All texts are for the client.
type verdict struct {
	updates []policy.RefUpdate
	seen    *inspection
	refused []string
	advice  []string
	held    []string           // why it waits for the operator
	renamed []policy.RefUpdate // from what was pushed to the signed copy
	there   bool               // the upstream has it already
	again   bool               // an approved one was refused for the time being: the upstream has not said what it makes of it
	unknown bool               // an approved one may be upstream
	grant   string             // that it was forwarded by; "" if it needs none
	request string             // as which it waits
}

func (v *verdict) refuse(format string, args ...any) {
	v.refused = append(v.refused, fmt.Sprintf(format, args...))
}

// advise says how to mend it; each advice once.
func (v *verdict) advise(lines ...string) {
	if len(lines) > 0 && !slices.Contains(v.advice, lines[0]) {
		v.advice = append(v.advice, lines...)
	}
}

// report is the verdict in lines.
func (v *verdict) report() []string {
	var all []string
	for i, why := range v.refused {
		if i == maxReported {
			all = append(all, fmt.Sprintf("… and %d more", len(v.refused)-i))
			break
		}
		all = append(all, "REFUSED: "+why)
	}
	return append(all, v.advice...)
}

// maxReported bounds how many reasons are told.
const maxReported = 20

// commits is how many it brings, as far as that was looked at.
func (v *verdict) commits() int {
	if v.seen == nil {
		return 0
	}
	return len(v.seen.commits)
}

// judgeNow judges a push by what the gate knows in the end: a secret that is to be looked for may
// come meanwhile.
func (p *push) judgeNow(ctx context.Context, g git, lines string) *verdict {
	for {
		p.check = p.server.checks.Load()
		if v := p.judge(ctx, g, lines); p.check == p.server.checks.Load() || ctx.Err() != nil {
			return v
		}
	}
}

// judge checks a push: first its refs, which costs nothing, then what it brings.
func (p *push) judge(ctx context.Context, g git, lines string) *verdict {
	v := &verdict{}
	if err := p.readUpdates(ctx, g, v, lines); err != nil {
		v.refuse("%v", err)
	}
	if len(v.refused) > 0 {
		p.askForRefs(v)
		return v
	}
	var tips, refs []string
	for _, u := range v.updates {
		refs = append(refs, u.Ref)
		if u.New != "" {
			tips = append(tips, u.New)
		}
	}
	var err error
	if v.seen, err = p.check.inspect(ctx, g, tips, refs, p.sensitive); err == nil {
		err = p.protected(ctx, g, v)
	}
	if err != nil {
		v.seen = nil
		p.unchecked(v, err)
		return v
	}
	p.judgeSecrets(v)
	p.judgePeople(v)
	p.judgePaths(v)
	if p.mirror.Push.Hold {
		v.held = append(v.held, requests.AsEvery(p.mirror.Name))
	}
	return v
}

// unchecked refuses what could not be inspected.
func (p *push) unchecked(v *verdict, err error) {
	if much := (*errTooMuch)(nil); errors.As(err, &much) {
		v.refuse("%s", much.what)
		v.advise("What the gate does not take, the operator can look at and push: tell them of the branch, which bot-bottle pull fetches.")
		return
	}
	p.server.Log.Info("a push could not be checked", "repository", p.mirror.Name, "err", err)
	if errors.Is(err, context.DeadlineExceeded) {
		v.refuse("it could not be checked within %s: push less at a time", checkTimeout)
		return
	}
	v.refuse("it could not be checked: %s", p.server.mask(err.Error()))
}

// readUpdates reads the hook's input, "old new ref" a line, and checks each by what it does
// to the upstream.
func (p *push) readUpdates(ctx context.Context, g git, v *verdict, lines string) error {
	for line := range strings.Lines(lines) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(fields) != 3 || len(v.updates) == maxRefs {
			return fmt.Errorf("it changes more than %d refs at once", maxRefs)
		}
		u := policy.RefUpdate{Ref: fields[2], Old: orNone(fields[0]), New: orNone(fields[1])}
		name := p.check.clean(u.Ref)
		if u.Old != p.mirror.refs.IDs[u.Ref] {
			v.refuse("%s has moved upstream meanwhile: fetch, and push again", name)
			continue
		}
		if err := g.resolve(ctx, &u); err != nil {
			v.refuse("%s: %v", name, err)
			continue
		}
		if err := p.mirror.checkUpdate(u); err != nil && !p.approved.covers(u, p.mirror.refs) {
			v.refuse("%s: %v", name, err)
		} else if other := p.mirror.other(ctx, u); other != "" {
			v.refuse("%s: upstream it is where %s is, and the upstream does not say whether one stands for the other: push another branch", name, p.check.clean(other))
		}
		v.updates = append(v.updates, u)
	}
	if len(v.updates) == 0 && len(v.refused) == 0 {
		return errors.New("it changes nothing")
	}
	return policy.CheckTogether(v.updates)
}

// orNone turns git's id for nothing into none.
func orNone(id string) string {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// resolve looks at what an update's new id is, and whether it continues the old one.
func (g git) resolve(ctx context.Context, u *policy.RefUpdate) error {
	if u.New == "" {
		return nil
	}
	out, err := g.run(ctx, nil, "cat-file", "-t", u.New)
	kind := strings.TrimSpace(string(out))
	isTag := strings.HasPrefix(u.Ref, "refs/tags/")
	switch {
	case err != nil:
		return errors.New("what it is to be cannot be read")
	case kind != "commit" && !(isTag && kind == "tag"):
		return fmt.Errorf("it would be a %s, not a commit", kind)
	}
	if kind == "tag" {
		if _, err := g.run(ctx, nil, "rev-parse", "--verify", "--quiet", u.New+"^{commit}"); err != nil {
			return errors.New("the tag is not of a commit")
		}
	}
	if u.Old == "" {
		return nil
	}
	_, err = g.run(ctx, nil, "merge-base", "--is-ancestor", u.Old, u.New)
	if err != nil && status(err) != 1 {
		return errors.New("it cannot be compared with what is upstream")
	}
	u.Forced = err != nil
	return nil
}

// judgeSecrets refuses secrets, with where they are and what to do.
func (p *push) judgeSecrets(v *verdict) {
	var first string
	var rules []string // that the operator may change
	for _, f := range v.seen.findings {
		if f.Action == dlp.Alert {
			continue
		}
		v.refuse("%s", f)
		if first == "" {
			first = f.commit
		}
		if f.Rule != dlp.RuleKnownValue && f.Rule != dlp.RulePlaceholder && !slices.Contains(rules, f.Rule+": alert") {
			rules = append(rules, f.Rule+": alert")
		}
	}
	if len(v.refused) == 0 {
		return
	}
	id, _, _ := strings.Cut(first, " ")
	if id == "" {
		id = "THE-COMMIT"
	}
	v.advise("A secret stays in history when a later commit takes it out. Rewrite the commits that bring it:",
		"  git rebase -i "+id+"^    # mark it edit, take the secret out, git commit --amend, git rebase --continue",
		"Then push again.")
	if len(rules) > 0 {
		v.advise("If it is no secret (a key that only a test has, say), ask the operator, who can let it pass with egress: {scan: {" + strings.Join(rules[:min(len(rules), 3)], ", ") + "}} in the bottle's manifest.")
	}
}

// String is a finding for the client, without the secret.
func (f finding) String() string {
	what := "a secret (" + f.Rule + ")"
	switch {
	case f.Rule == dlp.RuleKnownValue:
		what = "this bottle's credential " + f.Name
	case f.Rule == dlp.RulePlaceholder:
		what = "the placeholder of this bottle's credential " + f.Name
	}
	if len(f.Encoding) > 0 {
		what += " in " + strings.Join(f.Encoding, " in ")
	}
	where := f.object.path
	switch {
	case f.kind == "commit" || f.kind == "tag":
		where = fmt.Sprintf("%s %.10s itself (message or names)", f.kind, f.object.id)
	case f.kind == "tree":
		where = fmt.Sprintf("the name of a file (%s)", where)
	case f.kind == "ref":
		where = fmt.Sprintf("the name of a ref (%s)", where)
	case f.line > 0:
		where += fmt.Sprintf(":%d", f.line)
	}
	if f.commit != "" && f.kind != "commit" {
		where += ", commit " + f.commit
	}
	return what + " in " + where
}

// judgePeople refuses commits in somebody else's name (ATTACKS E8).
func (p *push) judgePeople(v *verdict) {
	if p.mirror.Push.Others || len(v.seen.strange) == 0 {
		return
	}
	want := p.check.author
	for i, c := range v.seen.strange {
		if i == 5 {
			v.refuse("%d more commits carry another name", len(v.seen.strange)-i)
			break
		}
		v.refuse("commit %s is by %s and %s, not by %s", p.check.short(c), cut(p.check.clean(c.author.String()), 80), cut(p.check.clean(c.committer.String()), 80), want)
	}
	v.advise("Commits from this bottle carry its agent's name. To set it: git rebase -r UPSTREAM --exec 'git commit --amend --no-edit --reset-author'")
}

// record writes down what became of the push.
func (p *push) record(v *verdict, decision, reason string) {
	p.server.record(p.event(v, decision, reason))
}

// recordOpening writes down that it is sent, before the upstream has any of it: should the gate be
// killed meanwhile, that is known.
func (p *push) recordOpening(v *verdict) {
	e := p.event(v, audit.Allow, "")
	e.Phase, e.Millis = audit.Ahead, 0
	p.server.record(e)
}

func (p *push) event(v *verdict, decision, reason string) audit.Event {
	e := audit.Event{
		Time: p.started, Kind: audit.Push, Decision: decision, Request: v.request, Repository: p.mirror.Name, Reason: p.server.mask(reason), Millis: millis(p.started), Check: p.checked, Forward: p.sent, Grant: v.grant,
	}
	if p.approved != nil {
		e.Request, e.Commits = p.approved.ID, p.approved.Push.Count
	}
	for _, u := range v.updates {
		update := audit.Update{Ref: p.check.clean(u.Ref), Old: u.Old, New: u.New, Forced: u.Forced}
		if i := slices.IndexFunc(v.renamed, func(r policy.RefUpdate) bool { return r.Ref == u.Ref }); i >= 0 {
			update.Pushed = v.renamed[i].Old
		}
		e.Updates = append(e.Updates, update)
	}
	if v.seen != nil {
		e.Commits, e.Objects, e.BytesOut = len(v.seen.commits), v.seen.objects, v.seen.bytes
		for i, f := range v.seen.findings {
			if i == maxReported {
				break
			}
			place := f.object.path
			if f.line > 0 {
				place += fmt.Sprintf(":%d", f.line)
			}
			e.Findings = append(e.Findings, audit.Finding{
				Rule: f.Rule, Secret: f.Name, Part: f.kind, Action: string(f.Action), Encoding: strings.Join(f.Encoding, " in "), Place: place, Commit: f.commit,
			})
		}
	}
	return e
}
