// Command demo does the main job for real and shows the proof: Claude Code answers from
// a bottle without a network, whose API key the bottle never held. Usage: demo PROGRAM.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demo(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

const question = "In one short sentence: what can you see of the network from where you are?"

func demo(ctx context.Context, program string) (err error) {
	program, err = filepath.Abs(program)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bot-bottle-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := lab.New(ctx, dir, program, standin.Options{Answer: "Hello from inside the bottle: I see a loopback interface, and nothing else."})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close(context.WithoutCancel(ctx))) }()
	real, err := choose(l)
	if err != nil {
		return err
	}
	if err := answer(ctx, l); err != nil {
		return err
	}
	return proof(ctx, l, real)
}

// choose takes the real API when there is a key for it.
func choose(l *lab.Lab) (real bool, err error) {
	key := os.Getenv("ANTHROPIC_API_KEY")
	if key == "" {
		say("no ANTHROPIC_API_KEY here: a stand-in for its API answers, on this machine")
		return false, nil
	}
	say("ANTHROPIC_API_KEY is set: the real API answers")
	l.Key = key
	return true, l.Write("bottles/dev.md", "---\nsecrets:\n  ANTHROPIC_API_KEY: {env: ANTHROPIC_API_KEY}\n---\n")
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "demo: "+format+"\n", args...) }

// answer runs claude -p in a bottle, with its progress on this terminal.
func answer(ctx context.Context, l *lab.Lab) error {
	say("bot-bottle start -y --rm claude -- -p %q", question)
	began := time.Now()
	c := l.Command(ctx, "start", "-y", "--rm", "claude", "--", "-p", question)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("the agent did not answer: %w", err)
	}
	say("answered in %.1f s", time.Since(began).Seconds())
	return nil
}

// proof looks at a second bottle from inside, while its agent waits at its prompt.
func proof(ctx context.Context, l *lab.Lab, real bool) (err error) {
	say("the proof, from inside a second bottle")
	started, err := l.Run(ctx, nil, "start", "-y", "--rm", "--detach", "claude")
	if err != nil || started.Code != 0 {
		return fmt.Errorf("cannot start a second bottle: %w\n%s", err, started.Stderr)
	}
	identity := strings.TrimSpace(started.Stdout)
	defer func() {
		stopped, stopErr := l.Run(context.WithoutCancel(ctx), nil, "stop", identity)
		if stopErr == nil && stopped.Code != 0 {
			stopErr = errors.New(stopped.Stderr)
		}
		err = errors.Join(err, stopErr)
	}()
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	var unlike []string
	row := func(what, seen string, asClaimed bool) {
		if !asClaimed {
			seen += "  ← NOT AS CLAIMED"
			unlike = append(unlike, what)
		}
		_, _ = fmt.Fprintf(t, "  %s\t%s\n", what, seen)
	}
	_, _ = fmt.Fprintln(t)
	key, arrived := received(l, real)
	row("the upstream received as its key", key, arrived)
	for _, look := range looks() {
		r, err := l.Run(ctx, nil, "exec", identity, "--", "bash", "-c", look.script)
		if err != nil {
			return err
		}
		seen := strings.TrimSpace(r.Stdout + r.Stderr)
		claimed := strings.Contains(seen, look.want) && !strings.Contains(seen, l.Key)
		if look.want == anyPlaceholder {
			claimed = strings.HasPrefix(seen, "sk-ant-") && seen != l.Key
			seen = seen[:min(24, len(seen))] + "… (not the real one)"
		}
		row(look.what, seen, claimed)
	}
	if err := t.Flush(); err != nil || len(unlike) > 0 {
		return errors.Join(err, fmt.Errorf("not as claimed: %s", strings.Join(unlike, ", ")))
	}
	return nil
}

// look is one thing to see from inside.
type look struct{ what, script, want string }

// anyPlaceholder stands for a value that is shaped like a key and is not the key.
const anyPlaceholder = "\x00"

func looks() []look {
	return []look{
		{"the bottle's environment holds", `printenv ANTHROPIC_API_KEY`, anyPlaceholder},
		{"its network interfaces", `ls /sys/class/net | tr '\n' ' '`, "lo"},
		{"a direct connection gets", `timeout 5 bash -c ': <>/dev/tcp/192.0.2.1/443' 2>&1 | tail -n 1 | sed 's/.*: //'`, "unreachable"},
		{"a look-up of example.com gets", `getent hosts example.com || echo 'no such name'`, "no such name"},
		{"a host outside the policy gets", `curl -sS -o /dev/null https://example.com 2>&1 | sed 's/.*) //'`, "403"},
		{"and says why", `curl -s http://example.com | head -c 300 | sed 's/.*"reason":"\([^"]*\)".*/\1/'`, "no route allows"},
		{"the host that it is for gets", `curl -s -o /dev/null -w 'HTTP %{http_code}' https://api.anthropic.com/`, "HTTP "},
	}
}

// received says which key arrived.
func received(l *lab.Lab, real bool) (key string, arrived bool) {
	if real {
		return "one that it accepts: it answered above", true
	}
	for _, r := range l.Standin.Requests() {
		if key := r.Header.Get("X-Api-Key"); key == l.Key {
			return key[:24] + "… (the real one)", true
		}
	}
	return "no key of ours", false
}
