package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	htmlreport "github.com/bot-bottle/bot-bottle/internal/report"
)

func (a *App) reportVerb() *cobra.Command {
	var out, prices string
	c := &cobra.Command{
		Use:   "report IDENTITY",
		Short: "Make a page of what a bottle did, to show around",
		Long: `Report makes one HTML page of a bottle's audit log: what it reached, what was blocked, bytes,
tokens and cost over time, pushes, requests and decisions, and whether the log is whole. The page
needs no network and holds no script. It works while the bottle runs and after it ended.

Cost is an estimate at list prices that come with the program; --prices names a file with your
own, in the same form: {"as_of", "source", "currency", "per_million": {MODEL: {"in", "cached", "out"}}}.`,
		Example: `  bot-bottle report implementer-k7x2m4               # writes implementer-k7x2m4.html
  bot-bottle report implementer-k7x2m4 -o - | less`,
		Args:              asUsed,
		ValidArgsFunction: a.completeLogged,
		RunE:              func(c *cobra.Command, args []string) error { return a.runReport(c.Context(), args[0], out, prices) },
	}
	c.Flags().StringVarP(&out, "output", "o", "", "write to this file, - for standard output (default: IDENTITY.html)")
	c.Flags().StringVar(&prices, "prices", "", "a file with what models cost (default: prices in config.yaml, else list prices)")
	return c
}

func (a *App) runReport(ctx context.Context, identity, out, prices string) (err error) {
	o := htmlreport.Options{Now: a.Now(), Program: currentVersion().Version}
	if o.Prices, err = a.prices(prices); err != nil {
		return err
	}
	m, err := a.onRecord(identity)
	if err != nil {
		return err
	}
	log, m, err := a.openLog(ctx, m, false)
	if err != nil {
		return fmt.Errorf("cannot read the audit log of %s: %w", identity, err)
	}
	defer func() { _ = log.Close() }()
	o.Running = m.EndedAt == nil && a.runs(ctx, identity)
	page, err := htmlreport.Read(log, m, o)
	if err != nil {
		return err
	}
	if !page.Chain.Whole {
		a.note(&logError{identity, errors.New(page.Chain.Why), "the report says so, too"})
	}
	if out == "-" {
		return page.Write(a.Stdout)
	}
	if out == "" {
		out = identity + ".html"
	}
	if err := writePage(out, page.Write); err != nil {
		return fmt.Errorf("cannot write the report to %s: %w", out, err)
	}
	_, err = fmt.Fprintln(a.Stdout, out)
	return err
}

// runs reports whether a bottle is seen to run.
func (a *App) runs(ctx context.Context, identity string) bool {
	running, err := a.find(ctx, identity)
	return err == nil && running.Detach() == nil
}

// prices are those of a file, else of the one that config.yaml names, else the program's own.
func (a *App) prices(file string) (htmlreport.Prices, error) {
	if file != "" {
		return readPrices(file)
	}
	general, err := manifest.LoadConfig(a.home)
	if err != nil || general.Prices == "" {
		return htmlreport.ListPrices(), err
	}
	file = general.Prices
	if rest, ok := strings.CutPrefix(file, "~/"); ok {
		file = filepath.Join(a.userHome, rest)
	} else if !filepath.IsAbs(file) {
		file = filepath.Join(a.home, file)
	}
	return readPrices(file)
}

func readPrices(path string) (p htmlreport.Prices, err error) {
	f, err := os.Open(path)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return htmlreport.ReadPrices(f)
}

// writePage writes a file whole or not at all, for its owner alone.
func writePage(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*")
	if err != nil {
		return unnamed(err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if err := errors.Join(write(f), f.Close()); err != nil {
		return err
	}
	return unnamed(os.Rename(f.Name(), path))
}

// unnamed is an error without the file that it happened to, where that is one of ours for a moment.
func unnamed(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	if e := (*os.LinkError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
