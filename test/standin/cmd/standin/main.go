// Command standin runs the stand-in until it is told to stop. It prints one line of JSON
// with its address, the file of its CA, and the file that gets each request as a line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

func main() {
	var o standin.Options
	flag.StringVar(&o.Listen, "listen", "127.0.0.1:0", "address to listen on")
	flag.StringVar(&o.Key, "key", "", "the only key that is let in")
	flag.StringVar(&o.Answer, "answer", "Hello from the stand-in.", "what the model says")
	flag.StringVar(&o.Tool, "tool", "", "a command that the model runs first")
	dir := flag.String("dir", "", "where to write the CA and the requests (default: a new directory)")
	flag.Parse()
	if err := run(o, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}

func run(o standin.Options, dir string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if dir == "" {
		if dir, err = os.MkdirTemp("", "standin-"); err != nil {
			return err
		}
	}
	requests, err := os.OpenFile(filepath.Join(dir, "requests.ndjson"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, requests.Close()) }()
	o.Log = requests
	s, err := standin.New(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, []byte(s.CA), 0o600); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"address": s.Address, "ca": ca, "requests": requests.Name()}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
