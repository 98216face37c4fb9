package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// logsOptions is what logs was asked for.
type logsOptions struct {
	service, since         string
	json, verify, followed bool
	transcript             bool
	speed                  float64
}

func (a *App) logs() *cobra.Command {
	var o logsOptions
	c := &cobra.Command{
		Use:   "logs IDENTITY",
		Short: "Show what a bottle did, and prove that its log is whole",
		Long: `Logs shows a bottle's audit log: every request, refused look-up and event of its services,
in the order in which they were recorded. It works while the bottle runs and after it ended,
until the bottle is removed for good.

Each line of the log holds the hash of the line before. With --verify the whole log is
checked: exit status 0 if it is whole, 1 with the first line that is wrong if it is not.

With --transcript it plays what the agent's terminal showed in its last run; where standard
output is no terminal it prints that as text, or with --json the asciicast (version 2).`,
		Example: `  bot-bottle logs implementer-k7x2m4
  bot-bottle logs implementer-k7x2m4 --since 10m --follow
  bot-bottle logs implementer-k7x2m4 --service egress --json | jq 'select(.decision == "deny")'
  bot-bottle logs implementer-k7x2m4 --verify
  bot-bottle logs implementer-k7x2m4 --transcript --speed 8`,
		Args:              asUsed,
		ValidArgsFunction: a.completeLogged,
		RunE:              func(c *cobra.Command, args []string) error { return a.runLogs(c.Context(), args[0], o) },
	}
	c.Flags().StringVar(&o.service, "service", "", "only what this service recorded: "+strings.Join(loggers(), ", "))
	c.Flags().StringVar(&o.since, "since", "", "only what is younger than a duration (90s, 10m, 2h, 3d), or than a time (2026-01-02T15:04:05Z)")
	c.Flags().BoolVar(&o.json, "json", false, "print the log's own lines, one JSON object each")
	c.Flags().BoolVar(&o.verify, "verify", false, "check that the log is whole, and print its head")
	c.Flags().BoolVarP(&o.followed, "follow", "f", false, "go on as the bottle does, until it ends")
	c.Flags().BoolVar(&o.transcript, "transcript", false, "play what the agent's terminal showed")
	c.Flags().Float64Var(&o.speed, "speed", 1, "with --transcript: so many times faster; 0 for at once")
	_ = c.RegisterFlagCompletionFunc("service", cobra.FixedCompletions(loggers(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

// Two of loggers are no services: lifecycle is what began and ended, of all services; agent
// is how the agent ended, which writes no log.
const (
	ofLifecycle = "lifecycle"
	ofAgent     = audit.Agent
)

// loggers are who writes events.
func loggers() []string {
	return []string{ofAgent, audit.Bundle, string(control.Egress), string(control.GitGate), ofLifecycle, string(control.Pipelock), string(control.Supervise)}
}

// by reports whether an event is of a logger; "" is all of them.
func by(logger string, e audit.Event) bool {
	if logger == ofLifecycle {
		return slices.Contains([]string{audit.Begin, audit.End, audit.AgentEnd, audit.Lifecycle}, e.Kind)
	}
	return logger == "" || logger == e.Service
}

func (a *App) runLogs(ctx context.Context, identity string, o logsOptions) (err error) {
	if o.service != "" && !slices.Contains(loggers(), o.service) {
		return &usageError{what: fmt.Sprintf("unknown service %q", o.service), hint: "known services: " + strings.Join(loggers(), ", ")}
	}
	if o.verify && (o.followed || o.service != "" || o.since != "") {
		return &usageError{what: "--verify is about the whole log as it is", hint: "leave out --follow, --service and --since"}
	}
	if o.transcript && (o.verify || o.followed || o.service != "" || o.since != "") {
		return &usageError{what: "--transcript shows a terminal, not the log", hint: "leave out --verify, --follow, --service and --since"}
	}
	since, err := a.sinceWhen(o.since)
	if err != nil {
		return err
	}
	m, err := a.onRecord(identity)
	if err != nil {
		return err
	}
	if o.transcript {
		return a.playTranscript(ctx, m, o)
	}
	log, m, err := a.openLog(ctx, m, o.followed)
	if err != nil {
		return fmt.Errorf("cannot read the audit log of %s: %w", identity, err)
	}
	defer func() { _ = log.Close() }()
	if o.verify {
		return a.verifyLog(log, m, o.json)
	}
	err = a.showLog(log, m, o, since)
	if o.followed && ctx.Err() != nil {
		return bySignal(ctx)
	}
	return err
}

// onRecord is what is recorded of a bottle. A damaged record is no reason not to show the
// log.
func (a *App) onRecord(identity string) (state.Metadata, error) {
	if !bottle.ValidIdentity(identity) {
		return state.Metadata{}, a.noBottle(identity)
	}
	m, err := a.store().Read(identity)
	if errors.Is(err, fs.ErrNotExist) {
		return m, a.noBottle(identity)
	}
	if err != nil {
		a.note(err)
		return state.Metadata{Identity: identity}, nil
	}
	return m, nil
}

// noBottle is the error for an identity that is not on record.
func (a *App) noBottle(identity string) error {
	known, _ := a.store().Identities()
	return &usageError{what: fmt.Sprintf("there is no bottle %s%s", identity, manifest.DidYouMean(identity, known)), hint: "bot-bottle list all shows them"}
}

// openLog opens a bottle's whole log, and returns what is on record of it then. Of a bottle
// that has not ended, the backend has what came while nobody was there to read it.
func (a *App) openLog(ctx context.Context, m state.Metadata, follow bool) (io.ReadCloser, state.Metadata, error) {
	var run io.ReadCloser
	if m.EndedAt == nil {
		var err error
		run, err = a.runningLog(ctx, m, follow)
		switch {
		case errors.Is(err, bottle.ErrNotRunning):
			if fresh, err := a.store().Read(m.Identity); err == nil { // it may just have ended
				m = fresh
			}
			if m.EndedAt == nil && a.elsewhere(ctx, m) {
				a.note(&usageError{what: "shown is what this host has recorded of " + m.Identity + ": " + bottle.ErrElsewhere.Error(), hint: elsewhereHint(m.Backend)})
			}
		case ctx.Err() != nil:
			return nil, m, ctx.Err()
		case err != nil:
			_, _ = fmt.Fprintln(a.Stderr, "bot-bottle: shown is what this host has recorded: the bottle may have done more")
			a.note(err)
		}
	}
	kept, err := a.store().AuditLog(m.Identity)
	if err != nil || run == nil {
		return kept, m, err
	}
	spliced, err := audit.Splice(kept, run)
	both := &splicedLog{spliced, func() error { return errors.Join(run.Close(), kept.Close()) }}
	if err != nil {
		return nil, m, errors.Join(err, both.Close())
	}
	if !follow {
		return both, m, nil
	}
	return &followedLog{log: both, keptLater: func() (io.ReadCloser, error) {
		a.untilTakenDown(ctx, m.Identity)
		return a.store().AuditLog(m.Identity)
	}}, m, nil
}

// elsewhere reports whether a bottle is on record as one of another place than that at hand.
func (a *App) elsewhere(ctx context.Context, m state.Metadata) bool {
	b, err := a.backend(m.Backend)
	if err != nil || m.Place == "" {
		return false
	}
	place, err := b.Place(ctx)
	return err != nil || place != m.Place
}

func (a *App) runningLog(ctx context.Context, m state.Metadata, follow bool) (io.ReadCloser, error) {
	backend, err := a.backend(m.Backend)
	if err != nil {
		return nil, err
	}
	if err := backend.Available(ctx); err != nil {
		return nil, err
	}
	return backend.Audit(ctx, m.Identity, follow)
}

// splicedLog is a log out of two.
type splicedLog struct {
	io.Reader
	end func() error
}

func (s *splicedLog) Close() error { return s.end() }

// followedLog is a log that is followed until its run ends, and then read on where it is kept: the
// engine may let go of a bundle before it has given out all that was said, and whoever takes a bottle
// down writes how its agent ended behind that.
type followedLog struct {
	log       io.ReadCloser
	keptLater func() (io.ReadCloser, error)

	read int64 // so many bytes
	kept io.ReadCloser
}

func (f *followedLog) Read(p []byte) (int, error) {
	if f.kept != nil {
		return f.kept.Read(p)
	}
	n, err := f.log.Read(p)
	f.read += int64(n)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	kept, err := f.keptLater()
	if err != nil {
		return n, err
	}
	f.kept = kept
	if _, err := io.CopyN(io.Discard, kept, f.read); !errors.Is(err, io.EOF) { // at its end there is nothing more
		return n, err
	}
	return n, nil
}

func (f *followedLog) Close() error {
	if f.kept == nil {
		return f.log.Close()
	}
	return errors.Join(f.log.Close(), f.kept.Close())
}

// sinceWhen reads a duration or a time; "" is the beginning of time.
func (a *App) sinceWhen(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return a.Now().AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return a.Now().Add(-d), nil
	}
	for _, form := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if at, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, &usageError{what: fmt.Sprintf("--since %q is neither a duration nor a time", text), hint: "for example: --since 10m, --since 3d, --since 2026-01-02T15:04:05Z"}
}

// logError is a log that is not what was written.
type logError struct {
	identity string
	err      error
	hint     string
}

func (e *logError) Error() string {
	return fmt.Sprintf("the audit log of %s is not whole: %v", e.identity, e.err)
}
func (e *logError) Unwrap() error { return e.err }

// Hint says how to learn more.
func (e *logError) Hint() string { return e.hint }

// showLog prints events. What is no event is an error, never skipped; what is out of its
// place is shown, and is an error in the end.
func (a *App) showLog(log io.Reader, m state.Metadata, o logsOptions, since time.Time) (err error) {
	out := bufio.NewWriter(a.Stdout)
	show, end := a.shower(out, o.json)
	defer func() { err = errors.Join(err, end(), out.Flush()) }()
	reader := audit.NewReader(log, m.Identity)
	var wrong error
	last := ""
	for {
		e, line, err := reader.Next()
		if errors.Is(err, io.EOF) {
			if last == "" {
				_, _ = fmt.Fprintln(a.Stderr, "no event is recorded of "+m.Identity)
			}
			if last == audit.AgentEnd {
				return wrong
			}
			return errors.Join(wrong, a.showAgent(show, m, o, since))
		}
		if err != nil && !errors.As(err, new(*audit.BrokenError)) {
			return fmt.Errorf("cannot read the audit log of %s: %w", m.Identity, err)
		}
		if err != nil && wrong == nil {
			wrong = &logError{m.Identity, err, "bot-bottle logs " + m.Identity + " --verify says more"}
		}
		if line == nil {
			return wrong
		}
		last = e.Kind
		if !by(o.service, e) || e.Time.Before(since) {
			continue
		}
		if err := show(e, line); err != nil {
			return err
		}
		if o.followed {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// showAgent shows how the agent ended where that is on record, and the log does not say so: an older
// version has not written it there.
func (a *App) showAgent(show func(audit.Event, []byte) error, m state.Metadata, o logsOptions, since time.Time) error {
	m, err := a.store().Read(m.Identity)
	if err != nil || m.EndedAt == nil || o.json {
		return nil
	}
	e := audit.Event{Time: *m.EndedAt, Service: ofAgent, Kind: audit.AgentEnd, Exit: m.ExitCode}
	if e.Time.Before(since) || !by(o.service, e) {
		return nil
	}
	return show(e, nil)
}

// takenDown bounds the wait for who takes a bottle down.
const takenDown = 15 * time.Second

func (a *App) untilTakenDown(ctx context.Context, identity string) {
	ctx, cancel := context.WithTimeout(ctx, takenDown)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for a.store().Locked(identity) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// shower prints one event after the other, and what is left at the end: as they are, or for
// people.
func (a *App) shower(out io.Writer, asJSON bool) (show func(audit.Event, []byte) error, end func() error) {
	width := a.width()
	if !asJSON {
		t := &timeline{out: out, width: width, local: time.Local}
		return func(e audit.Event, _ []byte) error { return t.show(e) }, t.end
	}
	show = func(_ audit.Event, line []byte) error {
		_, err := io.WriteString(out, asItIs(line, width > 0))
		return err
	}
	return show, func() error { return nil }
}

// asItIs is a line of a log. One that somebody edited must not speak to a terminal.
func asItIs(line []byte, onTerminal bool) string {
	if !onTerminal {
		return string(line)
	}
	return printable(strings.TrimSuffix(string(line), "\n")) + "\n"
}

// width of the terminal that results go to, 0 if they go elsewhere.
func (a *App) width() int { return widthOf(a.Stdout) }

// errWidth is that of the terminal that questions go to.
func (a *App) errWidth() int { return widthOf(a.Stderr) }

func widthOf(w any) int {
	if !isTerminal(w) {
		return 0
	}
	file := w.(interface{ Fd() uintptr })
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 80
	}
	return cmp.Or(width, 80)
}

// verified is what --verify --json prints.
type verified struct {
	Identity string `json:"identity"`
	Whole    bool   `json:"whole"`
	Lines    int64  `json:"lines"`
	Runs     int    `json:"runs"`
	Open     bool   `json:"open"` // the last run has no end
	Head     string `json:"head,omitempty"`
	BadLine  int64  `json:"bad_line,omitempty"`
	Why      string `json:"why,omitempty"`
}

func (a *App) verifyLog(log io.Reader, m state.Metadata, asJSON bool) error {
	report, err := audit.Verify(log, audit.Expect{Bottle: m.Identity, Head: m.Audit, Ended: m.EndedAt != nil})
	var broken *audit.BrokenError
	if err != nil && !errors.As(err, &broken) {
		return fmt.Errorf("cannot read the audit log of %s: %w", m.Identity, err)
	}
	if asJSON {
		return a.printVerified(m.Identity, report, broken)
	}
	if broken != nil {
		return &logError{m.Identity, broken, fmt.Sprintf("sed -n %dp %s shows the line", broken.Line, a.store().AuditFile(m.Identity))}
	}
	_, err = fmt.Fprintf(a.Stdout, "%s: whole: %s\n", m.Identity, described(report, m))
	return err
}

func (a *App) printVerified(identity string, r audit.Report, broken *audit.BrokenError) error {
	v := verified{Identity: identity, Whole: broken == nil, Lines: r.Lines, Runs: r.Runs, Open: r.Open, Head: r.Hash}
	if broken != nil {
		v.BadLine, v.Why = broken.Line, broken.Why
	}
	if err := printJSON(a.Stdout, v, false); err != nil {
		return err
	}
	if broken != nil {
		return status(exitFailure)
	}
	return nil
}

func described(r audit.Report, m state.Metadata) string {
	if r.Lines == 0 {
		return "no event is recorded"
	}
	what := fmt.Sprintf("%s, %s, head %s", plain.Count(r.Lines, "event"), plain.Count(int64(r.Runs), "run"), r.Hash)
	switch {
	case r.Open && m.EndedAt == nil:
		what += "; open: it goes on, or was killed"
	case r.Open:
		what += "; open: its last run was killed"
	}
	return what
}
