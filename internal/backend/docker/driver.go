// Package docker runs bottles on a Docker engine: an agent container without a
// network, a sidecar bundle container that holds the policy and the credentials, and
// a volume of unix sockets between them (DESIGN §2, §4).
//
// It speaks the Engine API and never runs the docker command. It must never put a
// secret into anything that the engine stores: not into an environment, a label, an
// argument, an image or a volume. Secrets go over the bundle's standard input.
package docker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Driver implements bottle.Driver. Its fields are set once, before use.
type Driver struct {
	Client *client.Client
	State  state.Store
	Images Images
	Binary string // our own linux executable for the engine's architecture
	Roots  func() (string, error)
	Log    *slog.Logger
	Now    func() time.Time
}

// Images makes the images that bottles and bundles run.
type Images interface {
	// Ref names an image; it touches nothing.
	Ref(name string) (string, error)
	// Ensure builds the image if the engine does not have it.
	Ensure(ctx context.Context, name string, say func(string)) (image.Image, error)
	// EnsureCustom builds a user's Dockerfile on top of a named image.
	EnsureCustom(ctx context.Context, base, dockerfile string, say func(string)) (image.Image, error)
	// EnsureLayer builds a layer that an operator approved on an image.
	EnsureLayer(ctx context.Context, on image.Image, l image.Layer, say func(string)) (image.Image, error)
}

var _ bottle.Driver[Plan, CleanupPlan] = (*Driver)(nil)

// Name is what --backend says.
func (d *Driver) Name() string { return "docker" }

// CleanupPlan lists what is left of bottles that no longer run.
type CleanupPlan struct {
	Containers []leftover
	Volumes    []leftover
	States     []leftover
}

// leftover is one resource: its id or name for the engine, and words for people.
type leftover struct {
	ID, Name, What string
	Identity       string
	keep           bool // a state whose home and workspace stay for resume
}

// Empty reports whether there is nothing to remove.
func (c CleanupPlan) Empty() bool {
	return len(c.Containers)+len(c.Volumes)+len(c.States) == 0
}

// WriteSummary lists what would be removed, one line each.
func (c CleanupPlan) WriteSummary(w io.Writer) error {
	for _, group := range []struct {
		kind  string
		items []leftover
	}{{"container", c.Containers}, {"volume", c.Volumes}, {"state", c.States}} {
		for _, item := range group.items {
			if _, err := fmt.Fprintf(w, "  %-10s %s (%s)\n", group.kind, item.Name, item.What); err != nil {
				return err
			}
		}
	}
	return nil
}
