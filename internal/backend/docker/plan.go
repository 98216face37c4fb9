package docker

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// Plan is a bottle resolved for this engine. It can be printed as it is: secrets are
// secret.Values.
type Plan struct {
	Identity, Agent, Bottle, Owner string
	Backend                        string
	Manifest                       string            // digest of what the manifest says
	Versions                       map[string]string // of what makes and runs the bottle

	Template   string // image name, "claude"
	Dockerfile string // absolute; "" without one of the operator's
	Foreign    string // image of somebody's, by its digest; "" without one
	Program    string // which the agent's image must have
	Offline    bool   // the Dockerfile's steps have no network
	Image      string // reference that the agent runs, when known without building
	Build      bool   // the image is missing and will be built
	CLI        string // the agent's provider
	Provider   provider.Setup

	Runtime        string // engine's name of the runtime; "" is the engine's default
	DefaultRuntime string // what that default is
	RuntimeNote    string
	OwnLoopback    bool // the runtime brings loopback up by itself
	SELinux        bool
	Engine         string // the engine's own id, for caches
	CPUs           float64
	Memory         int64
	PIDs           int64

	Env          map[string]string // the manifest's
	Prompt       string
	Skills       []bottle.Skill
	GitIdentity  manifest.GitIdentity
	Git          []bottle.Repository
	Routes       []policy.Route // normalised; CA holds PEM
	Deny         []policy.Deny
	Limits       *policy.Limits        // of all routes together; nil for none
	Scan         map[string]dlp.Action // by rule; the defaults are not in it
	Proxy        *policy.Proxy         // egress's way out; CA holds PEM; nil for none
	Secrets      map[string]secret.Value
	Placeholders map[string]string
	Supervise    bool     // the agent may ask the operator for more
	Credential   string   // the provider's own, "" for none
	Withheld     []string // the provider's other credentials, which the agent does not see
	Wanted       []string // credentials of which the agent needs one and has none

	Resume bool   // home and workspace are there, as the bottle left them
	Before string // the preflight of its last run
	Settle bool   // of a resumed one: its provider or its credential is another one, so what the provider keeps at home is written anew

	TTY, Stdin, Remove bool
	Term               string
	Size               bottle.Size // of the terminal, at first
	Detached           bool
	Source             *provision.Source // the repository to bring into the workspace; nil for none
}

// Defaults where the manifest says nothing: enough for a large build, and an end to
// a fork bomb.
const (
	defaultMemory = 4 << 30
	defaultPIDs   = 1024
)

// WriteSummary writes the preflight; of a resumed bottle, also what has changed since.
func (p Plan) WriteSummary(w io.Writer) error {
	if !p.Resume {
		return p.describe(w)
	}
	var now strings.Builder
	if err := p.describe(&now); err != nil {
		return err
	}
	_, err := io.WriteString(w, now.String()+changes(p.Before, now.String()))
	return err
}

// summary is the preflight as it is recorded.
func (p Plan) summary() string {
	var b strings.Builder
	_ = p.describe(&b) // into memory
	return b.String()
}

// changes lists the lines that went and those that came, "" for none.
func changes(before, now string) string {
	if before == "" {
		return ""
	}
	lines := func(s string) []string {
		var all []string
		group := ""
		for line := range strings.Lines(s) {
			words := strings.Fields(line)
			if !strings.HasPrefix(line, "   ") && len(words) > 0 {
				group, words = words[0], words[1:] // the first of a group carries its name, wherever it stands
			}
			if group != "cwd" && group != "volumes" { // what only a start brings, and a resume keeps
				all = append(all, group+" "+strings.Join(words, " "))
			}
		}
		return all
	}
	was, is := lines(before), lines(now)
	var b strings.Builder
	for _, line := range was {
		if !slices.Contains(is, line) {
			b.WriteString("  - " + line + "\n")
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			b.WriteString("  + " + line + "\n")
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "  since its last run:\n" + b.String()
}

// describe writes what the bottle gets.
func (p Plan) describe(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(key, format string, args ...any) {
		_, _ = fmt.Fprintf(t, "  %s\t%s\n", key, printable(fmt.Sprintf(format, args...)))
	}
	line("agent", "%s", p.Agent)
	line("bottle", "%s (%s)", p.Bottle, p.Identity)
	line("backend", "%s", p.Backend)
	line("image", "%s", p.imageLine())
	line("runtime", "%s", p.runtimeLine())
	line("limits", "%s", p.limitsLine())
	if len(p.Wanted) > 0 {
		line("credential", "none: the agent needs %s among the bottle's secrets", strings.Join(p.Wanted, " or "))
	}
	p.routeLines(line)
	if p.Supervise {
		line("supervise", "the agent may ask for more (bot-bottle requests)")
	}
	for i, repo := range p.Git {
		line(head("git", i), "%s → %s, %s", repo.Name, repo.Upstream, pushing(repo))
	}
	for i, skill := range p.Skills {
		line(head("skills", i), "%s (%s)", skill.Name, skill.Dir)
	}
	if p.Source != nil {
		p.sourceLines(line)
	}
	line("volumes", "%s", p.volumesLine())
	return t.Flush()
}

func (p Plan) imageLine() string {
	if p.Build {
		return p.Image + " (will be built)"
	}
	return p.Image
}

func (p Plan) runtimeLine() string {
	name := p.Runtime
	if name == "" {
		name = "the engine's default"
	}
	if p.RuntimeNote != "" {
		return name + " (" + p.RuntimeNote + ")"
	}
	return name
}

func (p Plan) limitsLine() string {
	cpus := "all"
	if p.CPUs > 0 {
		cpus = strconv.FormatFloat(p.CPUs, 'g', -1, 64)
	}
	return fmt.Sprintf("cpus %s, memory %d MiB, processes %d", cpus, p.Memory>>20, p.PIDs)
}

// denied are the bottle's deny rules and those of its routes.
func (p Plan) denied() []policy.Deny {
	all := slices.Clone(p.Deny)
	for _, r := range p.Routes {
		for _, d := range r.Deny {
			d.Host, d.Port = r.Host, r.Port
			all = append(all, d)
		}
	}
	return all
}

// routeLines shows each route with the name of the credential that it carries.
func (p Plan) routeLines(line func(string, string, ...any)) {
	if len(p.Routes) == 0 {
		line("routes", "none: the bottle reaches nothing")
	}
	for i, r := range p.Routes {
		line(head("routes", i), "%s", r)
	}
	for i, d := range p.denied() {
		line(head("denied", i), "%s", d)
	}
	if p.Limits != nil {
		line("at most", "%s, over all routes", p.Limits)
	}
	if p.Proxy != nil {
		line("through", "%s", p.Proxy)
	}
	if len(p.Scan) > 0 {
		line("on secrets", "%s", dlp.ActionText(p.Scan))
	}
}

// sourceLines say what of the repository at hand comes along.
func (p Plan) sourceLines(line func(string, string, ...any)) {
	line("cwd", "%s", p.Source)
	if p.Source.Common != filepath.Join(p.Source.Root, ".git") {
		line("", "whose commits are in %s", p.Source.Common)
	}
	for _, note := range p.Source.Notes {
		line("", "%s", note)
	}
}

func (p Plan) volumesLine() string {
	names := []string{resource(p.Identity, roleHome) + " at " + provider.Home, resource(p.Identity, roleWorkspace) + " at " + provider.Workspace}
	if p.Remove {
		return strings.Join(names, ", ") + ", removed at the end"
	}
	if p.Resume {
		return strings.Join(names, ", ") + ", as it left them"
	}
	return strings.Join(names, ", ") + ", kept"
}

// head names a row once: the first line of a group carries its name.
func head(name string, i int) string {
	if i > 0 {
		return ""
	}
	return name
}

// printable drops what a terminal would interpret: a manifest inside a repository
// is not trusted with the operator's screen.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '·'
		}
		return r
	}, s)
}

// secretNames lists the bottle's secrets, sorted.
func (p Plan) secretNames() []string {
	names := make([]string, 0, len(p.Secrets))
	for name := range p.Secrets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// pushing is what becomes of pushes to a repository.
func pushing(r bottle.Repository) string {
	if r.SignKey == "" {
		return r.Push.String()
	}
	return r.Push.String() + ", signed with " + r.SignKey
}
