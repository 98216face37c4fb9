//go:build linux

package script

import (
	"context"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bot-bottle/bot-bottle/internal/cli"
)

// A script has terminals as well: a command is begun on one, typed into, looked at, and ends.

// onTerminal NAME bot-bottle ARGS… begins a command on a terminal of 80 by 24.
func onTerminal(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 || args[1] != "bot-bottle" {
		ts.Fatalf("usage: terminal NAME bot-bottle ARGS…")
	}
	d, e := deskOf(ts), &ending{output: &output{}, done: make(chan struct{})}
	master, slave, err := pty.Open()
	ts.Check(err)
	ts.Check(pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}))
	s, err := d.system(ts, args[2:], e.output)
	ts.Check(err)
	ts.Check(s.Stdin.Close())
	s.Stdin, s.Stdout, s.Stderr = slave, slave, slave
	e.master = master
	d.add(args[0], e)
	ctx, cancel := context.WithCancel(context.Background())
	shown := make(chan struct{})
	ts.Defer(func() { cancel(); <-e.done; _ = master.Close(); <-shown })
	go func() {
		defer close(shown)
		_, _ = e.output.to(&e.output.stdout).(*into).ReadFrom(master) // ends with an error, with the terminal
	}()
	go func() {
		defer close(e.done)
		e.code = cli.Main(ctx, s)
		_ = slave.Close()
		_, _ = master.WriteString("\n") // a read that was left behind holds the terminal open until then
	}()
}

// ReadFrom keeps what is read as it comes.
func (w *into) ReadFrom(f *os.File) (n int64, err error) {
	buffer := make([]byte, 4096)
	for {
		got, err := f.Read(buffer)
		_, _ = w.Write(buffer[:got])
		if n += int64(got); err != nil {
			return n, err
		}
	}
}

// types NAME TEXT types on a terminal; ^X in the text is a key with control.
func types(ts *testscript.TestScript, _ bool, args []string) {
	text := regexp.MustCompile(`\^[A-Z]`).ReplaceAllStringFunc(args[1], func(key string) string { return string(key[1] - '@') })
	_, err := deskOf(ts).begun[args[0]].master.WriteString(text)
	ts.Check(err)
}

// shows NAME PATTERN waits until a terminal has shown something that matches since it was last asked.
func shows(ts *testscript.TestScript, _ bool, args []string) {
	e, pattern := deskOf(ts).begun[args[0]], regexp.MustCompile(args[1])
	for late := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if text := e.sinceLast(); pattern.MatchString(text) {
			ts.Logf("%s shows %q", args[0], text)
			e.seen += len(text)
			return
		} else if time.Now().After(late) {
			ts.Fatalf("%s shows %q, and nothing like %s", args[0], text, strings.TrimSpace(args[1]))
		}
	}
}

func (e *ending) sinceLast() string {
	e.output.mu.Lock()
	defer e.output.mu.Unlock()
	return e.output.stdout.String()[e.seen:]
}
