package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/backend/docker"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

func (a *App) image() *cobra.Command {
	c := &cobra.Command{
		Use:   "image",
		Short: "See and remove the images that were built for bottles",
		Long: `An image is built the first time that a bottle needs it. List shows what was built, and what each
is kept for; prune shows what nothing needs, asks, and removes it. A start builds again what it needs.`,
		Example: `  bot-bottle image list
  bot-bottle image prune`,
		Args: aVerb,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var asJSON, yes bool
	list := &cobra.Command{
		Use: "list", Short: "List the images that were built for bottles", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error { return a.listImages(c.Context(), asJSON) },
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	prune := &cobra.Command{
		Use: "prune", Short: "Remove images that no bottle has and that this version does not use", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error { return a.pruneImages(c.Context(), yes) },
	}
	prune.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.AddCommand(list, prune)
	return c
}

// builtImages are what was built for bottles; both verbs ask for the same.
func (a *App) builtImages(ctx context.Context) (*docker.Driver, *manifest.Manifest, []image.Built, error) {
	driver, err := a.docker()
	if err != nil {
		return nil, nil, nil, err
	}
	var m *manifest.Manifest
	if _, err := os.Stat(a.home); !errors.Is(err, fs.ErrNotExist) { // else no bottle is described
		if m, err = a.manifest(); err != nil {
			return nil, nil, nil, err
		}
	}
	built, err := driver.BuiltImages(ctx, a.images(driver.Client), m, a.cwd)
	return driver, m, built, err
}

func (a *App) listImages(ctx context.Context, asJSON bool) error {
	_, _, built, err := a.builtImages(ctx)
	if err != nil {
		return err
	}
	t := table{empty: "no image was built yet", data: built, columns: []column{{"IMAGE", whole}, {"SIZE", 1}, {"USED", 2}}}
	for _, b := range built {
		t.rows = append(t.rows, []string{b.Ref, fmt.Sprintf("%d MB", b.Size/1e6), imageUse(b)})
	}
	return a.show(t, asJSON)
}

func imageUse(b image.Built) string {
	switch {
	case b.Containers > 0:
		return "by " + plain.Count(b.Containers, "container")
	case b.Current:
		return "by this version"
	case b.Kept:
		return b.For
	}
	return "no"
}

func (a *App) pruneImages(ctx context.Context, yes bool) error {
	driver, m, built, err := a.builtImages(ctx)
	if err != nil {
		return err
	}
	var unused []image.Built
	for _, b := range built {
		if b.Unused() {
			unused = append(unused, b)
			_, _ = fmt.Fprintf(a.Stderr, "  %s (%d MB)\n", printable(b.Ref), b.Size/1e6)
		}
	}
	if len(unused) == 0 {
		_, err := fmt.Fprintln(a.Stderr, "bot-bottle: every image is used")
		return err
	}
	if !yes {
		if agreed, err := a.ask(ctx, "Remove them? What they share with others stays."); err != nil || !agreed {
			return err
		}
	}
	removed, freed, err := driver.PruneImages(ctx, a.images(driver.Client), unused, m, a.cwd)
	what := "bot-bottle: " + plain.Count(removed, "image") + " removed"
	switch {
	case freed >= 1e6:
		what += fmt.Sprintf(", which has freed %d MB", freed/1e6)
	case freed >= 0:
		what += ", whose space others share"
	}
	_, _ = fmt.Fprintln(a.Stderr, what)
	return err
}
