package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

func (a *App) requests() *cobra.Command {
	var asJSON, follow, all bool
	var diff string
	c := &cobra.Command{
		Use:   "requests",
		Short: "See what agents ask for",
		Long: `Requests shows what the agents of all running bottles ask for and nobody has decided: what
the bottle could do then that it cannot do now, the credential that would travel, and what is
risky about it. What the agent says is shown apart: it proves nothing. A push that waits is
shown with its commits; --diff prints what it changes.`,
		Example: `  bot-bottle requests
  bot-bottle requests -f                          # and every new one as it comes, with the terminal's bell
  bot-bottle requests --diff k7x2m4-3 | less -S   # what a push would change
  bot-bottle requests --all --json | jq -r '.[] | [.id, .state] | @tsv'`,
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			if diff != "" {
				return a.showDiff(c.Context(), diff)
			}
			if follow {
				err := a.followRequests(c.Context(), asJSON)
				return cmp.Or(err, bySignal(c.Context()))
			}
			return a.listRequests(c.Context(), asJSON, all)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON array; with -f, a JSON object a line")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with every change, until interrupted")
	c.Flags().BoolVar(&all, "all", false, "also what was decided")
	c.Flags().StringVar(&diff, "diff", "", "print what the push that waits as `ID` changes")
	c.MarkFlagsMutuallyExclusive("diff", "follow")
	return c
}

func (a *App) listRequests(ctx context.Context, asJSON, all bool) error {
	found, err := a.allRequests(ctx)
	if err != nil {
		return err
	}
	if !all {
		found = slices.DeleteFunc(found, func(s requests.Shown) bool { return s.State != requests.Pending })
	}
	if asJSON {
		return printJSON(a.Stdout, found, true)
	}
	if len(found) == 0 {
		_, err := fmt.Fprintln(a.Stderr, "nothing waits to be decided")
		return err
	}
	for i, s := range found {
		if i > 0 {
			_, _ = fmt.Fprintln(a.Stdout)
		}
		if _, err := fmt.Fprint(a.Stdout, a.block(s, a.width())); err != nil {
			return err
		}
	}
	return nil
}

// allRequests asks every running bottle that may have requests, side by side. What
// could not be asked is a note, not a failure.
func (a *App) allRequests(ctx context.Context) ([]requests.Shown, error) {
	running, err := a.supervised(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var each sync.WaitGroup
	found := []requests.Shown{}
	for _, identity := range running {
		each.Go(func() {
			now, err := a.requestsOf(ctx, identity, -1)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				a.note(fmt.Errorf("cannot ask %s: %w", identity, err))
			}
			found = append(found, now.Requests...)
		})
	}
	each.Wait()
	slices.SortFunc(found, func(x, y requests.Shown) int { return cmp.Or(x.Asked.Compare(y.Asked), cmp.Compare(x.ID, y.ID)) })
	return found, ctx.Err()
}

// supervised are the running bottles whose agents may ask, or whose pushes may wait.
func (a *App) supervised(ctx context.Context) ([]string, error) {
	running, err := a.active(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, b := range running {
		if slices.Contains(b.Services, control.Supervise) || slices.Contains(b.Services, control.GitGate) {
			names = append(names, b.Slug)
		}
	}
	return names, nil
}

func (a *App) requestsOf(ctx context.Context, identity string, after int) (now control.Requests, err error) {
	running, err := a.find(ctx, identity)
	if err != nil {
		return now, err
	}
	defer func() { err = errors.Join(err, running.Detach()) }()
	return control.Client{Dial: running.Control}.Requests(ctx, after)
}

// lookForBottles is how often a follower looks for bottles that have started since.
const lookForBottles = 2 * time.Second

// followRequests prints what changes, until ctx ends.
func (a *App) followRequests(ctx context.Context, asJSON bool) error {
	var screen interface{ Announce(string) }
	if isTerminal(a.Stdout) {
		screen = plainScreen{a.Stdout}
	}
	told, err := a.announcer(screen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var each sync.WaitGroup
	defer each.Wait()
	defer cancel()
	news := make(chan requests.Shown)
	var mu sync.Mutex
	followed := map[string]bool{}
	for {
		running, err := a.supervised(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, identity := range running {
			mu.Lock()
			known := followed[identity]
			followed[identity] = true
			mu.Unlock()
			if known {
				continue
			}
			each.Go(func() {
				a.followOne(ctx, identity, func(all, fresh []requests.Shown) bool {
					tell := told.hear(ctx, identity, all, fresh)
					each.Go(func() { told.complain(tell()) })
					return pass(ctx, fresh, news)
				})
				mu.Lock()
				delete(followed, identity)
				mu.Unlock()
			})
		}
		look := time.NewTimer(lookForBottles)
		for waiting := true; waiting; {
			select {
			case s := <-news:
				if err := unlessEnded(ctx, func() error { return a.printNews(s, asJSON) }); err != nil || ctx.Err() != nil {
					return err
				}
			case <-look.C:
				waiting = false
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// unlessEnded does something that may hang, as writing to a pipe that nobody reads does. When
// ctx ends first, it is left behind: the process is about to end.
func unlessEnded(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return nil
	}
}

// pass hands requests on; false if nobody takes them any more.
func pass(ctx context.Context, fresh []requests.Shown, news chan<- requests.Shown) bool {
	for _, s := range fresh {
		select {
		case news <- s:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// followOne tells what changes in a bottle, with all that there is, until it ends or
// nobody listens.
func (a *App) followOne(ctx context.Context, identity string, tell func(all, fresh []requests.Shown) bool) {
	seen := map[string]string{}
	for after := -1; ; {
		now, err := a.requestsOf(ctx, identity, after)
		if err != nil || ctx.Err() != nil {
			return
		}
		first := after < 0
		after = now.Revision
		var fresh []requests.Shown
		for _, s := range now.Requests {
			key := string(s.State) + s.Digest
			if s.State != requests.Pending {
				key = string(s.State) // the policy has gone on
			}
			old := seen[s.ID]
			seen[s.ID] = key
			if old == key || first && s.State != requests.Pending {
				continue
			}
			fresh = append(fresh, s)
		}
		if !tell(now.Requests, fresh) {
			return
		}
	}
}

func (a *App) printNews(s requests.Shown, asJSON bool) error {
	if asJSON {
		return printJSON(a.Stdout, s, false)
	}
	_, err := fmt.Fprint(a.Stdout, a.block(s, a.width())+"\n")
	return err
}

// block shows a request, and what can be done about it.
func (a *App) block(s requests.Shown, width int) string {
	var b strings.Builder
	b.WriteString(a.shown(s, width))
	a.next(s, &b)
	return b.String()
}

// shown shows a request. What the agent says comes last, marked as its words: nothing
// above is its choice of words. No line holds anything that a terminal would act on, and none
// of somebody else's words is wider than width, if that is not 0.
func (a *App) shown(s requests.Shown, width int) string {
	var b strings.Builder
	state := ""
	if s.State != requests.Pending {
		state = "  " + cell(string(s.State))
	}
	fmt.Fprintf(&b, "%s  %s of %s  %s%s\n", cell(s.ID), cell(string(s.Kind)), cell(s.Bottle), a.ago(s.Asked.Format(time.RFC3339)), state)
	for _, l := range s.Lines() {
		fmt.Fprintf(&b, "  %-8s %s\n", l.Key, folded(cell(l.Text), width, len("  wants    ")))
	}
	return b.String()
}

// next says what can be done about a request: all of it ours, to be copied.
func (a *App) next(s requests.Shown, w io.Writer) {
	line := func(key, format string) {
		_, _ = fmt.Fprintf(w, "  %-8s %s\n", key, strings.ReplaceAll(format, "ID", cell(s.ID)))
	}
	switch {
	case s.State == requests.Pending && s.Kind == requests.Question:
		line("decide", "bot-bottle answer ID TEXT")
	case s.State == requests.Pending && s.Kind == requests.Pushing:
		line("diff", "bot-bottle requests --diff ID")
		fallthrough
	case s.State == requests.Pending:
		line("decide", "bot-bottle approve ID")
		line("", "bot-bottle reject ID --reason TEXT")
	case s.Live():
		line("", "to take it back: bot-bottle revoke ID")
	}
}

// showDiff prints what a push changes, with nothing in it that a terminal would act on.
func (a *App) showDiff(ctx context.Context, id string) error {
	return a.onDesk(ctx, id, func(desk control.Client, _ requests.Shown) error {
		text, err := desk.Diff(ctx, id)
		if err != nil {
			return fmt.Errorf("cannot show the diff of %s: %w", id, err)
		}
		_, err = fmt.Fprint(a.Stdout, diffText(text, a.width()))
		return err
	})
}

// diffText is a diff, on a terminal so wide. What has no room goes on below, behind a bar, where
// no line of a diff begins: else it would be taken for one (ATTACKS H2). A width of 0 is no terminal.
func diffText(text string, width int) string {
	lines := strings.Split(printableLines(text), "\n")
	for i, line := range lines {
		if width > 0 {
			lines[i] = strings.Join(plain.Fold(expanded(line), max(narrow, width-len("| "))), "\n| ")
		}
	}
	return strings.Join(lines, "\n")
}

// expanded is a line with spaces for its tabs, as a terminal shows them.
func expanded(line string) string {
	const every = 8
	var b strings.Builder
	at := 0
	for i, part := range strings.Split(line, "\t") {
		if i > 0 {
			room := every - at%every
			b.WriteString(strings.Repeat(" ", room))
			at += room
		}
		b.WriteString(part)
		at += plain.Width(part)
	}
	return b.String()
}
