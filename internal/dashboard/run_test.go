package dashboard

import (
	"context"
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
	ctx, cancel := context.WithCancel(t.Context())
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
	if err := <-ended; err != nil || !drawn {
		t.Errorf("it ended with %v after %q", err, all.String())
	}
	return strings.TrimSuffix(all.String(), over)
}

// over is printed when Run has returned.
const over = "\r\nover"

// It draws, and ends when q is pressed or its context ends; the terminal is left. Without
// colours there are none.
func TestRun(t *testing.T) {
	quit := func(tty *os.File, _ func()) { _, _ = tty.WriteString("q") }
	asked := func(_ *os.File, cancel func()) { cancel() }
	colours := regexp.MustCompile(`\x1b\[(?:[0-9;]*;)?(?:[349][0-7]|[34]8[;:])[0-9;:]*m`)
	for name, c := range map[string]struct {
		env      []string
		end      func(*os.File, func())
		coloured bool
	}{"quit": {nil, quit, true}, "asked to end": {nil, asked, true}, "NO_COLOR": {[]string{"NO_COLOR=1"}, quit, false}} {
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
