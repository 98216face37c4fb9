package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// operator is the person at this terminal, or the script.
type operator struct {
	app         *App
	yes, detach bool
	view        bottle.View
	keep        bool
	identity    string
	launched    func(identity string) // may be nil
}

var _ bottle.Operator = (*operator)(nil)

// Confirm shows the preflight and asks.
func (o *operator) Confirm(ctx context.Context, summary func(io.Writer) error) (bool, error) {
	if err := preflight(o.app.Stderr, summary); err != nil {
		return false, err
	}
	if o.yes {
		return true, nil
	}
	return o.app.ask(ctx, "Start it?")
}

// upToValue is what stands before a line's value: a key and its gap, or the room of one.
var upToValue = regexp.MustCompile(`^ +(?:\S.*?  +|[-+] )?`)

// preflight prints what a bottle would get. On a terminal what has no room stays among the values.
func preflight(w io.Writer, summary func(io.Writer) error) error {
	var plan, b strings.Builder
	if err := summary(&plan); err != nil {
		return err
	}
	width := widthOf(w)
	for line := range strings.Lines(plan.String()) {
		line = strings.TrimSuffix(line, "\n")
		before := upToValue.FindString(line)
		b.WriteString(before + folded(line[len(before):], width, plain.Width(before)) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// say tells the person at the terminal what is done.
func (a *App) say(what string) {
	_, _ = fmt.Fprintln(a.Stderr, folded("bot-bottle: "+what, a.errWidth(), len("  ")))
}

// ask puts a question that only y or yes answers with yes.
func (a *App) ask(ctx context.Context, question string) (bool, error) {
	if !isTerminal(a.Stdin) {
		return false, &usageError{what: "cannot ask: standard input is not a terminal", hint: "say -y to go ahead without being asked"}
	}
	_, _ = fmt.Fprintf(a.Stderr, "%s [y/N] ", question)
	line, err := readLine(ctx, a.Stdin)
	if err != nil {
		_, _ = fmt.Fprintln(a.Stderr)
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}

// readLine reads one line and not a byte more: the rest is the agent's. When ctx
// ends first, the read stays behind until the process does.
func readLine(ctx context.Context, r io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := readBytes(r)
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func readBytes(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < 1024 {
		n, err := r.Read(b[:])
		if n == 1 && b[0] == '\n' || errors.Is(err, io.EOF) {
			return string(line), nil
		}
		if err != nil {
			return "", err
		}
		line = append(line, b[:n]...)
	}
	return string(line), nil
}

// Progress tells what takes time.
func (o *operator) Progress(what string) {
	o.app.say(what)
}

// Launched tells a script the identity, and a person what the bottle is called.
func (o *operator) Launched(identity string) {
	o.identity = identity
	if o.launched != nil {
		o.launched(identity)
	}
	if o.detach {
		_, _ = fmt.Fprintln(o.app.Stdout, identity)
		return
	}
	_, _ = fmt.Fprintf(o.app.Stderr, "bot-bottle: %s is up\n", identity)
}

// Connect gives the agent this terminal, or these pipes.
func (o *operator) Connect() (bottle.IO, func(error), error) {
	return o.app.agentStreams(o.view)
}
