package resolve

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
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Own is what only a backend can say of a bottle.
type Own struct {
	Runtime string // what it runs on, in words
	Keeps   string // what holds its home and workspace, in words
}

// WriteSummary writes the preflight; of a resumed bottle, also what has changed since.
func (p Plan) WriteSummary(w io.Writer, own Own) error {
	now := p.Summary(own)
	if p.Resume {
		now += changes(p.Before, now)
	}
	_, err := io.WriteString(w, now)
	return err
}

// Summary is the preflight as it is recorded.
func (p Plan) Summary(own Own) string {
	var b strings.Builder
	_ = p.describe(&b, own) // into memory
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
func (p Plan) describe(w io.Writer, own Own) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(key, format string, args ...any) {
		_, _ = fmt.Fprintf(t, "  %s\t%s\n", key, plain.Text(fmt.Sprintf(format, args...)))
	}
	line("agent", "%s", p.Agent)
	line("bottle", "%s (%s)", p.Bottle, p.Identity)
	line("backend", "%s", p.Backend)
	line("image", "%s", p.imageLine())
	line("runtime", "%s", own.Runtime)
	line("limits", "%s", p.limitsLine())
	if len(p.Wanted) > 0 {
		line("credential", "none: the agent needs %s among the bottle's secrets", strings.Join(p.Wanted, " or "))
	}
	p.routeLines(line)
	if p.Pipelock != nil {
		line("pipelock", "%s", p.Pipelock)
	}
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
	line("volumes", "%s, %s", own.Keeps, p.fate())
	return t.Flush()
}

func (p Plan) imageLine() string {
	line := p.Image
	if p.Build {
		line += " (will be built)"
	}
	if len(p.OnTop) > 0 {
		line += ", with what was approved as " + strings.Join(p.OnTop, ", ")
	}
	return line
}

// fate is what becomes of home and workspace.
func (p Plan) fate() string {
	switch {
	case p.Remove:
		return "removed at the end"
	case p.Resume:
		return "as it left them"
	}
	return "kept"
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

// head names a row once: the first line of a group carries its name.
func head(name string, i int) string {
	if i > 0 {
		return ""
	}
	return name
}

// pushing is what becomes of pushes to a repository.
func pushing(r bottle.Repository) string {
	if r.SignKey == "" {
		return r.Push.String()
	}
	return r.Push.String() + ", signed with " + r.SignKey
}
