package gitgate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// held is a push that waits for the operator, as it is kept: beside its objects, so that
// it outlives the gate.
type held struct {
	ID      string           `json:"id"` // of the request
	Push    control.HeldPush `json:"push"`
	Right   *policy.Push     `json:"right,omitempty"`   // of the grant that allowed its refs when it was shown; nil if none had to
	Sending bool             `json:"sending,omitempty"` // it may be upstream
	Grant   string           `json:"grant,omitempty"`   // by which it was sent, and whose use that is already; "" for none

	dir string
}

const heldFile = "push.json"

// hold parks a push. The client is told that nothing is upstream yet, which is what it is
// told of a push that was refused.
func (p *push) hold(ctx context.Context, g git, v *verdict, say func(string)) bool {
	slices.Sort(v.held)
	v.held = slices.Compact(v.held)
	right, err := p.mirror.right(v.updates)
	if err != nil {
		say("REFUSED: " + err.Error())
		p.record(v, audit.Deny, err.Error())
		return false
	}
	r, err := p.park(ctx, g, v, right)
	if refusal := (*requests.Refusal)(nil); errors.As(err, &refusal) {
		say("REFUSED: " + refusal.Reason)
		p.record(v, audit.Deny, refusal.Reason)
		return false
	}
	if err != nil {
		p.server.Log.Error("a push could not be held", "repository", p.mirror.Name, "err", err)
		say("REFUSED: the gate cannot keep it until the operator has looked at it")
		p.record(v, audit.Deny, "it could not be held")
		return false
	}
	if r.Again != "" {
		say("it was approved, and waits again: " + r.Again)
	}
	for _, why := range v.held[:min(len(v.held), maxReported)] {
		say("it waits for the operator: " + why)
	}
	say("NOT PUSHED YET: the operator decides it as " + r.ID + " (check_request " + r.ID + "). Once approved, these very commits go upstream; fetch to see them.")
	v.request = r.ID
	p.record(v, audit.Deny, audit.WaitsAs+r.ID)
	return false
}

// park keeps the push's objects and asks for a decision.
func (p *push) park(ctx context.Context, g git, v *verdict, right requests.PushGrant) (requests.Request, error) {
	whole, err := p.describe(ctx, g, v)
	if err != nil {
		return requests.Request{}, err
	}
	h := &held{Push: whole, dir: p.server.heldDir(whole)}
	if right.Grant != "" {
		h.Right = &right.Push
	}
	p.server.parking.Lock()
	defer p.server.parking.Unlock()
	if old := p.server.waiting[h.dir]; old != nil { // the same push again
		r, err := p.server.Holder.Decision(ctx, old.ID, 0)
		if err == nil && old.open(r) || err != nil && !errors.As(err, new(*requests.Refusal)) {
			return r, err
		}
		delete(p.server.waiting, h.dir) // it is over, and about to be cleared away
	}
	if err := errors.Join(os.RemoveAll(h.dir), keepObjects(g, h.dir), h.write()); err != nil {
		return requests.Request{}, errors.Join(err, os.RemoveAll(h.dir))
	}
	return p.server.handOver(ctx, h)
}

// handOver asks for a decision on what is parked, and has it carried out: whether or not whoever pushed still waits,
// since the operator's side may have taken it down by then. Where that has not answered, what is parked stays for
// the next gate. The caller has parking.
func (s *Server) handOver(ctx context.Context, h *held) (requests.Request, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handOverTimeout)
	defer cancel()
	r, err := s.Holder.Hold(ctx, h.Push)
	if refusal := (*requests.Refusal)(nil); errors.As(err, &refusal) {
		return r, errors.Join(err, os.RemoveAll(h.dir))
	}
	if err != nil {
		return r, err
	}
	h.ID = r.ID
	if err := h.write(); err != nil { // the next gate asks for its id
		s.Log.Info("under which id a held push is shown could not be written down", "request", h.ID, "err", err)
	}
	s.waiting[h.dir] = h
	select {
	case s.parked <- h:
	case <-s.unattended: // the next gate takes it up
	}
	return r, nil
}

// handOverTimeout bounds how long the operator's side may take to take a push down.
const handOverTimeout = time.Minute

// heldDir is named after what is pushed where.
func (s *Server) heldDir(p control.HeldPush) string {
	what, _ := json.Marshal([]any{p.Repository, p.Upstream, p.Updates}) // of strings
	sum := sha256.Sum256(what)
	return filepath.Join(s.Dir, "held", hex.EncodeToString(sum[:12]))
}

// open reports whether something is still to become of a push, as its request says. One that is of
// something else is none of its: a name may be given again where the end of a log was lost.
func (h *held) open(r requests.Request) bool {
	if r.Push == nil || r.Push.Diff != h.Push.Diff || !slices.EqualFunc(r.Push.Updates, h.Push.Updates, sameIDs) {
		return false
	}
	return r.State == requests.Pending || r.OnItsWay()
}

func sameIDs(a, b policy.RefUpdate) bool { return a.Old == b.Old && a.New == b.New }

// drop clears away what is kept of a push that is over, unless it was parked anew.
func (s *Server) drop(h *held) {
	s.parking.Lock()
	defer s.parking.Unlock()
	if s.waiting[h.dir] == h {
		delete(s.waiting, h.dir)
		_ = os.RemoveAll(h.dir)
	}
}

func readHeld(dir string) (*held, error) {
	data, err := os.ReadFile(filepath.Join(dir, heldFile))
	if err != nil {
		return nil, err
	}
	h := &held{dir: dir}
	return h, json.Unmarshal(data, h)
}

// write writes it down, whole or not at all: the operator may have approved it already.
func (h *held) write() error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return state.WriteFile(filepath.Join(h.dir, heldFile), data)
}

// keepObjects makes the quarantined objects outlive their quarantine.
func keepObjects(g git, to string) error {
	to = filepath.Join(to, "objects")
	if len(g.extra) == 0 {
		return os.MkdirAll(to, 0o700) // nothing is new
	}
	from, _ := strings.CutPrefix(g.extra[0], "GIT_OBJECT_DIRECTORY=")
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		return os.Link(path, target)
	})
}

// maxDiff bounds how much of a diff is kept to be looked at, in bytes.
const maxDiff = 1 << 20

// describe puts a push into words and a diff, for the operator.
func (p *push) describe(ctx context.Context, g git, v *verdict) (control.HeldPush, error) {
	whole := control.HeldPush{Push: requests.Push{
		Repository: p.mirror.Name, Upstream: p.mirror.Upstream, Updates: v.updates, Reasons: v.held, Count: len(v.seen.commits),
	}}
	for _, c := range v.seen.commits[:min(len(v.seen.commits), 50)] {
		whole.Commits = append(whole.Commits, requests.Commit{ID: c.id, Author: c.author.String(), Subject: c.subject})
	}
	var text strings.Builder
	sum := sha256.New()
	for _, u := range v.updates {
		if u.New == "" {
			continue
		}
		from, err := g.diffBase(ctx, p.mirror.trunk(), u)
		if err != nil {
			return whole, err
		}
		stat, err := g.run(ctx, nil, "diff-tree", "-r", "--no-ext-diff", "--no-textconv", "--stat=100", "--stat-count=50", from, u.New)
		if err != nil {
			return whole, err
		}
		whole.Stat = append(whole.Stat, strings.Split(strings.TrimRight(string(stat), "\n"), "\n")...)
		diff, err := g.diff(ctx, from, u.New)
		if err != nil {
			return whole, err
		}
		_, _ = sum.Write(diff)
		text.WriteString(cutBytes(string(diff), maxDiff-text.Len()))
	}
	whole.Diff, whole.Text = hex.EncodeToString(sum.Sum(nil)), strings.ToValidUTF8(text.String(), "·")
	return whole, nil
}

func cutBytes(s string, n int) string {
	if n = max(n, 0); len(s) > n {
		return s[:n] + "\n… (the rest is not shown)\n"
	}
	return s
}

// diffBase is what an update is compared with: what the ref is now, or for a new one where
// it left the default branch, or nothing.
func (g git) diffBase(ctx context.Context, trunk string, u policy.RefUpdate) (string, error) {
	if u.Old != "" {
		return u.Old, nil
	}
	if trunk != "" {
		if out, err := g.run(ctx, nil, "merge-base", trunk, u.New); err == nil {
			return strings.TrimSpace(string(out)), nil
		}
	}
	out, err := g.run(ctx, strings.NewReader(""), "hash-object", "-t", "tree", "--stdin") // the empty tree's id
	return strings.TrimSpace(string(out)), err
}

// trunk is what the default branch is at, "" if there is none.
func (m *mirror) trunk() string { return m.refs.IDs[m.refs.Default] }

// diff is what changes between two trees, run through nothing that a repository names.
func (g git) diff(ctx context.Context, from, to string) ([]byte, error) {
	return g.run(ctx, nil, "diff-tree", "-r", "-p", "--no-ext-diff", "--no-textconv", "--no-color", "-M", from, to)
}

// leftHeld are the pushes that waited when the last gate ended.
func (s *Server) leftHeld() (left []*held) {
	s.parking.Lock()
	defer s.parking.Unlock()
	for _, dir := range state.Glob(s.Dir, "held/*") {
		h, err := readHeld(dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // else it ended while it parked it: the client was told so
				s.Log.Error("a held push is lost: what was written down of it cannot be read", "err", err)
			}
			_ = os.RemoveAll(dir)
			continue
		}
		s.waiting[dir] = h
		left = append(left, h)
	}
	return left
}

// attend carries decisions out until ctx ends: on what was left, and on what is parked from now on.
func (s *Server) attend(ctx context.Context, left []*held) {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer close(s.unattended)
	for _, h := range left {
		waiting.Go(func() {
			s.takeUp(ctx, h)
			s.await(ctx, h)
		})
	}
	for {
		select {
		case h := <-s.parked:
			waiting.Go(func() { s.await(ctx, h) })
		case <-ctx.Done():
			return
		}
	}
}

// takeUp shows a push again that waited when the last gate ended.
func (s *Server) takeUp(ctx context.Context, h *held) {
	if h.ID != "" {
		if r, err := s.Holder.Decision(ctx, h.ID, 0); err != nil || r.State != requests.Pending {
			return
		}
	}
	s.ask(ctx, h)
}

// showAgain is after how long a push is shown that came too fast behind others: the operator's side takes
// so many at once from an agent, and all that wait are shown at once.
const showAgain = 200 * time.Millisecond

// ask shows a push again that waits.
func (s *Server) ask(ctx context.Context, h *held) {
	r, err := s.Holder.Hold(ctx, h.Push)
	for refusal := (*requests.Refusal)(nil); errors.As(err, &refusal) && refusal.Code == "too_many" && sleep(ctx, showAgain); {
		r, err = s.Holder.Hold(ctx, h.Push)
	}
	if err != nil {
		s.Log.Info("a held push could not be shown again", "request", h.ID, "err", err)
		return
	}
	s.parking.Lock()
	defer s.parking.Unlock()
	if r.ID == h.ID || s.waiting[h.dir] != h {
		return
	}
	h.ID = r.ID
	if err := h.write(); err != nil {
		s.Log.Info("under which id a held push is shown could not be written down", "request", h.ID, "err", err)
	}
}

// sleep waits, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) await(ctx context.Context, h *held) {
	for ctx.Err() == nil {
		r, err := s.Holder.Decision(ctx, h.ID, 4*time.Minute)
		switch {
		case err != nil && errors.As(err, new(*requests.Refusal)): // nobody knows it any more
			s.drop(h)
			return
		case err != nil:
			sleep(ctx, time.Second)
		case !h.open(r):
			s.drop(h)
			return
		case r.State == requests.Approved:
			if !s.release(ctx, h) {
				return
			}
		}
	}
}
