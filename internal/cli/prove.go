package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/backend/docker"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/prove"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
	"github.com/bot-bottle/bot-bottle/internal/secretsource"
)

type proveFlags struct {
	backend, runtime, against, address, html string
	only                                     []string
	json, details                            bool
}

func (a *App) prove() *cobra.Command {
	var f proveFlags
	c := &cobra.Command{
		Use:   "prove [AGENT]",
		Short: "Attack a bottle, and show what happened",
		Long: `Prove starts a bottle as AGENT would get it, on your backend and runtime, with stand-ins around
it instead of real servers, and has a hostile agent try what such agents try, as root and as
node: to reach the network, the host and other names, to talk the proxy, git-gate and supervise
into something, to find the credential. The agent's own program does not run. Without AGENT it
is a bottle of Claude Code with everything switched on.

Each attack states in a sentence what holds. The exit status is 1 if one broke. --against shows
the same attacks on a set-up that is often used instead: some of them must work there, or they
would prove nothing.`,
		Example: `  bot-bottle prove
  bot-bottle prove implementer --details
  bot-bottle prove --runtime runsc
  bot-bottle prove --only A,C10 --json
  bot-bottle prove --html proof.html
  bot-bottle prove --against docker-internal-network`,
		Args:              asUsed,
		ValidArgsFunction: a.completeAgents,
		RunE: func(c *cobra.Command, args []string) error {
			return a.runProve(c.Context(), strings.Join(args, ""), f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.backend, "backend", "", "what makes the bottle (default: $BOT_BOTTLE_BACKEND, else docker)")
	flags.StringVar(&f.runtime, "runtime", "", "the bottle's runtime: auto, runc or runsc (default: the manifest's)")
	flags.StringVar(&f.against, "against", "", "attack another set-up instead: "+strings.Join(usuals(), ", "))
	flags.StringSliceVar(&f.only, "only", nil, "only these attacks or groups, such as A,C10")
	flags.StringVar(&f.address, "address", "", "address of this host at which bottles' services reach it (default: its first)")
	flags.BoolVar(&f.json, "json", false, "print a JSON object")
	flags.BoolVar(&f.details, "details", false, "show each attempt, not only each attack")
	flags.StringVar(&f.html, "html", "", "also write a page to this `file`")
	_ = c.RegisterFlagCompletionFunc("backend", a.completeBackends)
	_ = c.RegisterFlagCompletionFunc("runtime", cobra.FixedCompletions(runtimes(), cobra.ShellCompDirectiveNoFileComp))
	c.MarkFlagsMutuallyExclusive("runtime", "against")
	_ = c.RegisterFlagCompletionFunc("against", cobra.FixedCompletions(usuals(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func usuals() (names []string) {
	for _, u := range docker.Usuals() {
		names = append(names, string(u))
	}
	return names
}

func runtimes() []string {
	return []string{string(manifest.RuntimeAuto), string(manifest.RuntimeRunc), string(manifest.RuntimeRunsc)}
}

func (a *App) runProve(ctx context.Context, agent string, f proveFlags) error {
	for _, only := range f.only {
		if !slices.ContainsFunc(prove.Attacks(), func(id string) bool { return inside.Names([]string{only}, id) }) {
			return &usageError{what: fmt.Sprintf("there is no attack %q", only), hint: "they are " + strings.Join(prove.Attacks(), ", ") + "; a letter is a whole group"}
		}
	}
	if f.runtime != "" && !slices.Contains(runtimes(), f.runtime) {
		return &usageError{what: fmt.Sprintf("there is no runtime %q", f.runtime), hint: "there are: " + strings.Join(runtimes(), ", ")}
	}
	report, err := a.proveOn(ctx, agent, f)
	if err != nil {
		return &bottle.LaunchError{Err: err}
	}
	if f.html != "" {
		if err := os.WriteFile(f.html, prove.Page(report), 0o600); err != nil {
			return err
		}
	}
	if err := a.showProof(report, f); err != nil {
		return err
	}
	if _, broken, _ := report.Count(); broken > 0 {
		return status(exitFailure)
	}
	return nil
}

func (a *App) proveOn(ctx context.Context, agent string, f proveFlags) (prove.Report, error) {
	o := prove.Options{
		Agent: agent, Cwd: a.cwd, Only: f.only, Address: f.address, Now: a.Now, Secrets: secretsource.Resolver(a.LookupEnv, secretTimeout),
		Say: func(what string) { _, _ = fmt.Fprintln(a.Stderr, "bot-bottle: "+printable(what)) },
		Command: func(ctx context.Context, args ...string) (*exec.Cmd, error) {
			self, err := a.Executable()
			return exec.CommandContext(ctx, self, args...), err
		},
		Runtime: func(identity string) string {
			record, err := a.store().Read(identity)
			if err != nil {
				return ""
			}
			return record.Runtime
		},
	}
	if f.against != "" {
		return a.proveAgainst(ctx, docker.Usual(f.against), o)
	}
	var err error
	if o.Manifest, o.Agent, err = a.attacked(agent); err != nil {
		return prove.Report{}, err
	}
	if b := o.Manifest.Bottles[o.Manifest.Agents[o.Agent].Bottle]; f.runtime != "" {
		b.Runtime = manifest.Runtime(f.runtime)
		o.Manifest.Bottles[b.Name] = b
	}
	backend, err := a.backend(f.backend)
	if err != nil {
		return prove.Report{}, err
	}
	return prove.Bottle(ctx, backend, o)
}

func (a *App) proveAgainst(ctx context.Context, u docker.Usual, o prove.Options) (prove.Report, error) {
	if !slices.Contains(docker.Usuals(), u) {
		return prove.Report{}, &usageError{what: fmt.Sprintf("%q is no set-up to compare with", u), hint: "there are: " + strings.Join(usuals(), ", ")}
	}
	d, err := a.docker()
	if err != nil {
		return prove.Report{}, err
	}
	return prove.Against(ctx, string(u), func(f func(bottle.Bottle) error) error { return d.WithUsual(ctx, u, o.Say, f) }, o)
}

// attacked is the manifest with the agent whose bottle is attacked.
func (a *App) attacked(agent string) (*manifest.Manifest, string, error) {
	if agent == "" {
		m := &manifest.Manifest{Agents: map[string]manifest.Agent{}, Bottles: map[string]manifest.Bottle{}}
		m.Bottles["prove"] = manifest.Bottle{Name: "prove", Provider: manifest.Provider{Template: "claude"}, Runtime: manifest.RuntimeAuto, Supervise: true}
		m.Agents["prove"] = manifest.Agent{Name: "prove", Bottle: "prove"}
		return m, "prove", nil
	}
	m, err := a.manifest()
	if err != nil {
		return nil, "", err
	}
	_, err = m.Agent(agent)
	return m, agent, err
}

// showProof prints a line for each attack, and what happened where it broke.
func (a *App) showProof(r prove.Report, f proveFlags) error {
	if f.json {
		return printJSON(a.Stdout, r, true)
	}
	for _, o := range r.Outcomes {
		a.showOutcome(o, f.details)
	}
	held, broken, missing := r.Count()
	_, err := fmt.Fprintf(a.Stderr, "%s: %d held, %d BROKEN, %d not tried; %s in %s\n", r.Where(), held, broken, missing, plain.Count(attempts(r), "attempt"), r.Took.Round(100*time.Millisecond))
	return err
}

func attempts(r prove.Report) (n int) {
	for _, o := range r.Outcomes {
		n += len(o.Attempts)
	}
	return n
}

func (a *App) showOutcome(o inside.Outcome, details bool) {
	verdict := "held"
	switch {
	case o.Missing != "":
		verdict = "-"
	case !o.Held():
		verdict = "BROKEN"
	}
	claim := o.Claim
	if o.Missing != "" {
		claim += " (not tried: " + o.Missing + ")"
	}
	_, _ = fmt.Fprintf(a.Stdout, "%-6s  %-3s  %-4s  %-26s  %s\n", verdict, printable(o.ID), printable(o.User), printable(o.Name), printable(claim))
	for _, t := range o.Attempts {
		mark := "      "
		if !t.Held {
			mark = "BROKEN"
		}
		if details || !t.Held {
			_, _ = fmt.Fprintf(a.Stdout, "        %s  %s: %s\n", mark, printable(t.What), printable(t.Happened))
		}
	}
}
