package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// egressFlags are what describes a route on the command line.
type egressFlags struct {
	json, private            bool
	methods, paths           []string
	protocol, bearer, header string
}

func (a *App) egress() *cobra.Command {
	var flags egressFlags
	c := &cobra.Command{
		Use:   "egress IDENTITY [show | allow HOST[:PORT] | deny HOST[:PORT] | explain [METHOD] URL | learn | refresh [SECRET…]]",
		Short: "See and change what a running bottle may reach",
		Long: `Egress shows a running bottle's routes, adds one (allow), or takes one back (deny).
Explain says which rule would decide about a request, and why, without sending anything; the
same code decides when it is sent. Its exit status is 0 for what would be let through.
Learn turns what the bottle was refused for want of a route into routes to review; it adds none.
Refresh fetches secrets anew from where the manifest says they are, and hands them to the
bottle's egress; a command's secret with a ttl is refreshed by itself while start runs.

A change holds at once and for as long as the bottle runs; the manifest stays as it is.
What is open on a route that is taken back is closed. The first route that matches
decides; one that is added comes first. The bottle may also be named after what is to be
done: egress learn IDENTITY.`,
		Example: `  bot-bottle egress implementer-k7x2m4
  bot-bottle egress implementer-k7x2m4 allow api.github.com --method GET --path '/repos/acme/**' --bearer GH_TOKEN
  bot-bottle egress implementer-k7x2m4 deny api.github.com
  bot-bottle egress implementer-k7x2m4 explain POST https://api.github.com/repos/acme/widget/pulls
  bot-bottle egress implementer-k7x2m4 learn
  bot-bottle egress implementer-k7x2m4 refresh GH_TOKEN`,
		Args:              egressArgs,
		ValidArgsFunction: a.completeEgress,
		RunE: func(c *cobra.Command, args []string) error {
			return a.runEgress(c.Context(), bottleFirst(args), flags)
		},
	}
	c.Flags().BoolVar(&flags.json, "json", false, "show, explain, learn: print JSON")
	c.Flags().StringSliceVar(&flags.methods, "method", nil, "allow: only this method (may be repeated)")
	c.Flags().StringArrayVar(&flags.paths, "path", nil, "allow: only paths that match this glob (may be repeated)")
	c.Flags().StringVar(&flags.protocol, "protocol", "", "allow: https (the default), http or tcp")
	c.Flags().BoolVar(&flags.private, "private", false, "allow: the host may be at a private address")
	c.Flags().StringVar(&flags.bearer, "bearer", "", "allow: put this `secret` of the bottle on as a bearer token")
	c.Flags().StringVar(&flags.header, "header", "", "allow: put a secret on as a header, as in `x-api-key=SECRET`")
	c.MarkFlagsMutuallyExclusive("bearer", "header")
	return c
}

// bottleFirst has the bottle before what is to be done, whichever was named first: no bottle
// has the name of an action.
func bottleFirst(args []string) []string {
	if len(args) < 2 || !slices.Contains(egressActions(), args[0]) || slices.Contains(egressActions(), args[1]) {
		return args
	}
	return append([]string{args[1], args[0]}, args[2:]...)
}

func egressArgs(_ *cobra.Command, args []string) error {
	args = bottleFirst(args)
	switch {
	case len(args) == 0 || slices.Contains(egressActions(), args[0]):
		return errors.New("egress needs a bottle: bot-bottle egress IDENTITY")
	case len(args) == 1 || args[1] == "refresh":
		return nil
	case args[1] == "explain" && (len(args) < 3 || len(args) > 4):
		return errors.New("egress explain takes a URL, or a method and a URL")
	case (args[1] == "show" || args[1] == "learn") && len(args) > 2:
		return fmt.Errorf("egress %s takes nothing after it", args[1])
	case (args[1] == "allow" || args[1] == "deny") && len(args) != 3:
		return fmt.Errorf("egress %s takes one host: HOST or HOST:PORT", args[1])
	case !slices.Contains(egressActions(), args[1]):
		return fmt.Errorf("egress cannot %q%s: it can %s", args[1], manifest.DidYouMean(args[1], egressActions()), strings.Join(egressActions(), ", "))
	}
	return nil
}

func egressActions() []string {
	return []string{"show", "allow", "deny", "explain", "learn", "refresh"}
}

func (a *App) completeEgress(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch {
	case len(args) == 0 || len(args) == 1 && slices.Contains(egressActions(), args[0]):
		return a.completeRunning(c, nil, word)
	case len(args) == 1:
		return egressActions(), cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeHosts(c.Context(), bottleFirst(args)), cobra.ShellCompDirectiveNoFileComp
}

// completeHosts offers the hosts that a bottle has a route to, and to allow those that the
// manifest names elsewhere: none of an agent's choice.
func (a *App) completeHosts(ctx context.Context, args []string) []string {
	var routes []policy.Route
	switch {
	case args[1] == "allow" && len(args) == 2:
		if m, err := a.manifest(); err == nil {
			for _, b := range m.Bottles {
				routes = append(routes, b.Routes...)
			}
		}
	case args[1] == "deny" && len(args) == 2, args[1] == "explain" && len(args) < 4:
		routes = a.routesOf(ctx, args[0])
	}
	var hosts []string
	for _, r := range routes {
		host := r.Host
		switch {
		case args[1] == "explain":
			host = "https://" + host + "/"
		case r.Port != 0 && r.Port != 443:
			host = fmt.Sprintf("%s:%d", host, r.Port)
		}
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// routesOf a running bottle; none if it does not answer.
func (a *App) routesOf(ctx context.Context, identity string) []policy.Route {
	running, err := a.find(ctx, identity)
	if err != nil {
		return nil
	}
	defer func() { _ = running.Detach() }()
	now, err := control.Client{Dial: running.Control}.Policy(ctx)
	if err != nil {
		return nil
	}
	return now.Policy.Routes
}

func (a *App) runEgress(ctx context.Context, args []string, flags egressFlags) (err error) {
	if len(args) > 1 && args[1] == "learn" {
		return a.learn(ctx, args[0], flags.json)
	}
	change, err := flags.change(args[1:])
	if err != nil {
		return err
	}
	running, err := a.find(ctx, args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Detach()) }()
	if len(args) > 1 && args[1] == "refresh" {
		names, err := a.refresh(ctx, args[0], running, args[2:])
		if err != nil {
			return fmt.Errorf("cannot refresh the secrets of %s: %w", args[0], err)
		}
		_, _ = fmt.Fprintln(a.Stdout, strings.Join(names, "\n"))
		return nil
	}
	api := control.Client{Dial: running.Control}
	now, err := api.Policy(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the routes of %s: %w", args[0], err)
	}
	if len(args) > 1 && args[1] == "explain" {
		return a.explain(now.Policy, args[2:], flags.json)
	}
	if change == nil {
		return a.show(routeTable(now), flags.json)
	}
	wanted, err := change(now)
	if err != nil {
		return err
	}
	if now, err = api.SetPolicy(ctx, now.Revision, wanted); err != nil {
		return fmt.Errorf("cannot change the policy of %s: %w", args[0], err)
	}
	return a.show(routeTable(now), flags.json)
}

// change is what the operator wants of the policy; nil for nothing.
func (f egressFlags) change(args []string) (func(control.Policy) (policy.Policy, error), error) {
	if len(args) == 0 || args[0] != "allow" && args[0] != "deny" {
		return nil, nil
	}
	host, port, err := hostPort(args[1])
	if err != nil {
		return nil, &usageError{what: err.Error(), hint: "name a host as in a manifest: api.example, *.example or db.example:5432"}
	}
	if args[0] == "deny" {
		return func(now control.Policy) (policy.Policy, error) { return revoke(now.Policy, host, port) }, nil
	}
	route, err := f.route(host, port)
	if err != nil {
		return nil, &usageError{what: err.Error(), hint: "see bot-bottle egress --help"}
	}
	return func(now control.Policy) (policy.Policy, error) {
		if auth := route.Auth; auth != nil && !slices.Contains(now.Secrets, auth.Secret) {
			return policy.Policy{}, fmt.Errorf("the bottle has no secret %s; it has %s", auth.Secret, cmp.Or(strings.Join(now.Secrets, ", "), "none"))
		}
		return grant(now.Policy, route), nil
	}, nil
}

func hostPort(s string) (string, int, error) {
	if !strings.Contains(s, ":") {
		return s, 0, nil
	}
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not HOST or HOST:PORT", s)
	}
	port, err := strconv.Atoi(digits)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("%q is not a port", digits)
	}
	return host, port, nil
}

func (f egressFlags) route(host string, port int) (policy.Route, error) {
	r := policy.Route{
		Host: host, Port: port, Protocol: policy.Protocol(f.protocol),
		Methods: f.methods, Paths: f.paths, Private: f.private,
	}
	if f.bearer != "" {
		r.Auth = &policy.Auth{Scheme: policy.Bearer, Secret: f.bearer}
	}
	if f.header != "" {
		name, secret, ok := strings.Cut(f.header, "=")
		if !ok {
			return r, fmt.Errorf("--header %q is not NAME=SECRET", f.header)
		}
		r.Auth = &policy.Auth{Scheme: policy.Header, Header: name, Secret: secret}
	}
	return r.Normalize()
}

// explain prints what would be decided about a request: [METHOD] URL.
func (a *App) explain(p policy.Policy, args []string, asJSON bool) error {
	set, err := policy.New(p)
	if err != nil {
		return err
	}
	method := "GET"
	if len(args) == 2 {
		method = args[0]
	}
	e := set.Explain(method, args[len(args)-1], nil)
	if asJSON {
		err = printJSON(a.Stdout, e, true)
	} else {
		_, err = fmt.Fprintln(a.Stdout, strings.TrimSuffix(e.String(), "\n"))
	}
	if err == nil && e.Verdict == policy.Refused {
		return status(exitFailure)
	}
	return err
}

// grant puts a route first, once, and takes back what a deny of its host may have said.
func grant(p policy.Policy, r policy.Route) policy.Policy {
	others := slices.DeleteFunc(slices.Clone(p.Routes), func(other policy.Route) bool { return reflect.DeepEqual(other, r) })
	p.Routes = append([]policy.Route{r}, others...)
	p.Deny = slices.DeleteFunc(slices.Clone(p.Deny), func(d policy.Deny) bool {
		return (d.Port == 0 || d.Port == r.Port) && reflect.DeepEqual(d, policy.Deny{Host: r.Host, Port: d.Port})
	})
	return p
}

// revoke takes the routes to a host away, those to one port only where one is named. What
// a wildcard route would still let through, a deny rule refuses.
func revoke(p policy.Policy, host string, port int) (policy.Policy, error) {
	deny, err := policy.Deny{Host: host, Port: port}.Normalize()
	if err != nil {
		return p, &usageError{what: err.Error(), hint: "name a host as in a manifest: api.example, *.example or db.example:5432"}
	}
	kept := slices.DeleteFunc(slices.Clone(p.Routes), func(r policy.Route) bool {
		n, err := r.Normalize()
		return err == nil && n.Host == deny.Host && (port == 0 || n.Port == port)
	})
	changed := len(kept) < len(p.Routes)
	p.Routes = kept
	set, err := policy.New(p)
	if err != nil {
		return p, err
	}
	if covered(set, deny.Host, port) {
		p.Deny = append(slices.Clone(p.Deny), deny)
		changed = true
	}
	if !changed {
		return p, &noRoute{fmt.Errorf("no route is for %s", host)}
	}
	return p, nil
}

// covered reports whether a route still lets a host through.
func covered(set *policy.Set, host string, port int) bool {
	if strings.HasPrefix(host, "*") {
		host = "any" + strings.TrimLeft(host, "*") // a name that the pattern covers
	}
	if port == 0 {
		return set.Lookup(host).Allowed
	}
	return set.Connect(host, port).Allowed
}

// noRoute is a route that cannot be taken back.
type noRoute struct{ error }

// Hint says how to see which there are.
func (e *noRoute) Hint() string { return "bot-bottle egress IDENTITY shows the routes" }

// routeTable shows a policy as the preflight does, one rule a line, and below each what is left
// of its limits.
func routeTable(now control.Policy) table {
	t := table{empty: "the bottle reaches nothing", columns: []column{{"RULE", whole}, {"WHAT", whole}}, uncut: true, data: now}
	row := func(what, text string) { t.rows = append(t.rows, []string{what, text}) }
	left := func(of func(policy.Left) bool) {
		if i := slices.IndexFunc(now.Left, of); i >= 0 {
			row("  left", now.Left[i].String())
		}
	}
	for _, r := range now.Routes {
		if n, err := r.Normalize(); err == nil {
			r = n
		}
		row("allow", r.String())
		if r.Limits != nil {
			left(func(l policy.Left) bool { return l.Grant == "" && l.Of == r.Name() })
		}
		for _, d := range r.Deny {
			d.Host, d.Port = r.Host, r.Port
			row("deny", d.String())
		}
	}
	for _, g := range now.Grants {
		for _, r := range g.Routes {
			row("granted", fmt.Sprintf("%s (%s, %s)", r, g.ID, g.Grant.Scope))
		}
		left(func(l policy.Left) bool { return l.Grant == g.ID })
	}
	for _, d := range now.Deny {
		row("deny", d.String())
	}
	if now.Limits != nil {
		row("at most", now.Limits.String())
		left(func(l policy.Left) bool { return l.Of == "" })
	}
	return t
}
