package cli

import (
	"cmp"
	"context"
	"debug/elf"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/doctor"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

type doctorFlags struct{ json, fix, offline bool }

func (a *App) doctor() *cobra.Command {
	var f doctorFlags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check this host, and say what mends what does not work",
		Long: `Doctor looks at the engine, the programs that bottles need on this host, its kernel, clock,
certificates and network, $BOT_BOTTLE_HOME, the manifest, and what bottles left behind. Each
line is ok, a note, or a problem with what mends it. Nothing is changed without --fix, which
mends only what is safe. The exit status is 1 if there is a problem.

It makes a TLS connection to the hosts of the manifest's agents, over which it sends nothing.`,
		Example: `  bot-bottle doctor
  bot-bottle doctor --offline --json | jq -r '.[] | select(.level == "problem") | .fix'
  bot-bottle doctor --fix`,
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error { return a.runDoctor(c.Context(), f) },
	}
	c.Flags().BoolVar(&f.json, "json", false, "print the findings as a JSON array")
	c.Flags().BoolVar(&f.fix, "fix", false, "mend what is safe to mend: close $BOT_BOTTLE_HOME to others")
	c.Flags().BoolVar(&f.offline, "offline", false, "connect to no host")
	return c
}

func (a *App) runDoctor(ctx context.Context, f doctorFlags) error {
	backends, err := a.sorted()
	if err != nil {
		backends = nil
	}
	host := doctor.Host{Getenv: a.Getenv, Home: a.home, UserHome: a.userHome, Backends: backends, Now: a.Now}
	if !f.offline {
		host.Hosts = a.modelHosts()
	}
	if f.fix {
		done, err := host.Fix()
		for _, what := range done {
			a.say(what)
		}
		if err != nil {
			return err
		}
	}
	found := append([]bottle.Finding{a.self(err)}, host.Examine(ctx)...)
	found = append(found, a.leftovers(ctx)...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return a.showFindings(found, f.json)
}

// self is about this program. unusable is why there is no backend at all.
func (a *App) self(unusable error) bottle.Finding {
	f := bottle.Finding{Area: "bot-bottle", Level: bottle.LevelOK, Text: fmt.Sprintf("version %s, %s/%s", currentVersion().Version, runtime.GOOS, runtime.GOARCH)}
	if guest, err := a.guestBinary(); err == nil && linked(guest) {
		f.Level, f.Text = bottle.LevelNote, f.Text+", linked with this host's C library: where an image has an older one or another, no bottle starts"
		f.Fix = "CGO_ENABLED=0 go install ./cmd/bot-bottle, in a clone; or make build"
	}
	if unusable != nil {
		f.Level, f.Text, f.Fix = bottle.LevelProblem, unusable.Error(), cmp.Or(bottle.HintOf(unusable), "bot-bottle list backends")
	}
	return f
}

// linked reports whether a program needs libraries that it finds where it runs.
func linked(program string) bool {
	file, err := elf.Open(program)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	return slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// mostHosts bounds how many hosts are tried.
const mostHosts = 8

// modelHosts are those that the manifest's agents cannot work without; without a manifest
// that of the usual one.
func (a *App) modelHosts() []string {
	templates := map[string]bool{}
	if m, err := a.manifest(); err == nil {
		for _, b := range m.Bottles {
			templates[b.Provider.Template] = true
		}
	}
	if len(templates) == 0 {
		templates["claude"] = true
	}
	var hosts []string
	for template := range templates {
		p, err := provider.For(template)
		if err != nil {
			continue
		}
		for _, c := range p.Credentials {
			hosts = append(hosts, c.Route.Host)
		}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	return hosts[:min(len(hosts), mostHosts)]
}

// leftovers is what cleanup would remove.
func (a *App) leftovers(ctx context.Context) []bottle.Finding {
	usable, err := a.available(ctx)
	if err != nil {
		return nil // said already
	}
	n, bytes := 0, int64(0)
	for _, b := range usable {
		plan, err := b.PrepareCleanup(ctx, bottle.CleanupOptions{Cwd: a.cwd})
		if err != nil {
			return []bottle.Finding{{Area: "leftovers", Level: bottle.LevelNote, Text: err.Error(), Fix: "bot-bottle cleanup --dry-run"}}
		}
		for _, l := range plan.Leftovers() {
			if !l.Kept {
				n++
			}
			if l.Bytes != nil {
				bytes += *l.Bytes
			}
		}
	}
	if n == 0 {
		return []bottle.Finding{{Area: "leftovers", Level: bottle.LevelOK, Text: "none"}}
	}
	return []bottle.Finding{{Area: "leftovers", Level: bottle.LevelNote, Text: fmt.Sprintf("%s of bottles that are gone, %s", plain.Count(n, "thing"), plain.Amount(bytes)), Fix: "bot-bottle cleanup"}}
}

// showFindings prints a line for each, and what mends it below.
func (a *App) showFindings(found []bottle.Finding, asJSON bool) error {
	counts := map[bottle.Level]int{}
	wide := 0
	for _, f := range found {
		counts[f.Level]++
		wide = max(wide, len(f.Area))
	}
	if asJSON {
		if err := printJSON(a.Stdout, found, true); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			a.showFinding(f, wide)
		}
		_, _ = fmt.Fprintf(a.Stderr, "%s, %s\n", plain.Count(counts[bottle.LevelProblem], "problem"), plain.Count(counts[bottle.LevelNote], "note"))
	}
	if counts[bottle.LevelProblem] > 0 {
		return status(exitFailure)
	}
	return nil
}

func (a *App) showFinding(f bottle.Finding, wide int) {
	level := string(f.Level)
	if f.Level == bottle.LevelProblem {
		level = "PROBLEM"
	}
	indent := len("PROBLEM  ") + wide + len("  ")
	_, _ = fmt.Fprintf(a.Stdout, "%-7s  %-*s  %s\n", level, wide, f.Area, folded(f.Text, a.width(), indent))
	if f.Fix != "" {
		_, _ = fmt.Fprintf(a.Stdout, "%s→ %s\n", strings.Repeat(" ", indent), folded(f.Fix, a.width(), indent))
	}
}
