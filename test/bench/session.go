package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/creack/pty"

	"github.com/bot-bottle/bot-bottle/test/lab"
)

// keystrokes of each side, in rounds that alternate.
const (
	keystrokes = 40
	keyRounds  = 7
	openings   = 7
	firstWord  = "begun" // of the agent
	flood      = 200 << 20
)

// measureSession compares typing through attach with typing through docker exec -it of the
// same program in the same bottle, to the echo of its terminal, and how fast the two can print;
// ours also while another terminal is attached that reads nothing; and how long a terminal takes
// to show the agent, from the start of our program, with the bottle and without one to make.
func measureSession(ctx context.Context, l *lab.Lab) (_ []figure, err error) {
	identity, image, stop, err := printing(ctx, l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	opened, err := firstScreens(ctx, l, identity, image)
	if err != nil {
		return nil, err
	}
	ours, err := sit(l.Command(ctx, "attach", identity), firstWord)
	if err != nil {
		return nil, err
	}
	defer ours.leave()
	theirs, err := sit(exec.CommandContext(ctx, "docker", "exec", "-it", "bot-bottle-"+identity+"-agent", "claude"), firstWord)
	if err != nil {
		return nil, err
	}
	defer theirs.leave()
	var through, bare, added []time.Duration
	for range keyRounds {
		a, err := ours.typeKeys(keystrokes)
		if err != nil {
			return nil, fmt.Errorf("attach: %w", err)
		}
		b, err := theirs.typeKeys(keystrokes)
		if err != nil {
			return nil, fmt.Errorf("docker exec: %w", err)
		}
		through, bare, added = append(through, a), append(bare, b), append(added, a-b)
	}
	shown, late, err := ours.flooded()
	if err != nil {
		return nil, err
	}
	rival, _, err := theirs.flooded()
	if err != nil {
		return nil, err
	}
	thrown, err := thrownAway(ctx)
	if err != nil {
		return nil, err
	}
	stuck, err := ignored(ctx, l, identity, ours)
	if err != nil {
		return nil, err
	}
	return append([]figure{
		atMost("session.echo_added_ms", ms(median(added)), "ms", 2),
		report("session.echo_ms", ms(median(through)), "ms"),
		report("session.exec_echo_ms", ms(median(bare)), "ms"),
		atLeast("session.output_mb_s", shown, "MB/s", 50),
		atLeast("session.output_stuck_mb_s", stuck, "MB/s", 50),
		report("session.exec_output_mb_s", rival, "MB/s"),
		report("session.pty_output_mb_s", thrown, "MB/s"),
		atLeast("session.output_of_exec", shown/rival, "×", 1),
		report("session.caught_up_ms", ms(late), "ms"),
	}, opened...), nil
}

// firstScreens measures from the start of a program on a terminal until that shows the agent's
// first word: start, docker run of the same image, and attach to one that runs.
func firstScreens(ctx context.Context, l *lab.Lab, identity, image string) ([]figure, error) {
	var cold, bare, warm []time.Duration
	for range openings {
		for _, side := range []struct {
			command *exec.Cmd
			took    *[]time.Duration
			leave   string
		}{
			{l.Command(ctx, "start", "-y", "--rm", "printer"), &cold, "\x04"},
			{exec.CommandContext(ctx, "docker", "run", "--rm", "-it", "--network", "none", "--entrypoint", "/usr/local/bin/claude", image), &bare, "\x04"},
			{l.Command(ctx, "attach", identity), &warm, "\x10\x11"},
		} {
			took, err := opening(side.command, side.leave)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", side.command.Args, err)
			}
			*side.took = append(*side.took, took)
		}
	}
	return []figure{
		report("session.start_to_screen_ms", ms(median(cold)), "ms"),
		report("session.run_to_screen_ms", ms(median(bare)), "ms"),
		report("session.attach_to_screen_ms", ms(median(warm)), "ms"),
	}, nil
}

// opening runs a program until it shows the agent, and then has it end.
func opening(c *exec.Cmd, leave string) (time.Duration, error) {
	began := time.Now()
	s, err := sit(c, firstWord)
	if err != nil {
		return 0, err
	}
	took := time.Since(began)
	defer func() { _ = s.tty.Close() }()
	if _, err := s.tty.Write([]byte(leave)); err != nil {
		return 0, err
	}
	for err == nil { // a terminal's end is an error
		_, err = s.tty.Read(s.buffer)
	}
	return took, c.Wait()
}

// printing starts an agent that reads lines, and at the line "go" prints a great deal, and
// then how many bytes it printed in how many nanoseconds. It returns the bottle, its image, and
// what ends it.
func printing(ctx context.Context, l *lab.Lab) (identity, image string, stop func() error, err error) {
	script := fmt.Sprintf(`echo begun; while read -r line; do test "$line" = go || continue; a=$(date +%%%%s%%%%N); yes "a line of output that is as long as many are in a log" | head -c %d; b=$(date +%%%%s%%%%N); echo; echo "took $((b - a)) done"; done`, flood)
	if image, err = stub(ctx, l, "printer", script); err != nil {
		return "", "", nil, err
	}
	started, err := l.Run(ctx, nil, "start", "-y", "--detach", "--rm", "printer")
	if err != nil || started.Code != 0 {
		return "", "", nil, fmt.Errorf("cannot start an agent that prints: %w\n%s", err, started.Stderr)
	}
	identity = strings.TrimSpace(started.Stdout)
	return identity, image, func() error {
		_, err := l.Run(context.WithoutCancel(ctx), nil, "stop", identity)
		return err
	}, nil
}

// seat is a program on a pseudo-terminal.
type seat struct {
	command *exec.Cmd
	tty     *os.File
	buffer  []byte
}

// sit starts a program and waits until its terminal shows a word of the agent's: our end does
// not echo any more then.
func sit(c *exec.Cmd, word string) (*seat, error) {
	c.Env = append(c.Environ(), "TERM=xterm-256color")
	tty, err := pty.StartWithSize(c, &pty.Winsize{Cols: 120, Rows: 40})
	if err != nil {
		return nil, err
	}
	s := &seat{command: c, tty: tty, buffer: make([]byte, 64<<10)}
	_, err = s.until([]byte(word))
	return s, err
}

func (s *seat) leave() {
	_ = s.tty.Close()
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
}

// until reads until what was read ends with, or has, a text.
func (s *seat) until(text []byte) ([]byte, error) {
	const kept = 4 << 10 // of what came before
	var tail []byte
	for {
		n, err := s.tty.Read(s.buffer)
		tail = append(tail, s.buffer[:n]...)
		if bytes.Contains(tail, text) {
			return tail, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the terminal ended: %w: %.200q", err, tail)
		}
		tail = append(tail[:0], tail[max(0, len(tail)-kept):]...)
	}
}

// typeKeys types keys one after the other, each when the one before has been echoed, and returns
// the median time.
func (s *seat) typeKeys(count int) (time.Duration, error) {
	var took []time.Duration
	for i := range count {
		key := []byte{byte('a' + i%26)}
		began := time.Now()
		if _, err := s.tty.Write(key); err != nil {
			return 0, err
		}
		if _, err := s.until(key); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	_, err := s.tty.Write([]byte("\r"))
	if err == nil {
		_, err = s.until([]byte("\n"))
	}
	return median(took), err
}

// flooded has the agent print, reads all of it, and returns how fast the agent could, and how
// long after its end the terminal showed that.
func (s *seat) flooded() (rate float64, late time.Duration, err error) {
	if _, err := s.tty.Write([]byte("go\r")); err != nil {
		return 0, 0, err
	}
	seen, err := s.until([]byte(" done"))
	if err != nil {
		return 0, 0, err
	}
	at := time.Now()
	took, err := tookOf(string(seen))
	if err != nil {
		return 0, 0, err
	}
	// A key that is echoed now has waited for all that was in between.
	if _, err := s.typeKeys(1); err != nil {
		return 0, 0, err
	}
	return float64(flood) / 1e6 / took.Seconds(), time.Since(at), nil
}

// thrownAway is how fast the same is printed on a terminal outside of any bottle, whose
// reader throws all of it away: what there is to be had.
func thrownAway(ctx context.Context) (float64, error) {
	c := exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf(`yes "a line of output that is as long as many are in a log" | head -c %d`, flood))
	began := time.Now()
	tty, err := pty.Start(c)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tty.Close() }()
	buffer := make([]byte, 64<<10)
	for err == nil { // a terminal's end is an error
		_, err = tty.Read(buffer)
	}
	return float64(flood) / 1e6 / time.Since(began).Seconds(), c.Wait()
}

func tookOf(seen string) (time.Duration, error) {
	_, rest, found := strings.Cut(seen[max(0, strings.LastIndex(seen, "took ")):], "took ")
	nanos, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(nanos, 10, 64)
	if !found || err != nil {
		return 0, fmt.Errorf("the agent does not say how long it took: %.200q", seen)
	}
	return time.Duration(n), nil
}

// ignored has the agent print while another terminal is attached that nobody reads.
func ignored(ctx context.Context, l *lab.Lab, identity string, reader *seat) (float64, error) {
	stuck, err := sit(l.Command(ctx, "attach", "--history", "0", identity), "took")
	if err != nil {
		return 0, err
	}
	defer stuck.leave()
	rate, _, err := reader.flooded()
	return rate, err
}
