package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

func (a *App) build() *cobra.Command {
	var noCache, pull bool
	c := &cobra.Command{
		Use:   "build [AGENT…]",
		Short: "Build the images that agents run, before they are needed",
		Long: `Build makes the images of the agents named, of all of them by default: what start would build the
first time. What is there already is left alone, unless a flag says to build it again.`,
		Example: `  bot-bottle build
  bot-bottle build --pull implementer   # with what the base image's distribution has fixed since`,
		ValidArgsFunction: a.completeAgents,
		RunE:              func(c *cobra.Command, args []string) error { return a.runBuild(c.Context(), args, noCache, pull) },
	}
	c.Flags().BoolVar(&noCache, "no-cache", false, "build every step again")
	c.Flags().BoolVar(&pull, "pull", false, "look for a newer base image, and build on that")
	return c
}

func (a *App) runBuild(ctx context.Context, agents []string, noCache, pull bool) error {
	m, err := a.manifest()
	if err != nil {
		return err
	}
	if len(m.Agents)+len(m.Problems)+len(agents) == 0 {
		a.noAgentYet()
		return nil
	}
	backend, err := a.builder(noCache, pull)
	if err != nil {
		return err
	}
	for _, agent := range oneOfEach(m, agents) {
		if err := a.buildFor(ctx, backend, agent); err != nil {
			return err
		}
	}
	return nil
}

// builder is the backend at hand, with an image builder that does as the flags say.
func (a *App) builder(noCache, pull bool) (bottle.Backend, error) {
	backend, err := a.backend("")
	if err != nil {
		return nil, err
	}
	engine, err := a.docker()
	if err != nil {
		return nil, err
	}
	images := a.images(engine.Client)
	images.Again, images.NoCache, images.Pull = noCache || pull, noCache, pull
	if backend.Name() != engine.Name() {
		machines, err := a.smolmachines(engine)
		if err != nil {
			return nil, err
		}
		machines.Images = images
		return bottle.Use(machines), nil
	}
	engine.Images = images
	return bottle.Use(engine), nil
}

// oneOfEach is those agents, of all by default, whose bottle is not that of one before.
func oneOfEach(m *manifest.Manifest, agents []string) (chosen []string) {
	if len(agents) == 0 {
		for name := range m.Agents {
			agents = append(agents, name)
		}
		slices.Sort(agents)
	}
	seen := map[string]bool{}
	for _, name := range agents {
		if of := m.Agents[name].Bottle; of == "" || !seen[of] {
			seen[of] = true
			chosen = append(chosen, name)
		}
	}
	return chosen
}

// buildFor resolves an agent's bottle as start does, so that what is built is what start takes.
func (a *App) buildFor(ctx context.Context, backend bottle.Backend, agent string) error {
	spec, err := a.spec(agent, nil, startFlags{})
	if err != nil {
		return err
	}
	plan, err := backend.Prepare(ctx, spec)
	if err != nil {
		return err
	}
	if err := plan.MakeImages(ctx, a.say); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Stderr, "bot-bottle: %s has its images\n", printable(agent))
	return err
}
