// Command bench measures what the issues give aims for, as ratios within one run where
// it can: these machines are noisy. It prints one line per figure and writes the same to
// bench.json.
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

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// area is a group of figures that one measurement gives.
type area struct {
	name    string
	measure func(context.Context, *lab.Lab) ([]figure, error)
}

func areas() []area {
	return []area{
		{"start", measureStart}, {"bundle", measureBundle}, {"relay", measureRelay}, {"egress", measureEgress}, {"dlp", measureDLP}, {"pipelock", measurePipelock},
		{"supervise", measureSupervise}, {"git", measureGit}, {"session", measureSession}, {"lifecycle", measureLifecycle}, {"dashboard", measureDashboard}, {"smolmachines", measureSmolmachines},
	}
}

func main() {
	program := flag.String("bin", "bin/bot-bottle", "the program")
	only := flag.String("area", "", "measure only this area")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, *program, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func bench(ctx context.Context, program, only string) (err error) {
	if program, err = filepath.Abs(program); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bot-bottle-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := lab.New(ctx, dir, program, standin.Options{Answer: "ok"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close(context.WithoutCancel(ctx))) }()
	figures := []figure{}
	for _, a := range areas() {
		if only != "" && only != a.name {
			continue
		}
		got, err := a.measure(ctx, l)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		for _, f := range got {
			fmt.Println(f)
		}
		figures = append(figures, got...)
	}
	if len(figures) == 0 {
		return fmt.Errorf("there is no area %q", only)
	}
	data, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile("bench.json", append(data, '\n'), 0o644)
}
