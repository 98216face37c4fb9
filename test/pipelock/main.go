// Command pipelock stands in for Pipelock in tests: it takes the same command line, insists
// on the configuration that bot-bottle promises to give it, key by key, and speaks its Scan
// API as observed of version 2.3.0, with that one's faults on request (faults.go). It knows a handful of
// rules; docs/pipelock.md says how to run the same tests with the real one.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// version is what it says of its engine.
const version = "2.3.0-standin"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "Error: "+err.Error())
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && strings.HasPrefix(args[0], "orphan") {
		return orphan(args[0])
	}
	if len(args) != 3 || args[0] != "run" || args[1] != "--config" {
		return errors.New("usage: pipelock run --config FILE")
	}
	if len(os.Environ()) > 0 {
		return fmt.Errorf("the environment is not empty: it has %d variables", len(os.Environ()))
	}
	c, err := readConfig(args[2])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := newScanner(c)
	api := &http.Server{
		Addr: c.ScanAPI.Listen, Handler: s, ReadTimeout: time.Duration(c.ScanAPI.Timeouts.Read), WriteTimeout: time.Duration(c.ScanAPI.Timeouts.Write),
	}
	health := &http.Server{Addr: c.FetchProxy.Listen, ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(s.health)}
	failed := make(chan error, 2)
	for _, server := range []*http.Server{api, health} {
		go func() { failed <- server.ListenAndServe() }()
		defer func() { _ = server.Close() }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}
