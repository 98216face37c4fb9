package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

type approval struct {
	once, session, always, edit, yes, json bool
	uses                                   int64
	length                                 time.Duration
	digest, secretFrom                     string

	keyFrom, user string // of a new repository
	noCredential  bool

	later bool // of a change of the image
}

func (a *App) approve() *cobra.Command {
	var flags approval
	c := &cobra.Command{
		Use:   "approve ID",
		Short: "Grant what an agent asks for",
		Long: `Approve shows a request once more and, after a yes, grants exactly what was shown: if the
request or the bottle's policy has changed meanwhile, it is shown again. The grant ends by
itself: after so many uses, at its time, or with the bottle. Without a flag it lasts as long
as the agent asked for. With --always it is written into the bottle's manifest as well, for
the bottles to come; the change is shown first.`,
		Example: `  bot-bottle approve k7x2m4-1
  bot-bottle approve k7x2m4-1 --once
  bot-bottle approve k7x2m4-1 --for 30m -y
  bot-bottle approve k7x2m4-1 --secret-from env:DEPLOY_TOKEN   # where a credential is asked for; else it is read unseen
  bot-bottle approve k7x2m4-4 --key-from ~/.ssh/tools_ed25519  # a new repository, with a key of its own
  bot-bottle approve k7x2m4-1 --edit           # change what is granted, in $EDITOR, and look at it again`,
		Args:              asUsed,
		ValidArgsFunction: a.completeRequests,
		RunE:              func(c *cobra.Command, args []string) error { return a.runApprove(c.Context(), args[0], flags) },
	}
	c.Flags().BoolVar(&flags.once, "once", false, "for one request")
	c.Flags().Int64Var(&flags.uses, "uses", 0, "for `N` requests")
	c.Flags().DurationVar(&flags.length, "for", 0, "for this long, as in 30m")
	c.Flags().BoolVar(&flags.session, "session", false, "for as long as the bottle runs")
	c.Flags().BoolVar(&flags.always, "always", false, "for as long as the bottle runs, and in its manifest")
	c.Flags().BoolVar(&flags.edit, "edit", false, "change it first, in $VISUAL or $EDITOR")
	c.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	c.Flags().StringVar(&flags.digest, "digest", "", "only if this is the `digest` of what there is (requests --json)")
	c.Flags().StringVar(&flags.secretFrom, "secret-from", "", "where the credential that is asked for comes from: env:`NAME`, file:PATH, or - for standard input")
	c.Flags().StringVar(&flags.keyFrom, "key-from", "", "the `file` with the private key for a new ssh repository, whose host is in your known_hosts")
	c.Flags().StringVar(&flags.user, "user", "", "the `user` that goes with --secret-from, for a new https repository")
	c.Flags().BoolVar(&flags.noCredential, "no-credential", false, "reach a new https repository without one")
	c.Flags().BoolVar(&flags.later, "later", false, "build a change of the image, and leave the bottle running without it until it is resumed")
	c.MarkFlagsMutuallyExclusive("key-from", "secret-from", "no-credential")
	c.Flags().BoolVar(&flags.json, "json", false, "print what was granted as a JSON object")
	c.MarkFlagsMutuallyExclusive("once", "uses", "session", "always")
	c.MarkFlagsMutuallyExclusive("session", "for")
	c.MarkFlagsMutuallyExclusive("always", "for")
	return c
}

func (a *App) runApprove(ctx context.Context, id string, flags approval) error {
	d := requests.Decision{Approve: true, Scope: requests.Scope{Uses: flags.uses, For: policy.Span(flags.length)}, By: a.whoami()}
	if flags.once {
		d.Scope.Uses = 1
	}
	if flags.uses < 0 || flags.length < 0 {
		return &usageError{what: "a grant cannot end before it begins", hint: "see bot-bottle approve --help"}
	}
	return a.onDesk(ctx, id, func(desk control.Client, s requests.Shown) error {
		if s.State != requests.Pending {
			return fmt.Errorf("cannot approve %s: it is %s already", id, s.State)
		}
		if s.Kind == requests.Question {
			return &usageError{what: id + " is a question", hint: "bot-bottle answer " + id + " TEXT"}
		}
		if s.Kind == requests.Pushing {
			return a.letPush(ctx, desk, s, d, flags)
		}
		if flags.edit {
			edited, err := a.edit(ctx, desk, s)
			if err != nil {
				return err
			}
			s = edited
		}
		if s.Kind == requests.Capability {
			return a.change(ctx, desk, s, d, flags)
		}
		if d.Scope == (requests.Scope{}) && !flags.session && !flags.always {
			d.Scope.For = s.For
		}
		return a.grant(ctx, desk, s, d, flags)
	})
}

// grant shows a request, asks, and decides about just that. What changed meanwhile is
// shown again; a script is told instead.
func (a *App) grant(ctx context.Context, desk control.Client, s requests.Shown, d requests.Decision, flags approval) error {
	for {
		if flags.digest != "" && flags.digest != s.Digest {
			return fmt.Errorf("cannot approve %s: %w", s.ID, requests.ErrChanged)
		}
		_, _ = fmt.Fprint(a.Stderr, a.shown(s, a.errWidth())+reachText(s, flags))
		keep, length := func() error { return nil }, d.Scope.String()
		if flags.always {
			change, err := a.forGood(s)
			if err != nil {
				return fmt.Errorf("cannot approve %s for good: %w", s.ID, err)
			}
			_, _ = fmt.Fprint(a.Stderr, printableLines(change.diff(a.errWidth())))
			keep, length = change.write, "for good"
		}
		if !flags.yes {
			if ok, err := a.ask(ctx, fmt.Sprintf("Grant it, %s?", length)); err != nil || !ok {
				return errors.Join(err, notGranted(err))
			}
		}
		if d.Credential == nil {
			reach, err := a.reach(ctx, s, flags)
			if err != nil {
				return fmt.Errorf("cannot approve %s: %w", s.ID, err)
			}
			d.Credential = reach
		}
		if d.Secret == "" && s.Kind != requests.Repo {
			value, err := a.supply(ctx, s, flags.secretFrom)
			if err != nil {
				return fmt.Errorf("cannot approve %s: %w", s.ID, err)
			}
			d.Secret = value
		}
		d.Digest = s.Digest
		done, err := desk.Decide(ctx, s.ID, d)
		if errors.Is(err, requests.ErrChanged) && !flags.yes && flags.digest == "" {
			_, _ = fmt.Fprintln(a.Stderr, "bot-bottle: it has changed meanwhile; this is what there is now")
			if s, err = requestOf(ctx, desk, s.ID); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot approve %s: %w", s.ID, err)
		}
		if err := keep(); err != nil {
			return fmt.Errorf("%s is granted %s, but not for good: %w", done.ID, done.Grant.Scope, err)
		}
		return a.done(done, flags.json, fmt.Sprintf("granted %s, %s", done.ID, length))
	}
}

// letPush approves a push that waits, and says what the upstream made of it.
func (a *App) letPush(ctx context.Context, desk control.Client, s requests.Shown, d requests.Decision, flags approval) error {
	if d.Scope != (requests.Scope{}) && d.Scope != (requests.Scope{Uses: 1}) || flags.always || flags.session || flags.edit {
		return &usageError{what: s.ID + " is one push, which is approved once, as it is", hint: "bot-bottle approve " + s.ID}
	}
	if flags.digest != "" && flags.digest != s.Digest {
		return fmt.Errorf("cannot approve %s: %w", s.ID, requests.ErrChanged)
	}
	_, _ = fmt.Fprint(a.Stderr, a.shown(s, a.errWidth()))
	if !flags.yes {
		_, _ = fmt.Fprintf(a.Stderr, "  %-8s bot-bottle requests --diff %s\n", "diff", cell(s.ID))
		if ok, err := a.ask(ctx, "Push it?"); err != nil || !ok {
			return errors.Join(err, notGranted(err))
		}
	}
	d.Scope, d.Digest = requests.Scope{}, s.Digest
	done, err := desk.Decide(ctx, s.ID, d)
	if err == nil && done.OnItsWay() {
		done, err = afterwards(ctx, desk, s.ID)
	}
	switch {
	case err != nil:
		return fmt.Errorf("cannot approve %s: %w", s.ID, err)
	case done.State == requests.Pending:
		return &waitsAgain{s.ID, printable(done.Again)}
	case done.State != requests.Approved:
		return fmt.Errorf("%s was approved, but not pushed: it was %s since", s.ID, done.State)
	}
	if done.Decided.Result != control.Forwarded {
		return fmt.Errorf("%s was approved, but not pushed: %s", s.ID, printable(done.Decided.Result))
	}
	return a.done(done, flags.json, s.ID+" is pushed: "+done.Decided.Result)
}

// waitsAgain is of an approved push that waits for another decision.
type waitsAgain struct{ id, why string }

func (e *waitsAgain) Error() string {
	return e.id + " was approved, and waits again: " + e.why
}

// Hint says how to go on.
func (e *waitsAgain) Hint() string { return "bot-bottle approve " + e.id + " tries it another time" }

// afterwards waits until it is known what became of an approved push.
func afterwards(ctx context.Context, desk control.Client, id string) (requests.Shown, error) {
	now, err := desk.Requests(ctx, -1)
	for err == nil {
		i := slices.IndexFunc(now.Requests, func(s requests.Shown) bool { return s.ID == id })
		if i < 0 {
			return requests.Shown{}, &noRequest{fmt.Errorf("cannot find request %s: %w", id, requests.ErrUnknown)}
		}
		if !now.Requests[i].OnItsWay() {
			return now.Requests[i], nil
		}
		now, err = desk.Requests(ctx, now.Revision)
	}
	return requests.Shown{}, err
}

// notGranted is a no: not an error, and not a success for a script.
func notGranted(err error) error {
	if err != nil {
		return nil
	}
	return status(exitFailure)
}

func (a *App) done(s requests.Shown, asJSON bool, text string) error {
	if asJSON {
		return printJSON(a.Stdout, s, true)
	}
	_, err := fmt.Fprintln(a.Stderr, "bot-bottle: "+printable(text))
	return err
}

func (a *App) reject() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:               "reject ID",
		Short:             "Refuse what an agent asks for",
		Long:              "Reject refuses a request. The agent is told the reason. If it asks for the same\nagain within half an hour, it is told that once more and you are not asked.",
		Example:           `  bot-bottle reject k7x2m4-1 --reason "use the mirror at git.example"`,
		Args:              asUsed,
		ValidArgsFunction: a.completeRequests,
		RunE: func(c *cobra.Command, args []string) error {
			return a.onDesk(c.Context(), args[0], func(desk control.Client, s requests.Shown) error {
				done, err := desk.Decide(c.Context(), s.ID, requests.Decision{Digest: s.Digest, Reason: reason, By: a.whoami()})
				if err != nil {
					return fmt.Errorf("cannot reject %s: %w", s.ID, err)
				}
				if err := a.keepDecision(done); err != nil {
					return err
				}
				return a.done(done, false, "rejected "+done.ID)
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "what the agent is told")
	return c
}

func (a *App) answer() *cobra.Command {
	return &cobra.Command{
		Use:               "answer ID TEXT…",
		Short:             "Answer an agent's question",
		Long:              "Answer gives the agent an answer to its question. A number stands for one of the choices that it offered.",
		Example:           `  bot-bottle answer k7x2m4-2 "Keep the old API, and deprecate it."`,
		Args:              asUsed,
		ValidArgsFunction: a.completeRequests,
		RunE: func(c *cobra.Command, args []string) error {
			return a.onDesk(c.Context(), args[0], func(desk control.Client, s requests.Shown) error {
				if s.Kind != requests.Question {
					return &usageError{what: s.ID + " is no question", hint: "bot-bottle approve " + s.ID + ", or reject it"}
				}
				text := strings.Join(args[1:], " ")
				if strings.TrimSpace(text) == "" { // which would be a no
					return &usageError{what: "an empty answer is none", hint: "bot-bottle answer " + s.ID + " TEXT, or bot-bottle reject " + s.ID}
				}
				if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= len(s.Choices) {
					text = s.Choices[n-1]
				}
				done, err := desk.Decide(c.Context(), s.ID, requests.Decision{Digest: s.Digest, Answer: text, By: a.whoami()})
				if err != nil {
					return fmt.Errorf("cannot answer %s: %w", s.ID, err)
				}
				return a.done(done, false, "answered "+done.ID)
			})
		},
	}
}

func (a *App) revoke() *cobra.Command {
	return &cobra.Command{
		Use:               "revoke ID",
		Short:             "Take back what was granted",
		Long:              "Revoke ends what was granted to a request, at once: what is open because of it is closed.",
		Example:           "  bot-bottle revoke k7x2m4-1",
		Args:              asUsed,
		ValidArgsFunction: a.completeRequests,
		RunE: func(c *cobra.Command, args []string) error {
			return a.onDesk(c.Context(), args[0], func(desk control.Client, s requests.Shown) error {
				done, err := desk.Revoke(c.Context(), s.ID)
				if err != nil {
					return fmt.Errorf("cannot revoke %s: %w", s.ID, err)
				}
				if err := a.keepDecision(done); err != nil {
					return err
				}
				return a.done(done, false, "revoked "+done.ID)
			})
		},
	}
}

// keepDecision has what is over on this machine's disk before the operator is told so.
func (a *App) keepDecision(s requests.Shown) error {
	if err := a.store().KeepDecision(s.Bottle, s.Request); err != nil {
		return fmt.Errorf("%s is decided, but a loss of power could undo that: %w", s.ID, err)
	}
	return nil
}

// onDesk finds a request, and the bottle's desk that it lies on. A request is called
// after its bottle's last part.
func (a *App) onDesk(ctx context.Context, id string, do func(control.Client, requests.Shown) error) (err error) {
	suffix, _, ok := strings.Cut(id, "-")
	running, err := a.supervised(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(running, func(identity string) bool { return strings.HasSuffix(identity, "-"+suffix) })
	if !ok || i < 0 {
		return &noRequest{fmt.Errorf("cannot find request %s: %w in a bottle that runs", id, requests.ErrUnknown)}
	}
	b, err := a.find(ctx, running[i])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Detach()) }()
	desk, end := control.Client{Dial: b.Control}.Session()
	defer end()
	s, err := requestOf(ctx, desk, id)
	if err != nil {
		return err
	}
	return do(desk, s)
}

// requestOf finds one among a bottle's.
func requestOf(ctx context.Context, desk control.Client, id string) (requests.Shown, error) {
	now, err := desk.Requests(ctx, -1)
	if err != nil {
		return requests.Shown{}, fmt.Errorf("cannot read the requests: %w", err)
	}
	if i := slices.IndexFunc(now.Requests, func(s requests.Shown) bool { return s.ID == id }); i >= 0 {
		return now.Requests[i], nil
	}
	return requests.Shown{}, &noRequest{fmt.Errorf("cannot find request %s: %w", id, requests.ErrUnknown)}
}

// noRequest is a name of nothing.
type noRequest struct{ error }

func (e *noRequest) Unwrap() error { return e.error }

// Hint says how to see which there are.
func (e *noRequest) Hint() string { return "bot-bottle requests --all shows them" }

// whoami is what the log says of who decided, also where cron or sudo left no name.
func (a *App) whoami() string {
	return cmp.Or(a.Getenv("USER"), a.Getenv("LOGNAME"), fmt.Sprintf("uid %d", os.Getuid()))
}

func (a *App) completeRequests(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, err := a.allRequests(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, s := range found {
		granted := s.Grant != nil && s.Grant.Ended.IsZero()
		if c.Name() == "revoke" && granted || c.Name() != "revoke" && s.State == requests.Pending {
			ids = append(ids, s.ID)
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
