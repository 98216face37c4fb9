package requests

import (
	"fmt"
	"slices"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Push is a push that git-gate has checked, and that waits for the operator. Object ids,
// refs and counts are what the gate found; what commits and files are called is the
// agent's.
type Push struct {
	Repository string             `json:"repository"`
	Upstream   string             `json:"upstream"`
	Updates    []policy.RefUpdate `json:"updates"`
	Reasons    []string           `json:"reasons"`           // why it waits
	Commits    []Commit           `json:"commits,omitempty"` // newest first, the first maxCommits of them
	Count      int                `json:"count"`             // all of them
	Stat       []string           `json:"stat,omitempty"`    // lines of git diff --stat
	Diff       string             `json:"diff"`              // SHA-256 of the whole diff, in hex
}

// Commit is one that a push brings.
type Commit struct {
	ID      string `json:"id"`
	Author  string `json:"author"`
	Subject string `json:"subject"`
}

// AsEvery is the reason of a push that waits because the manifest has every one wait.
func AsEvery(repository string) string { return "every push of " + repository + " does" }

// usual reports whether a reason is the manifest's, and says nothing about this push.
func (p Push) usual(reason string) bool { return reason == AsEvery(p.Repository) }

// Bounds of what is kept of a push.
const (
	maxCommits = 50
	maxStat    = 60 // room for what git says of the files that it leaves out
	maxReasons = 20
)

// takePush takes a push over, with all text in it made safe to show.
func (r *Request) takePush(a Ask) error {
	if a.Push == nil || a.Push.Repository == "" || len(a.Push.Updates) == 0 {
		return invalid("name the push")
	}
	p := *a.Push
	p.Repository, p.Upstream, p.Diff = clean(p.Repository), clean(p.Upstream), clean(p.Diff)
	p.Updates = slices.Clone(p.Updates)
	for i, u := range p.Updates {
		p.Updates[i] = policy.RefUpdate{Ref: clean(u.Ref), Old: clean(u.Old), New: clean(u.New), Forced: u.Forced}
	}
	p.Commits = slices.Clone(p.Commits[:min(len(p.Commits), maxCommits)])
	for i, c := range p.Commits {
		p.Commits[i] = Commit{ID: clean(c.ID), Author: clean(c.Author), Subject: clean(c.Subject)}
	}
	p.Stat, p.Reasons = cleaned(p.Stat, maxStat), cleaned(p.Reasons, maxReasons)
	r.Push = &p
	return nil
}

// cleaned makes lines safe to show. Where some are left out, the last one says so.
func cleaned(lines []string, most int) []string {
	var all []string
	for i, line := range lines {
		if i == most {
			return append(all, fmt.Sprintf("and %d more, which are not shown here", len(lines)-i))
		}
		all = append(all, clean(line))
	}
	return all
}

// showPush says what the upstream's refs would become.
func (s *Shown) showPush() {
	p := s.Push
	for _, u := range p.Updates {
		line := fmt.Sprintf("%s: %s", p.Repository, u.Ref)
		switch {
		case u.Old == "":
			line = fmt.Sprintf("+ %s at %.12s", line, u.New)
		case u.New == "":
			line = fmt.Sprintf("- %s, was at %.12s", line, u.Old)
		default:
			line = fmt.Sprintf("+ %s from %.12s to %.12s", line, u.Old, u.New)
		}
		s.Delta, s.SoFar = append(s.Delta, line), append(s.SoFar, refNow(u))
		if u.Forced {
			s.Risks = append(s.Risks, "rewrites the history of "+u.Ref)
		}
	}
	s.Delta = append(s.Delta, "  "+p.Repository+" is "+p.Upstream)
	s.Risks = append(s.Risks, slices.DeleteFunc(slices.Clone(p.Reasons), p.usual)...)
}

// refNow says what an upstream's ref is before the push.
func refNow(u policy.RefUpdate) string {
	if u.Old == "" {
		return u.Ref + " is not there"
	}
	return fmt.Sprintf("%s is at %.12s", u.Ref, u.Old)
}
