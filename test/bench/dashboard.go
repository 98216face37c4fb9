package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/creack/pty"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	ask "github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/test/lab"
)

// What the dashboard has to bear.
const (
	boardBottles = 50
	boardEvents  = 200 // a second, of all of them
	boardPast    = 500 // events of each before
	boardFor     = 15 * time.Second
)

// measureDashboard runs the dashboard in a process of its own, on a terminal, with bottles that
// this process plays: real control APIs on sockets, and logs that go on.
func measureDashboard(ctx context.Context, l *lab.Lab) (_ []figure, err error) {
	dir, err := os.MkdirTemp("", "bot-bottle-board-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	board := filepath.Join(dir, "board")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s", "-o", board, "./test/bench/board")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build the dashboard: %w: %s", err, out)
	}
	ctx, stop := context.WithCancel(ctx)
	var each sync.WaitGroup
	defer each.Wait()
	defer stop()
	for i := range boardBottles {
		if err := play(ctx, &each, dir, fmt.Sprintf("agent-bbbb%c%c", 'a'+i/26, 'a'+i%26)); err != nil {
			return nil, err
		}
	}
	var painted []time.Duration
	for range 9 {
		first, err := firstPaint(ctx, board, dir)
		if err != nil {
			return nil, err
		}
		painted = append(painted, first)
	}
	figures := []figure{atMost("dashboard.first_paint_ms", ms(median(painted)), "ms", 150)}
	more, err := underLoad(ctx, board, dir)
	return append(figures, more...), err
}

// playedAPI is a bottle's control API as far as the dashboard asks it.
type playedAPI struct {
	control.API
	requests control.Requests
}

// Requests implements control.Desk.
func (p playedAPI) Requests(ctx context.Context, after int) control.Requests {
	if after == p.requests.Revision {
		<-ctx.Done()
	}
	return p.requests
}

// play plays a bottle until ctx ends.
func play(ctx context.Context, each *sync.WaitGroup, dir, name string) error {
	ledger := ask.New(name[len("agent-"):])
	api := playedAPI{requests: control.Requests{Revision: 1}}
	for _, host := range []string{"docs.example", "api.example"} {
		r, err := ledger.Ask(time.Now(), policy.Policy{}, ask.Ask{Kind: ask.Egress, Route: &policy.Route{Host: host}, Why: "The manual is there."})
		if err != nil {
			return err
		}
		api.requests.Requests = append(api.requests.Requests, ledger.Show(r, policy.Policy{}))
	}
	apis, err := net.Listen("unix", filepath.Join(dir, name+".control"))
	if err != nil {
		return err
	}
	logs, err := net.Listen("unix", filepath.Join(dir, name+".log"))
	if err != nil {
		return errors.Join(err, apis.Close())
	}
	server := &http.Server{Handler: control.Handler(api), BaseContext: func(net.Listener) context.Context { return ctx }}
	context.AfterFunc(ctx, func() { _ = server.Close(); _ = logs.Close() })
	each.Go(func() { _ = server.Serve(apis) })
	each.Go(func() {
		for {
			conn, err := logs.Accept()
			if err != nil {
				return
			}
			each.Go(func() { writeLog(ctx, conn, name) })
		}
	})
	return nil
}

// writeLog writes a bottle's log: what was, and then some each second.
func writeLog(ctx context.Context, conn net.Conn, name string) {
	defer func() { _ = conn.Close() }()
	chain := audit.Continue(audit.Head{})
	next := time.NewTicker(time.Second * boardBottles / boardEvents)
	defer next.Stop()
	for n := 0; ; n++ {
		e := audit.Event{Time: time.Now(), Bottle: name, Service: "egress", Kind: audit.Request, Decision: audit.Allow, Method: "POST", Host: "api.anthropic.com", Port: 443,
			Path: "/v1/messages", Status: 200, BytesOut: 81234, BytesIn: 4123, Millis: 3123, Usage: audit.Usage{Model: "claude-opus-4-5", TokensIn: 41234, TokensOut: 812, TokensCached: 40000}}
		if n%10 == 9 {
			e.Decision, e.Reason, e.Host, e.Usage = audit.Deny, "no route names this host", "telemetry.example", audit.Usage{}
		}
		line, err := chain.Line(e)
		if err != nil {
			return
		}
		if _, err := conn.Write(line); err != nil {
			return
		}
		if n < boardPast {
			continue
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			return
		}
	}
}

// onTerminal starts the dashboard on a terminal, and tells when it has drawn what is sought.
func onTerminal(ctx context.Context, board, dir, sought string) (c *exec.Cmd, tty *os.File, drawn <-chan time.Duration, err error) {
	c = exec.CommandContext(ctx, board, dir)
	c.Env = append(os.Environ(), "TERM=xterm-256color", "COLORTERM=truecolor")
	begun := time.Now()
	tty, err = pty.StartWithSize(c, &pty.Winsize{Cols: 120, Rows: 40})
	if err != nil {
		return nil, nil, nil, err
	}
	told := make(chan time.Duration, 1)
	go func() {
		defer close(told)
		var seen []byte
		for buffer := make([]byte, 32<<10); ; {
			n, err := tty.Read(buffer)
			if seen != nil || len(told) == 0 && n > 0 {
				if seen = append(seen, buffer[:n]...); bytes.Contains(seen, []byte(sought)) {
					told <- time.Since(begun)
					sought, seen = "\x00", nil
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return c, tty, told, nil
}

// firstPaint is how long it takes until the bottles are on the screen.
func firstPaint(ctx context.Context, board, dir string) (time.Duration, error) {
	c, tty, drawn, err := onTerminal(ctx, board, dir, "agent-bbbb")
	if err != nil {
		return 0, err
	}
	first, ok := <-drawn
	err = quit(c, tty)
	if !ok {
		return 0, fmt.Errorf("the dashboard drew nothing: %w", err)
	}
	return first, err
}

func quit(c *exec.Cmd, tty *os.File) error {
	_, err := tty.WriteString("q")
	return errors.Join(err, c.Wait(), tty.Close())
}

// underLoad measures the dashboard at work, with each of two panes in front.
func underLoad(ctx context.Context, board, dir string) ([]figure, error) {
	c, tty, drawn, err := onTerminal(ctx, board, dir, "agent-bbbb")
	if err != nil {
		return nil, err
	}
	<-drawn
	var figures []figure
	for _, pane := range []struct{ key, name string }{{"1", "agents"}, {"3", "traffic"}} {
		if _, err := tty.WriteString(pane.key); err != nil {
			return nil, err
		}
		time.Sleep(3 * time.Second) // what was before has been read
		before, err := cpu(c.Process.Pid)
		if err != nil {
			return nil, err
		}
		time.Sleep(boardFor)
		after, err := cpu(c.Process.Pid)
		if err != nil {
			return nil, err
		}
		figures = append(figures, atMost("dashboard.cpu_"+pane.name, 100*(after-before).Seconds()/boardFor.Seconds(), "%", 10))
	}
	peak, err := peakMemory(c.Process.Pid)
	return append(figures, atMost("dashboard.peak_rss_mb", peak, "MiB", 60)), errors.Join(err, quit(c, tty))
}

// cpu is the processor time that a process has used (proc(5)).
func cpu(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	user, err := strconv.Atoi(string(fields[11]))
	system, systemErr := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err, systemErr) // 100 ticks a second, on all of Linux
}

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB`)

func peakMemory(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	match := peakLine.FindSubmatch(data)
	if match == nil {
		return 0, fmt.Errorf("process %d has no VmHWM", pid)
	}
	kib, err := strconv.ParseFloat(string(match[1]), 64)
	return kib / 1024, err
}
