package bottle

import (
	"context"
	"fmt"
	"io"

	"github.com/bot-bottle/bot-bottle/internal/image"
)

// Backend is a Driver with its plan types erased. Only Use makes one, so no
// backend can be used without validation.
type Backend interface {
	Name() string
	Available(context.Context) error
	Place(context.Context) (string, error)
	Prepare(context.Context, Spec) (Prepared, error)
	Open(ctx context.Context, identity string) (Bottle, error)
	Audit(ctx context.Context, identity string, follow bool) (io.ReadCloser, error)
	Transcript(ctx context.Context, identity string) (io.ReadCloser, error)
	Remove(ctx context.Context, identity string) error
	UploadPack(ctx context.Context, identity, repository string, streams IO) (int, error)
	Files(ctx context.Context, identity string) (Files, error)
	Build(ctx context.Context, identity string, l image.Layer, say Progress) error
	PrepareCleanup(context.Context, CleanupOptions) (PreparedCleanup, error)
	Active(context.Context) ([]ActiveAgent, error)
}

// Prepared is a plan that can be launched, once.
type Prepared interface {
	Plan
	Identity() string
	Launch(context.Context, Progress) (Bottle, error)
	MakeImages(context.Context, Progress) error
}

// PreparedCleanup is a cleanup plan that can be carried out.
type PreparedCleanup interface {
	CleanupPlan
	Run(ctx context.Context, tell func(Leftover, error)) error
}

// Use erases P and C in one place and validates every Spec first.
func Use[P Plan, C CleanupPlan](d Driver[P, C]) Backend { return erased[P, C]{d} }

type erased[P Plan, C CleanupPlan] struct{ Driver[P, C] }

func (e erased[P, C]) Prepare(ctx context.Context, s Spec) (Prepared, error) {
	s, err := validate(ctx, s)
	if err != nil {
		return nil, err
	}
	plan, err := e.Driver.Prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	return prepared[P, C]{e.Driver, plan, s.Identity}, nil
}

func (e erased[P, C]) PrepareCleanup(ctx context.Context, o CleanupOptions) (PreparedCleanup, error) {
	plan, err := e.Driver.PrepareCleanup(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, l := range plan.Leftovers() {
		if o.Identity != "" && l.Identity != o.Identity {
			return nil, fmt.Errorf("backend %s would clean up %s %s, which is not of %s", e.Name(), l.Kind, l.Name, o.Identity)
		}
	}
	return preparedCleanup[P, C]{e.Driver, plan}, nil
}

type prepared[P Plan, C CleanupPlan] struct {
	driver   Driver[P, C]
	plan     P
	identity string
}

func (p prepared[P, C]) WriteSummary(w io.Writer) error { return p.plan.WriteSummary(w) }
func (p prepared[P, C]) Identity() string               { return p.identity }
func (p prepared[P, C]) Launch(ctx context.Context, say Progress) (Bottle, error) {
	return p.driver.Launch(ctx, p.plan, say)
}

func (p prepared[P, C]) MakeImages(ctx context.Context, say Progress) error {
	return p.driver.MakeImages(ctx, p.plan, say)
}

type preparedCleanup[P Plan, C CleanupPlan] struct {
	driver Driver[P, C]
	plan   C
}

func (p preparedCleanup[P, C]) Leftovers() []Leftover { return p.plan.Leftovers() }
func (p preparedCleanup[P, C]) Run(ctx context.Context, tell func(Leftover, error)) error {
	return p.driver.Cleanup(ctx, p.plan, tell)
}
