// Command cmd runs the stand-in until it is told to stop. It prints one JSON line with
// its address and its CA, and one for each request that arrives.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	key := flag.String("key", "", "the only key that is let in")
	answer := flag.String("answer", "Hello from the stand-in.", "what the model says")
	tool := flag.String("tool", "", "a command that the model runs first")
	flag.Parse()
	if err := run(standin.Options{Listen: *listen, Key: *key, Answer: *answer, Tool: *tool}); err != nil {
		fmt.Fprintln(os.Stderr, "stand-in:", err)
		os.Exit(1)
	}
}

func run(o standin.Options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := standin.New(o)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(map[string]string{"address": s.Address, "ca": s.CA}); err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for seen := 0; ; {
		select {
		case <-tick.C:
			for _, r := range s.Requests()[seen:] {
				_ = out.Encode(r)
				seen++
			}
		case <-ctx.Done():
			return s.Close(context.WithoutCancel(ctx))
		}
	}
}
