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

// run exists so that every defer runs before the exit.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends us the usual way
	return cli.Main(ctx, cli.OS())
}
