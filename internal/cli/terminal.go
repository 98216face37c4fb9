package cli

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/term"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && file != nil && term.IsTerminal(int(file.Fd()))
}

// onTerminal reports whether a person sits at both ends.
func (a *App) onTerminal() bool { return isTerminal(a.Stdin) && isTerminal(a.Stdout) }

// streams connects a process in a bottle with ours. With a terminal it is in raw mode until
// release, which is told how the process ended and always puts it back. What is printed is
// filtered where it goes to a terminal of the operator's, with raw mode or without.
func (a *App) streams(tty bool, view bottle.View) (bottle.IO, func(error), error) {
	streams := bottle.IO{Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr, TTY: tty, View: view}
	filter := terminal.NewFilter(view.Allow...)
	if isTerminal(a.Stdout) {
		streams.Stdout = filter.Writer(a.Stdout)
	}
	if isTerminal(a.Stderr) {
		streams.Stderr = terminal.NewFilter(view.Allow...).Writer(a.Stderr)
	}
	if !tty {
		return streams, func(error) {}, nil
	}
	raw, err := a.raw(&streams)
	return streams, func(error) {
		_, _ = a.Stdout.Write(filter.Leave())
		raw()
	}, err
}

// agentStreams connects an agent with ours. Its terminal is filtered by who shows it, who
// knows when one stream of it takes over from another.
func (a *App) agentStreams(view bottle.View) (bottle.IO, func(error), error) {
	if !a.onTerminal() {
		return a.streams(false, view)
	}
	streams := bottle.IO{Stdin: a.Stdin, Stdout: a.Stdout, Stderr: terminal.NewFilter().Writer(a.Stderr), TTY: true, View: view}
	if a.screen != nil {
		streams.Stdout = a.screen
	}
	raw, err := a.raw(&streams)
	return streams, func(error) { raw() }, err
}

// raw puts our terminal into raw mode, and follows its size, until it is told to undo both.
func (a *App) raw(streams *bottle.IO) (func(), error) {
	fd := int(a.Stdin.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return func() {}, fmt.Errorf("cannot prepare the terminal: %w", err)
	}
	sizes, stop := watchSize(fd)
	streams.Size = sizes
	return func() {
		stop()
		_ = term.Restore(fd, before)
	}, nil
}

// size of our terminal, zero if it has none.
func (a *App) size() bottle.Size {
	width, height, err := term.GetSize(int(a.Stdin.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return bottle.Size{}
	}
	return bottle.Size{Width: uint(width), Height: uint(height)}
}

// watchSize delivers the terminal's size at once and at every change, until stop.
func watchSize(fd int) (<-chan bottle.Size, func()) {
	sizes := make(chan bottle.Size, 1)
	changed := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(changed, resizeSignals()...)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if width, height, err := term.GetSize(fd); err == nil && width > 0 {
				select {
				case sizes <- bottle.Size{Width: uint(width), Height: uint(height)}:
				case <-done:
					return
				}
			}
			select {
			case <-changed:
			case <-done:
				return
			}
		}
	}()
	return sizes, func() {
		signal.Stop(changed)
		close(done)
		<-ended
	}
}
