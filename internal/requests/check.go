package requests

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Bounds of what may be asked for.
const (
	maxRoutes  = 8  // of one request, by merging
	maxPaths   = 16 // of a route
	maxChoices = 8
	maxFor     = policy.Span(30 * 24 * time.Hour)
)

// Refusal is an ask that no operator is bothered with. It is for the agent.
type Refusal struct {
	Code   string `json:"error"` // for programs: invalid, denied, rejected, too_many, already_allowed
	Reason string `json:"reason"`
}

func (r *Refusal) Error() string { return r.Reason }

func invalid(format string, args ...any) *Refusal {
	return &Refusal{"invalid", fmt.Sprintf(format, args...)}
}

// parse checks an ask and writes it down as a request. Of a route it takes what an agent
// may name, and nothing else.
func parse(a Ask) (Request, error) {
	r := Request{Kind: a.Kind, For: a.For}
	if why := clean(a.Why); why != "" {
		r.Why = []string{why}
	}
	if a.For < 0 || a.For > maxFor {
		return r, invalid("for must be at most %d days", time.Duration(maxFor)/(24*time.Hour))
	}
	switch a.Kind {
	case Egress:
		return r, r.takeRoute(a)
	case Secret:
		return r, r.takeSecret(a)
	case Limit:
		return r, r.takeLimit(a)
	case Question:
		return r, r.takeQuestion(a)
	case Repo:
		return r, r.takeGit(a)
	case Capability:
		return r, r.takeImage(a)
	case Pushing:
		return r, r.takePush(a)
	}
	return r, invalid("%q cannot be asked for", clean(string(a.Kind)))
}

func (r *Request) takeRoute(a Ask) error {
	if a.Route == nil || a.Route.Host == "" {
		return invalid("name the host")
	}
	if len(a.Route.Paths) > maxPaths || len(a.Route.Methods) > maxPaths {
		return invalid("name at most %d paths and methods; a glob covers many: /repos/acme/**", maxPaths)
	}
	route, err := policy.Route{Host: a.Route.Host, Port: a.Route.Port, Protocol: a.Route.Protocol, Methods: a.Route.Methods, Paths: a.Route.Paths}.Normalize()
	if err != nil {
		return invalid("%s", strings.TrimPrefix(err.Error(), "route: "))
	}
	if why := absurd(route.Host); why != nil {
		return why
	}
	slices.Sort(route.Methods)
	slices.Sort(route.Paths)
	route.Methods, route.Paths = slices.Compact(route.Methods), slices.Compact(route.Paths)
	r.Routes = []policy.Route{route}
	return nil
}

// takeSecret takes a route with the credential that it is to carry.
func (r *Request) takeSecret(a Ask) error {
	if err := r.takeRoute(a); err != nil {
		return err
	}
	if a.Auth == nil || !envName(a.Auth.Secret) {
		return invalid("name the credential as an environment variable would be: DEPLOY_TOKEN")
	}
	route := r.Routes[0]
	route.Auth = &policy.Auth{Scheme: a.Auth.Scheme, Header: a.Auth.Header, User: a.Auth.User, Parameter: a.Auth.Parameter, Secret: a.Auth.Secret}
	if route.Auth.Scheme == policy.Placeholder {
		return invalid("a new credential has no placeholder: use bearer, basic, header or query")
	}
	route, err := route.Normalize()
	if err != nil {
		return invalid("%v", err)
	}
	r.Routes[0] = route
	return nil
}

// envName reports whether s could be a secret's name.
func envName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" && (s[0] < '0' || s[0] > '9')
}

// absurd refuses hosts that no operator should be asked about.
func absurd(host string) error {
	name := strings.TrimLeft(host, "*.")
	for _, own := range []string{"localhost", "bot-bottle", "local", "localdomain", "metadata.google.internal", "metadata.goog", "instance-data.ec2.internal", "metadata.azure.com", "metadata.azure.internal"} {
		if name == own || strings.HasSuffix(name, "."+own) {
			return invalid("%s is never reachable from a bottle", host)
		}
	}
	if !strings.Contains(name, ".") {
		return invalid("%s is no host of a domain: name it in full", host)
	}
	if suffix, _ := publicsuffix.PublicSuffix(name); name != host && suffix == name {
		return invalid("%s covers hosts of everybody's: name the host", host)
	}
	return nil
}

func (r *Request) takeLimit(a Ask) error {
	if a.Host != "" {
		set, err := policy.Route{Host: a.Host}.Normalize()
		if err != nil {
			return invalid("%s", strings.TrimPrefix(err.Error(), "route: "))
		}
		r.Host = set.Host
	}
	if a.More == nil {
		return invalid("name how much more: requests, bytes_up or bytes_down")
	}
	more := policy.Limits{Requests: a.More.Requests, BytesUp: a.More.BytesUp, BytesDown: a.More.BytesDown}
	if err := more.Check(); err != nil {
		return invalid("%v", err)
	}
	const most = 1 << 50
	if max(more.Requests, more.BytesUp, more.BytesDown) > most {
		return invalid("that is more than anybody needs")
	}
	r.More = &more
	return nil
}

func (r *Request) takeQuestion(a Ask) error {
	if r.Question = clean(a.Question); r.Question == "" {
		return invalid("say what you ask")
	}
	if len(a.Choices) > maxChoices {
		return invalid("offer at most %d choices", maxChoices)
	}
	for _, c := range a.Choices {
		if c = clean(c); c != "" && !slices.Contains(r.Choices, c) {
			r.Choices = append(r.Choices, c)
		}
	}
	return nil
}

// same reports whether two requests are for the same thing, whatever is said about it.
func (r *Request) same(o *Request) bool { return digest(r.what()) == digest(o.what()) }

// what is asked for, without who, when and why.
func (r *Request) what() any {
	return []any{r.Kind, r.Routes, r.Host, r.More, r.Question, r.Choices, r.For, r.Push, r.Git, r.Image}
}

// covers reports whether all that b allows, a allows too, as far as can be said for sure.
func covers(a, b policy.Route) bool {
	return sameHost(a, b) && within(b.Methods, a.Methods) && within(b.Paths, a.Paths) && len(a.Query)+len(a.Body) == 0
}

// within reports whether a list is part of another, where an empty one is all there is.
func within(part, whole []string) bool {
	return len(whole) == 0 || len(part) > 0 && !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}

// sameHost compares where routes lead.
func sameHost(a, b policy.Route) bool {
	return a.Host == b.Host && a.Port == b.Port && a.Protocol == b.Protocol
}

// possible refuses what the policy says already, or forbids for good.
func possible(r *Request, now policy.Policy, set *policy.Set) error {
	switch r.Kind {
	case Egress, Secret:
		return possibleRoute(r.Routes[0], now, set)
	case Limit:
		return possibleLimit(r, now)
	case Repo:
		return possibleHost(r.Git, set)
	}
	return nil
}

// possibleHost refuses a new repository where the operator's deny rules refuse all.
func possibleHost(g *Git, set *policy.Set) error {
	address, _ := manifest.ParseAddress(g.Upstream)
	if rule := set.DeniesHost(address.Host, 443); g.New && rule != "" {
		return &Refusal{"denied", fmt.Sprintf("%s of the operator's refuses %s for good: do without it", rule, address.Host)}
	}
	return nil
}

func possibleRoute(r policy.Route, now policy.Policy, set *policy.Set) error {
	for _, have := range now.Routes {
		have, err := have.Normalize()
		if err == nil && r.Auth == nil && covers(have, r) && len(have.Deny) == 0 && len(now.Deny) == 0 {
			return &Refusal{"already_allowed", fmt.Sprintf("the bottle may do this already: %s", have)}
		}
	}
	if rule := set.DeniesHost(r.Host, r.Port); rule != "" {
		return &Refusal{"denied", fmt.Sprintf("%s of the operator's refuses %s for good: do without it", rule, r.Host)}
	}
	return nil
}

func possibleLimit(r *Request, now policy.Policy) error {
	if r.Host == "" {
		return raisable(now.Limits, r.More)
	}
	for _, have := range now.Routes {
		if have, err := have.Normalize(); err == nil && have.Host == r.Host && have.Grant == "" {
			return raisable(have.Limits, r.More)
		}
	}
	return invalid("no route is for %s", r.Host)
}

// raisable refuses to add to what is not limited.
func raisable(limits, more *policy.Limits) error {
	none := errors.Join(unlimited(limits, more.Requests, func(l *policy.Limits) int64 { return l.Requests }, "requests"),
		unlimited(limits, more.BytesUp, func(l *policy.Limits) int64 { return l.BytesUp }, "bytes_up"),
		unlimited(limits, more.BytesDown, func(l *policy.Limits) int64 { return l.BytesDown }, "bytes_down"))
	if none != nil {
		return &Refusal{"already_allowed", none.Error()}
	}
	return nil
}

func unlimited(limits *policy.Limits, more int64, of func(*policy.Limits) int64, what string) error {
	if more > 0 && (limits == nil || of(limits) == 0) {
		return fmt.Errorf("%s are not limited", what)
	}
	return nil
}
