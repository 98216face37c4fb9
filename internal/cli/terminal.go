package cli

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/term"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && file != nil && term.IsTerminal(int(file.Fd()))
}

// onTerminal reports whether a person sits at both ends.
func (a *App) onTerminal() bool { return isTerminal(a.Stdin) && isTerminal(a.Stdout) }

// streams connects a process in a bottle with ours. With a terminal it is in raw mode
// until release, which is told how the process ended and always puts it back.
func (a *App) streams(tty bool) (bottle.IO, func(error), error) {
	streams := bottle.IO{Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr, TTY: tty}
	if !tty {
		return streams, func(error) {}, nil
	}
	if a.screen != nil {
		streams.Stdout = a.screen
	}
	fd := int(a.Stdin.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return streams, nil, fmt.Errorf("cannot prepare the terminal: %w", err)
	}
	sizes, stop := watchSize(fd)
	streams.Size = sizes
	return streams, func(ended error) {
		stop()
		if ended != nil {
			_, _ = fmt.Fprint(a.Stdout, leaveTUI)
		}
		_ = term.Restore(fd, before)
	}, nil
}

// leaveTUI undoes what a full-screen program that did not end by itself may have left
// on: alternate screen, hidden cursor, bracketed paste, mouse and focus reports, keyboard
// protocol, colours (xterm's control sequences; kitty's keyboard protocol).
const leaveTUI = "\x1b[?1049l\x1b[?25h\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[>4m\x1b[<u\x1b[0m\r\n"

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
