package requests

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// Line is one of those that a request is shown with.
type Line struct {
	Key   string // what it is about; "" goes on with the line before
	Text  string // may hold anything: whoever draws it makes it plain
	Words bool   // the agent chose all or part of it: to be marked as that
}

// maxListed is how many of a push's commits are listed.
const maxListed = 10

// Lines say all that is to be known to decide about a request, and what became of it. Those
// that the agent had a hand in come last, but for what became of it.
func (s Shown) Lines() []Line {
	var all []Line
	add := func(key string, texts ...string) {
		for i, text := range texts {
			all = append(all, Line{Key: once(key, i), Text: text})
		}
	}
	add("wants", s.Delta...)
	if s.Edited {
		add("edited", "by the operator: it is not what the agent asked for")
	}
	add("so far", s.SoFar...)
	add("left", s.Left...)
	if len(s.Credentials) > 0 {
		add("sends", strings.Join(s.Credentials, ", "))
	}
	add("risk", s.Risks...)
	if s.Push != nil {
		all = append(all, s.Push.lines()...)
	}
	words := s.Why
	if s.Question != "" {
		words = append([]string{s.Question}, words...)
	}
	for i, why := range words {
		all = append(all, Line{once("agent", i), fmt.Sprintf("“%s”", why), true})
	}
	for i, choice := range s.Choices {
		all = append(all, Line{once("choices", i), fmt.Sprintf("%d. “%s”", i+1, choice), true})
	}
	return append(all, s.outcome()...)
}

// lines show what a push brings. How commits and files are called is the agent's choice.
func (p Push) lines() []Line {
	var all []Line
	if slices.ContainsFunc(p.Reasons, p.usual) {
		all = append(all, Line{Key: "waits", Text: "as " + AsEvery(p.Repository)})
	}
	for i, c := range p.Commits {
		if i == maxListed {
			all = append(all, Line{Text: fmt.Sprintf("and %d more", p.Count-i)})
			break
		}
		all = append(all, Line{once("commits", i), fmt.Sprintf("%.10s “%s” by “%s”", c.ID, c.Subject, c.Author), true})
	}
	for i, file := range p.Stat {
		all = append(all, Line{once("files", i), fmt.Sprintf("“%s”", file), true})
	}
	return all
}

func (s Shown) outcome() []Line {
	switch {
	case s.State == Pending && s.Again != "":
		return []Line{{Key: "again", Text: "it was approved, and waits again: " + s.Again}}
	case s.State == Pending:
	case s.Grant.live():
		return []Line{{Key: "granted", Text: s.Grant.Scope.String() + "; used " + plain.Count(s.Grant.Used, "time")}}
	case s.Grant != nil:
		return []Line{{Key: "ended", Text: s.Grant.Why}}
	case s.Decided != nil && s.Decided.Result != "":
		return []Line{{Key: "result", Text: s.Decided.Result}}
	case s.Decided != nil && s.Decided.Answer != "":
		return []Line{{Key: "answer", Text: s.Decided.Answer}}
	case s.Decided != nil && s.Decided.Reason != "":
		return []Line{{Key: "reason", Text: s.Decided.Reason}}
	}
	return nil
}

// Live reports whether what was granted has not ended.
func (s Shown) Live() bool { return s.Grant.live() }

// once names a group of lines on its first.
func once(name string, i int) string {
	if i > 0 {
		return ""
	}
	return name
}
