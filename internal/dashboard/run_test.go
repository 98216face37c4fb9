package dashboard

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// shownOn runs the dashboard on a terminal of its own until it has drawn the bottles and end
// has ended it, and returns all that it printed.
func shownOn(t *testing.T, env []string, end func(tty *os.File, cancel func())) string {
	t.Helper()
	tty, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tty.Close() }()
	if err := pty.Setsize(tty, &pty.Winsize{Cols: 100, Rows: 30}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f := office(t)
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Bottles: f, Desks: f, Logs: f, Screens: f, Terminal: f, Open: OpenPane, Now: time.Now, Getenv: func(string) string { return "" }, Stdin: slave, Stdout: slave, Env: append([]string{"TERM=xterm-256color"}, env...)})
		_, _ = slave.WriteString(over) // not closed: whoever reads it for Run may still do
	}()
	var all strings.Builder
	drawn := false
	for buffer := make([]byte, 32<<10); ; {
		n, err := tty.Read(buffer)
		all.Write(buffer[:n])
		if !drawn && strings.Contains(all.String(), "implementer-k7x2m4") {
			drawn = true
			end(tty, cancel)
		}
		if err != nil || strings.HasSuffix(all.String(), over) {
			break
		}
	}
	if err := <-ended; err != nil || !drawn || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("it ended with %v after %q", err, all.String())
	}
	return strings.TrimSuffix(all.String(), over)
}

// over is printed when Run has returned.
const over = "\r\nover"

// It draws, and ends when q or ctrl-c is pressed or its context ends; the terminal is left. Without
// colours there are none.
func TestRun(t *testing.T) {
	quit := func(tty *os.File, _ func()) { _, _ = tty.WriteString("q") }
	interrupt := func(tty *os.File, _ func()) { _, _ = tty.WriteString("\x03") }
	asked := func(_ *os.File, cancel func()) { cancel() }
	colours := regexp.MustCompile(`\x1b\[(?:[0-9;]*;)?(?:[349][0-7]|[34]8[;:])[0-9;:]*m`)
	for name, c := range map[string]struct {
		env      []string
		end      func(*os.File, func())
		coloured bool
	}{"quit": {nil, quit, true}, "ctrl-c": {nil, interrupt, true}, "asked to end": {nil, asked, true}, "NO_COLOR": {[]string{"NO_COLOR=1"}, quit, false}} {
		t.Run(name, func(t *testing.T) {
			out := shownOn(t, c.env, c.end)
			if got := colours.MatchString(out); got != c.coloured {
				t.Errorf("there are colours: %t, not %t: %q", got, c.coloured, out)
			}
			if on, off := strings.LastIndex(out, "\x1b[?1049h"), strings.LastIndex(out, "\x1b[?1049l"); on < 0 || off < on {
				t.Errorf("the terminal is not left: %q", out)
			}
		})
	}
}

// The terminal is asked for its background, and its answer chooses the colours; it is told to
// report the mouse, and a click on a pane's name shows it. Then it is to report nothing any more.
func TestRunTalksToTheTerminal(t *testing.T) {
	for name, c := range map[string]struct{ answer, colour string }{
		"light": {"\x1b]11;rgb:ffff/ffff/ffff\x1b\\", "38;2;107;114;128m"},
		"dark":  {"\x1b]11;rgb:0000/0000/0000\x1b\\", "38;2;125;133;144m"},
	} {
		t.Run(name, func(t *testing.T) {
			out := shownOn(t, []string{"COLORTERM=truecolor"}, func(tty *os.File, _ func()) {
				_, _ = tty.WriteString(c.answer + "\x1b[<0;18;1M\x1b[<0;18;1mq") // the name of the second pane
			})
			if !strings.Contains(out, "\x1b]11;?") {
				t.Error("the terminal is not asked for its background")
			}
			click := strings.LastIndex(out, "\x1b[1;7m 2 Requests")
			if click < 0 || !strings.Contains(out[click:], c.colour) {
				t.Errorf("the click does not show the requests in colours for %s: %q", name, out)
			}
			if on, off := strings.LastIndex(out, "\x1b[?1002h"), strings.LastIndex(out, "\x1b[?1002l"); on < 0 || off < on {
				t.Errorf("the mouse is reported: %q", out)
			}
		})
	}
}

// What is typed before there is anything to see counts, too.
func TestRunTakesWhatWasTypedAhead(t *testing.T) {
	tty, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tty.Close() }()
	if _, err := tty.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, tty) }()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	f := office(t)
	err = Run(ctx, Options{Bottles: f, Desks: f, Logs: f, Screens: f, Terminal: f, Open: OpenPane, Now: time.Now, Getenv: func(string) string { return "" }, Stdin: slave, Stdout: slave, Env: []string{"TERM=xterm-256color"}})
	if err != nil || ctx.Err() != nil {
		t.Errorf("q did not end it: %v, %v", err, ctx.Err())
	}
}
