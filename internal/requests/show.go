package requests

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Shown is a request as the operator sees it. All but Why is machine-made: nothing that
// the agent said is in Delta, SoFar, Credentials and Risks, but host names, methods and
// paths that were checked.
type Shown struct {
	Request
	Bottle      string   `json:"bottle"`                // identity; the caller sets it
	Delta       []string `json:"delta,omitempty"`       // what the policy would gain
	SoFar       []string `json:"so_far,omitempty"`      // what the bottle may do there now
	Credentials []string `json:"credentials,omitempty"` // names of the secrets that would travel
	Risks       []string `json:"risks,omitempty"`
	Left        []string `json:"left,omitempty"` // of a limit that is asked for, as it is at this moment; the caller adds it (ShowLeft)
	Digest      string   `json:"digest"`         // what a decision is to name
}

// Show makes what is shown of a request, under the operator's policy and what is granted.
func (l *Ledger) Show(r Request, base policy.Policy) Shown { return l.view(base).show(r) }

// ShowAll makes what is shown of every request, in the order in which they were asked.
func (l *Ledger) ShowAll(base policy.Policy) []Shown {
	v := l.view(base)
	all := make([]Shown, len(l.requests))
	for i, r := range l.requests {
		all[i] = v.show(r.copy())
	}
	return all
}

// view is what a request is compared with.
type view struct {
	now          policy.Policy
	revision     string
	repositories []Repository
}

func (l *Ledger) view(base policy.Policy) view {
	v := view{now: l.Effective(base), repositories: l.Repositories()}
	if set, err := policy.New(v.now); err == nil {
		v.revision = set.Revision()
	}
	return v
}

func (v view) show(r Request) Shown {
	s := Shown{Request: r}
	switch r.Kind {
	case Egress, Secret:
		s.showRoutes(v.now)
	case Limit:
		s.showLimit(v.now)
	case Repo:
		s.showGit(v.now, v.repositories)
	case Capability:
		s.showImage()
	case Pushing:
		s.showPush()
	}
	if r.Kind != Question && r.Kind != Pushing && r.Kind != Capability {
		s.Delta = append(s.Delta, "for "+Duration(r.For))
	}
	s.Digest = digest([]any{r.ID, r.what(), v.revision, rights(v.repositories), s.Delta, s.Risks})
	return s
}

// rights are what may be done with repositories, without how often it was.
func rights(all []Repository) any {
	for i := range all {
		all[i].More = slices.Clone(all[i].More)
		for k := range all[i].More {
			all[i].More[k].Used = 0
		}
	}
	return all
}

func (s *Shown) showRoutes(now policy.Policy) {
	for _, route := range s.Routes {
		s.Delta = append(s.Delta, "+ "+route.String()+whatever(route))
		if route.Auth != nil && !slices.Contains(s.Credentials, route.Auth.Secret) {
			s.Credentials = append(s.Credentials, route.Auth.Secret)
		}
	}
	for _, route := range s.Routes {
		if line := "  " + sentAs(route.Auth); s.Kind == Secret && !slices.Contains(s.Delta, line) {
			s.Delta = append(s.Delta, line)
		}
	}
	for _, have := range near(now, s.Routes[0]) {
		s.SoFar = append(s.SoFar, have.String())
	}
	s.Risks = risks(s.Routes, now)
	if s.Kind == Secret && len(s.SoFar) > 0 {
		s.Risks = append(s.Risks, "it comes before the routes that there are, and they no longer decide about what it covers")
	}
}

// sentAs says how a credential is put on: the agent chose it.
func sentAs(a *policy.Auth) string {
	if a == nil {
		return ""
	}
	switch a.Scheme {
	case policy.Basic:
		return fmt.Sprintf("%s goes as the password of user %q", a.Secret, a.User)
	case policy.Header:
		return fmt.Sprintf("%s goes as the header %s", a.Secret, a.Header)
	case policy.Query:
		return fmt.Sprintf("%s goes as the parameter %q of the address", a.Secret, a.Parameter)
	}
	return a.Secret + " goes as a bearer token"
}

// whatever says in words what an empty list means.
func whatever(r policy.Route) string {
	switch {
	case r.Protocol == policy.TCP:
		return " (bytes that nobody looks at)"
	case len(r.Methods) == 0 && len(r.Paths) == 0:
		return " (any method, any path)"
	case len(r.Methods) == 0:
		return " (any method)"
	case len(r.Paths) == 0:
		return " (any path)"
	}
	return ""
}

// near are the routes that lead to the same hosts.
func near(now policy.Policy, r policy.Route) []policy.Route {
	var found []policy.Route
	for _, have := range now.Routes {
		if have, err := have.Normalize(); err == nil && (have.Host == r.Host || policy.HostCovers(have.Host, r.Host) || policy.HostCovers(r.Host, have.Host)) {
			found = append(found, have)
		}
	}
	return found
}

func (s *Shown) showLimit(now policy.Policy) {
	of, limits := "all routes together", now.Limits
	if s.Host != "" {
		of = s.Host
		for _, have := range near(now, policy.Route{Host: s.Host}) {
			if have.Host == s.Host && have.Grant == "" {
				limits = have.Limits
				break
			}
		}
	}
	if limits == nil {
		s.Delta = append(s.Delta, of+": no limit any more")
		return
	}
	s.SoFar = []string{of + ": " + limits.String()}
	s.Delta = append(s.Delta, "+ "+of+": "+sum(limits, s.More).String())
}

// ShowLeft says what is left of the limit that is asked for. It is no part of what is decided
// about: it changes with every request that goes out.
func (s *Shown) ShowLeft(left []policy.Left) {
	if s.Kind != Limit || s.State != Pending {
		return
	}
	s.Left = nil
	for _, l := range left {
		if l.Host != s.Host || l.Grant != "" {
			continue
		}
		of := "all routes together"
		if l.Of != "" {
			of = l.Of
		}
		s.Left = append(s.Left, of+": "+l.String())
	}
	if len(s.Left) == 0 {
		s.Left = []string{"it is not known now how much is used"}
	}
}

// Summary is one line for the log. The agent's words are not in it, but for a question.
func (s Shown) Summary() string {
	if s.Kind == Question {
		return "a question: " + s.Question
	}
	return strings.Join(s.Delta, "; ")
}

// Duration puts a grant's length in words.
func Duration(d policy.Span) string {
	if d == 0 {
		return "as long as the bottle runs"
	}
	return policy.Span(time.Duration(d).Round(time.Second)).String()
}

// String says when a grant ends.
func (s Scope) String() string {
	switch {
	case s.Uses == 1 && s.For == 0:
		return "once"
	case s.Uses > 0 && s.For > 0:
		return plain.Count(s.Uses, "use") + " within " + Duration(s.For)
	case s.Uses > 0:
		return plain.Count(s.Uses, "use")
	}
	return Duration(s.For)
}
