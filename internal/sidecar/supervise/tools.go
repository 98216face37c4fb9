package supervise

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Waiting for a decision, in seconds.
const (
	defaultWait = 20
	maxWait     = 50 // below the patience of most MCP clients
)

// maxWaiting is how many may wait at a time. Whoever comes then hears at once how far it is, and
// what the link to the parent carries is left for those who ask.
const maxWaiting = 64

type egressIn struct {
	Host     string   `json:"host" jsonschema:"the host's full name, as in api.github.com; *.example.com is one label more, **.example.com any number"`
	Port     int      `json:"port,omitempty" jsonschema:"443 unless said otherwise; 80 for http"`
	Protocol string   `json:"protocol,omitempty" jsonschema:"https (the default), http, or tcp for anything else; tcp needs a port"`
	Methods  []string `json:"methods,omitempty" jsonschema:"the HTTP methods that you need, as in GET; leave it out only if you need any"`
	Paths    []string `json:"paths,omitempty" jsonschema:"the paths that you need, as in /repos/acme/**; * is within a segment, ** any number of them; leave it out only if you need any"`
	Why      string   `json:"why" jsonschema:"what for, in a sentence that the operator can judge"`
	For      string   `json:"for,omitempty" jsonschema:"how long, as in 30m or 2h; left out: until the bottle ends"`
}

type secretIn struct {
	Name      string   `json:"name" jsonschema:"what to call it, as an environment variable: DEPLOY_TOKEN"`
	Host      string   `json:"host" jsonschema:"the host that it is for, in full"`
	Port      int      `json:"port,omitempty" jsonschema:"443 unless said otherwise"`
	Scheme    string   `json:"scheme" jsonschema:"how it is sent: bearer, basic, header or query"`
	User      string   `json:"user,omitempty" jsonschema:"for basic: the user"`
	Header    string   `json:"header,omitempty" jsonschema:"for header: its name, as in x-api-key"`
	Parameter string   `json:"parameter,omitempty" jsonschema:"for query: its name"`
	Methods   []string `json:"methods,omitempty" jsonschema:"the HTTP methods that need it; leave it out only if any does"`
	Paths     []string `json:"paths,omitempty" jsonschema:"the paths that need it, as in /repos/acme/**; leave it out only if any does"`
	Why       string   `json:"why" jsonschema:"what for, in a sentence that the operator can judge"`
	For       string   `json:"for,omitempty" jsonschema:"how long, as in 30m or 2h; left out: until the bottle ends"`
}

type gitIn struct {
	Repository string   `json:"repository" jsonschema:"its name in list_policy, or the URL of one that the bottle does not have, as in https://github.com/acme/widget"`
	Refs       []string `json:"refs,omitempty" jsonschema:"the branches (or refs/tags/…) that you need to push, as in agent/fix or agent/**; leave it out only to clone and fetch"`
	Force      bool     `json:"force,omitempty" jsonschema:"whether you must rewrite their history"`
	Delete     bool     `json:"delete,omitempty" jsonschema:"whether you must delete them"`
	Why        string   `json:"why" jsonschema:"what for, in a sentence that the operator can judge"`
	For        string   `json:"for,omitempty" jsonschema:"how long, as in 30m or 2h; left out: until the bottle ends"`
}

type imageIn struct {
	Packages   []string `json:"packages,omitempty" jsonschema:"Debian packages to install, by name, as in ffmpeg"`
	Dockerfile string   `json:"dockerfile,omitempty" jsonschema:"lines of a Dockerfile to come after the image, RUN and ENV only, for what packages do not bring"`
	Why        string   `json:"why" jsonschema:"what for, in a sentence that the operator can judge"`
}

type limitIn struct {
	Host      string `json:"host,omitempty" jsonschema:"the host whose limit it is; left out: the bottle's own"`
	Requests  int64  `json:"requests,omitempty" jsonschema:"so many more requests"`
	BytesUp   int64  `json:"bytes_up,omitempty" jsonschema:"so many more bytes sent"`
	BytesDown int64  `json:"bytes_down,omitempty" jsonschema:"so many more bytes received"`
	Why       string `json:"why" jsonschema:"what for, in a sentence that the operator can judge"`
	For       string `json:"for,omitempty" jsonschema:"how long, as in 30m or 2h; left out: until the bottle ends"`
}

type questionIn struct {
	Question string   `json:"question" jsonschema:"what you need to know, so that it can be answered without looking at your screen"`
	Choices  []string `json:"choices,omitempty" jsonschema:"possible answers, at most 8"`
}

type checkIn struct {
	ID          string `json:"id" jsonschema:"the request's id"`
	WaitSeconds *int   `json:"wait_seconds,omitempty" jsonschema:"how long to wait for a decision, at most 50; 20 if left out; 0 answers at once"`
}

type idIn struct {
	ID string `json:"id" jsonschema:"the request's id"`
}

type none struct{}

// desk is where asks are handed in.
type desk struct {
	control.Counter
	scanner *dlp.Scanner
	waiting chan struct{} // slots
}

func newDesk(c control.Counter, scanner *dlp.Scanner) *desk {
	return &desk{c, scanner, make(chan struct{}, maxWaiting)}
}

// masked takes out of an agent's words what looks like a secret: they are shown to people,
// logged, and copied (ATTACKS G11).
func (d *desk) masked(ctx context.Context, a requests.Ask) requests.Ask {
	a.Why, a.Question = d.mask(ctx, a.Why), d.mask(ctx, a.Question)
	choices := make([]string, len(a.Choices))
	for i, c := range a.Choices {
		choices[i] = d.mask(ctx, c)
	}
	a.Choices = choices
	return a
}

func (d *desk) mask(ctx context.Context, text string) string {
	findings, err := d.scanner.Scan(ctx, dlp.Input{Kind: dlp.Body, Data: []byte(text)})
	if err != nil || slices.ContainsFunc(findings, func(f dlp.Finding) bool { return f.Start < 0 }) {
		return "[taken out: it held a secret]"
	}
	if len(findings) == 0 {
		return text
	}
	for i := range findings {
		findings[i].Action = dlp.Redact
	}
	return string(d.scanner.Redact([]byte(text), findings))
}

// addTools registers what an agent can do here.
func addTools(s *mcp.Server, c *desk) {
	closed, harmless := false, false
	reads := &mcp.ToolAnnotations{ReadOnlyHint: true, OpenWorldHint: &closed}
	asks := &mcp.ToolAnnotations{DestructiveHint: &harmless, IdempotentHint: true, OpenWorldHint: &closed}
	mcp.AddTool(s, &mcp.Tool{Name: "list_policy", Annotations: reads,
		Description: "What this bottle may do now: routes, deny rules, limits, and what was granted until when."}, listPolicy(c))
	mcp.AddTool(s, &mcp.Tool{Name: "request_egress", Annotations: asks,
		Description: "Ask the operator to let this bottle reach a host. Returns a request's id at once; the decision comes later (check_request)."}, requestEgress(c))
	mcp.AddTool(s, &mcp.Tool{Name: "request_git", Annotations: asks,
		Description: "Ask the operator for a repository, or to let you push refs of one that you have. Once granted, use plain git under its usual URL, without credentials."}, requestGit(c))
	mcp.AddTool(s, &mcp.Tool{Name: "request_capability", Annotations: asks,
		Description: "Ask the operator to add to this machine's image what you cannot install yourself: Debian packages, or lines of a Dockerfile. Once granted, the machine is restarted with it, and you go on where you were."}, requestCapability(c))
	mcp.AddTool(s, &mcp.Tool{Name: "request_secret", Annotations: asks,
		Description: "Ask the operator for a credential for a host. You never see it: the proxy puts it on your requests. Use a program as if you were logged in, or with any dummy credential."}, requestSecret(c))
	mcp.AddTool(s, &mcp.Tool{Name: "request_limit", Annotations: asks,
		Description: "Ask the operator for more requests or bytes, where the policy limits them and they are used up."}, requestLimit(c))
	mcp.AddTool(s, &mcp.Tool{Name: "ask_operator", Annotations: asks,
		Description: "Ask the operator a question that only a person can answer. Returns a request's id at once; the answer comes later (check_request)."}, askOperator(c))
	mcp.AddTool(s, &mcp.Tool{Name: "check_request", Annotations: reads,
		Description: "Wait for the decision about a request, or see how far it is."}, checkRequest(c))
	mcp.AddTool(s, &mcp.Tool{Name: "cancel_request", Annotations: asks,
		Description: "Take a request back that has not been decided, once you do not need it any more."}, cancelRequest(c))
	mcp.AddTool(s, &mcp.Tool{Name: "list_requests", Annotations: reads,
		Description: "The requests of this bottle and what became of them: all that wait or are granted, and the last of the others."}, listRequests(c))
}

func listPolicy(c *desk) mcp.ToolHandlerFor[none, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, _ none) (*mcp.CallToolResult, any, error) {
		now, err := c.Allowed(ctx)
		if err != nil {
			return nil, nil, sorry(err)
		}
		return said(outcome{Summary: policyText(now), Policy: &now})
	}
}

// policyText is what a bottle may do, in words. The granted routes are among the others,
// each with its end.
func policyText(now control.Allowance) string {
	var b strings.Builder
	b.WriteString("This bottle may reach:\n")
	for _, r := range now.Routes {
		text := r
		if n, err := r.Normalize(); err == nil {
			text = n
		}
		fmt.Fprintf(&b, "- %s", text)
		b.WriteString(grantText(now, r.Grant) + "\n")
		for _, d := range text.Deny {
			fmt.Fprintf(&b, "  but not%s\n", strings.TrimPrefix(d.String(), "any host"))
		}
	}
	if len(now.Routes) == 0 {
		b.WriteString("- nothing\n")
	}
	for _, d := range now.Deny {
		fmt.Fprintf(&b, "Never: %s\n", d)
	}
	if now.Limits != nil {
		fmt.Fprintf(&b, "At most: %s, over all routes.\n", now.Limits)
	}
	b.WriteString(leftText(now))
	b.WriteString("Anything else is refused. Ask for more with request_egress.\n")
	for i, r := range now.Repositories {
		if i == 0 {
			b.WriteString("Repositories, with plain git under their usual URLs:\n")
		}
		fmt.Fprintf(&b, "- %s (%s): %s", r.Name, r.Upstream, r.Push)
		b.WriteString(grantText(now, r.Grant) + "\n")
		for _, more := range r.More {
			fmt.Fprintf(&b, "  also: %s%s\n", more.Push, grantText(now, more.Grant))
		}
	}
	b.WriteString("Ask for another repository, or for refs to push, with request_git.\n")
	return b.String()
}

// leftText says what is left of the limits, and what to do where that is not enough.
func leftText(now control.Allowance) string {
	limited := now.Limits != nil || slices.ContainsFunc(now.Routes, func(r policy.Route) bool { return r.Limits != nil })
	switch {
	case !limited:
		return ""
	case len(now.Left) == 0:
		return "How much of the limits is left is not known at this moment: call this again in a while.\n"
	}
	var b strings.Builder
	b.WriteString("Of the limits is left now:\n")
	for _, l := range now.Left {
		of := "all routes together"
		if l.Of != "" {
			of = l.Of
		}
		if l.Grant != "" {
			of = "what was granted as " + l.Grant
		}
		fmt.Fprintf(&b, "- %s: %s\n", of, l)
	}
	b.WriteString("Ask for more of a limit with request_limit.\n")
	return b.String()
}

// grantText says when what was granted as a request ends, "" if it was not.
func grantText(now control.Allowance, id string) string {
	i := slices.IndexFunc(now.Grants, func(g requests.Request) bool { return id != "" && g.ID == id })
	if i < 0 {
		return ""
	}
	return fmt.Sprintf(" (granted as %s, %s)", id, ending(now.Grants[i].Grant))
}

// ending says when a grant ends.
func ending(g *requests.Grant) string {
	switch {
	case g == nil:
		return "ended"
	case !g.Ended.IsZero():
		return "ended: " + g.Why
	case g.Uses > 0:
		return fmt.Sprintf("%d of %d uses left%s", max(0, g.Uses-g.Used), g.Uses, untilText(g.Until))
	case !g.Until.IsZero():
		return strings.TrimPrefix(untilText(g.Until), ", ")
	}
	return "until the bottle ends"
}

func untilText(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return ", until " + at.UTC().Format(time.RFC3339)
}

func requestEgress(c *desk) mcp.ToolHandlerFor[egressIn, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, in egressIn) (*mcp.CallToolResult, any, error) {
		length, err := duration(in.For)
		if err != nil {
			return nil, nil, err
		}
		return ask(ctx, c, requests.Ask{Kind: requests.Egress, Why: in.Why, For: length, Route: &policy.Route{
			Host: in.Host, Port: in.Port, Protocol: policy.Protocol(in.Protocol), Methods: in.Methods, Paths: in.Paths,
		}})
	}
}

func requestGit(c *desk) mcp.ToolHandlerFor[gitIn, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, in gitIn) (*mcp.CallToolResult, any, error) {
		length, err := duration(in.For)
		if err != nil {
			return nil, nil, err
		}
		return ask(ctx, c, requests.Ask{Kind: requests.Repo, Why: in.Why, For: length, Git: &requests.Git{
			Repository: in.Repository, Push: policy.Push{Refs: in.Refs, Force: in.Force, Delete: in.Delete},
		}})
	}
}

func requestCapability(c *desk) mcp.ToolHandlerFor[imageIn, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, in imageIn) (*mcp.CallToolResult, any, error) {
		return ask(ctx, c, requests.Ask{Kind: requests.Capability, Why: in.Why, Image: &requests.Image{Packages: in.Packages, Dockerfile: in.Dockerfile}})
	}
}

func requestSecret(c *desk) mcp.ToolHandlerFor[secretIn, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, in secretIn) (*mcp.CallToolResult, any, error) {
		length, err := duration(in.For)
		if err != nil {
			return nil, nil, err
		}
		return ask(ctx, c, requests.Ask{
			Kind: requests.Secret, Why: in.Why, For: length,
			Route: &policy.Route{Host: in.Host, Port: in.Port, Methods: in.Methods, Paths: in.Paths},
			Auth:  &policy.Auth{Scheme: policy.Scheme(in.Scheme), User: in.User, Header: in.Header, Parameter: in.Parameter, Secret: in.Name},
		})
	}
}

func requestLimit(c *desk) mcp.ToolHandlerFor[limitIn, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, in limitIn) (*mcp.CallToolResult, any, error) {
		length, err := duration(in.For)
		if err != nil {
			return nil, nil, err
		}
		more := &policy.Limits{Requests: in.Requests, BytesUp: in.BytesUp, BytesDown: in.BytesDown}
		return ask(ctx, c, requests.Ask{Kind: requests.Limit, Why: in.Why, For: length, Host: in.Host, More: more})
	}
}

func askOperator(c *desk) mcp.ToolHandlerFor[questionIn, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, in questionIn) (*mcp.CallToolResult, any, error) {
		return ask(ctx, c, requests.Ask{Kind: requests.Question, Question: in.Question, Choices: in.Choices})
	}
}

func duration(s string) (policy.Span, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return 0, errors.New("for is a length of time of a second or more, as in 30m or 2h")
	}
	return policy.Span(d), nil
}

func ask(ctx context.Context, c *desk, a requests.Ask) (*mcp.CallToolResult, any, error) {
	if where := c.secretive(ctx, a); where != "" {
		return nil, nil, fmt.Errorf("not taken down (invalid): %s holds what looks like a secret, which would be shown and kept: leave it out", where)
	}
	r, err := c.Ask(ctx, c.masked(ctx, a))
	if err != nil {
		return nil, nil, sorry(err)
	}
	return said(outcome{Summary: requestText(r), Request: &r})
}

// secretive names what is asked for that looks like a secret, "" if nothing does. It is what is
// decided about, from which nothing can be taken out.
func (d *desk) secretive(ctx context.Context, a requests.Ask) string {
	named := map[string][]string{"the host": {a.Host}}
	if a.Route != nil {
		named["the route"] = append(append([]string{a.Route.Host}, a.Route.Methods...), a.Route.Paths...)
	}
	if a.Auth != nil {
		named["how the credential is sent"] = []string{a.Auth.Secret, a.Auth.Header, a.Auth.User, a.Auth.Parameter}
	}
	if a.Git != nil {
		named["the repository or a ref"] = append([]string{a.Git.Repository}, a.Git.Push.Refs...)
	}
	if a.Image != nil {
		named["the change of the image"] = append([]string{a.Image.Dockerfile}, a.Image.Packages...)
	}
	for _, where := range slices.Sorted(maps.Keys(named)) {
		if slices.ContainsFunc(named[where], func(text string) bool { return d.mask(ctx, text) != text }) {
			return where
		}
	}
	return ""
}

func checkRequest(c *desk) mcp.ToolHandlerFor[checkIn, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, in checkIn) (*mcp.CallToolResult, any, error) {
		wait := defaultWait
		if in.WaitSeconds != nil {
			wait = min(max(0, *in.WaitSeconds), maxWait)
		}
		select {
		case c.waiting <- struct{}{}:
			defer func() { <-c.waiting }()
		default:
			wait = 0
		}
		r, err := c.Wait(ctx, in.ID, time.Duration(wait)*time.Second)
		if err != nil {
			return nil, nil, sorry(err)
		}
		return said(outcome{Summary: requestText(r), Request: &r})
	}
}

func cancelRequest(c *desk) mcp.ToolHandlerFor[idIn, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, in idIn) (*mcp.CallToolResult, any, error) {
		r, err := c.Cancel(ctx, in.ID)
		if err != nil {
			return nil, nil, sorry(err)
		}
		return said(outcome{Summary: requestText(r), Request: &r})
	}
}

func listRequests(c *desk) mcp.ToolHandlerFor[none, any] {
	return func(ctx context.Context, _ *mcp.CallToolRequest, _ none) (*mcp.CallToolResult, any, error) {
		all, err := c.List(ctx)
		if err != nil {
			return nil, nil, sorry(err)
		}
		all, older := latest(all)
		lines := make([]string, len(all))
		for i, r := range all {
			lines[i] = requestText(r)
		}
		switch {
		case len(all) == 0:
			lines = []string{"Nothing was asked for."}
		case older > 0:
			lines = append(lines, fmt.Sprintf("%d older ones, which are over, are left out: check_request has each by its id.", older))
		}
		return said(outcome{Summary: strings.Join(lines, "\n"), Requests: all})
	}
}

// maxOver bounds how many requests that are over are listed: a model reads all of it.
const maxOver = 30

// latest leaves out the oldest of the requests that are over.
func latest(all []requests.Request) (kept []requests.Request, left int) {
	for _, r := range all {
		if !r.Open() {
			left++
		}
	}
	left = max(0, left-maxOver)
	older := left
	return slices.DeleteFunc(all, func(r requests.Request) bool {
		if r.Open() || older == 0 {
			return false
		}
		older--
		return true
	}), left
}

// sorry is an error that a model can act on.
func sorry(err error) error {
	var refusal *requests.Refusal
	if errors.As(err, &refusal) {
		return fmt.Errorf("not taken down (%s): %s", refusal.Code, refusal.Reason)
	}
	return errors.New("the operator's side cannot be reached now: try again in a moment")
}
