package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

func (a *App) image() *cobra.Command {
	c := &cobra.Command{
		Use:   "image",
		Short: "See and remove the images that were built for bottles",
		Args:  aVerb,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
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

func (a *App) builtImages(ctx context.Context) (image.Builder, []image.Built, error) {
	driver, err := a.docker()
	if err != nil {
		return image.Builder{}, nil, err
	}
	images := a.images(driver.Client)
	kept, err := driver.KeptImages()
	if err != nil {
		return image.Builder{}, nil, err
	}
	built, err := images.Built(ctx, kept)
	return images, built, err
}

func (a *App) listImages(ctx context.Context, asJSON bool) error {
	_, built, err := a.builtImages(ctx)
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
		return "perhaps, by a bottle that is kept"
	}
	return "no"
}

func (a *App) pruneImages(ctx context.Context, yes bool) error {
	images, built, err := a.builtImages(ctx)
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
		if agreed, err := a.ask(ctx, "Remove them?"); err != nil || !agreed {
			return err
		}
	}
	for _, b := range unused {
		err = errors.Join(err, images.Remove(ctx, b))
	}
	return err
}
