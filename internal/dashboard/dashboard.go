package dashboard

import (
	"context"
	"io"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// Options is what the dashboard needs of its caller.
type Options struct {
	Bottles  Bottles
	Desks    Desks
	Logs     Logs
	Screens  Screens
	Terminal Terminal

	Prices   Prices // nil: nothing is said of what answers cost
	PricesOf string // when they were those
	By       string // who decides, for the log
	Open     string // one of Opens
	Now      func() time.Time
	Getenv   func(string) string
	Stdin    io.Reader
	Stdout   io.Writer
	Env      []string // NAME=value: TERM, NO_COLOR and the like
}

// Prices estimate what a model's answers cost.
type Prices interface {
	// Cost of one; false when no price of its model is known.
	Cost(audit.Usage) (float64, bool)
	Money(float64) string
}

// Run shows the dashboard until the operator quits or ctx ends. The terminal is then as it
// was, and nothing of it is left running.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	var each sync.WaitGroup
	defer each.Wait()
	defer cancel()
	f := newFeed(o)
	each.Go(func() { f.run(ctx) })
	program := tea.NewProgram(newModel(ctx, o, f),
		tea.WithInput(o.Stdin), tea.WithOutput(o.Stdout), tea.WithEnvironment(o.Env), tea.WithoutSignalHandler())
	// Its own way of ending with a context closes the terminal under whoever reads it.
	defer context.AfterFunc(ctx, program.Quit)()
	_, err := program.Run()
	return err
}
