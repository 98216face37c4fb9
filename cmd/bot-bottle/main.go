// Command bot-bottle runs AI coding agents in bottles without a network.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/bot-bottle/bot-bottle/internal/cli"
)

func main() { os.Exit(run()) }

// run exists so that every defer runs before the exit. A second signal ends us the usual way.
func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		got := <-signals
		signal.Stop(signals)
		cancel(cli.Interrupted{Signal: got.(syscall.Signal)})
	}()
	return cli.Main(ctx, cli.OS())
}
