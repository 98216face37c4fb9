package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	ask "github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/test/lab"
)

// measureSupervise measures a request's two ways: from the agent's call of a tool until
// the operator's requests -f has printed it, and from the start of the operator's approve
// until what was refused passes. Both ends of each read the same clock.
func measureSupervise(ctx context.Context, l *lab.Lab) (_ []figure, err error) {
	identity, stop, err := supervised(ctx, l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	list, err := measureListing(ctx, l)
	if err != nil {
		return nil, err
	}
	follower := l.Command(ctx, "requests", "-f", "--json")
	out, err := follower.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := follower.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = follower.Cancel(); _ = follower.Wait() }()
	told := make(chan time.Time, 1)
	ids := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var s ask.Shown
			if json.Unmarshal(lines.Bytes(), &s) == nil && s.State == ask.Pending {
				told <- time.Now()
				ids <- s.ID
			}
		}
	}()
	time.Sleep(3 * time.Second) // until the follower has found the bottle
	var visible, passes, whole []time.Duration
	for i := range 10 {
		asked, err := askFrom(ctx, l, identity, i)
		if err != nil {
			return nil, err
		}
		visible = append(visible, (<-told).Sub(asked))
		passed, took, err := approveFor(ctx, l, identity, <-ids, i)
		if err != nil {
			return nil, err
		}
		passes, whole = append(passes, passed), append(whole, took)
	}
	return append([]figure{
		atMost("supervise.visible_ms", ms(median(visible)), "ms", 100),
		atMost("supervise.approve_to_pass_ms", ms(median(passes)), "ms", 200),
		report("supervise.approve_ms", ms(median(whole)), "ms"),
	}, list...), nil
}

// supervised starts an idle agent that may ask.
func supervised(ctx context.Context, l *lab.Lab) (string, func() error, error) {
	if _, err := stub(ctx, l, "idle", "exec sleep infinity"); err != nil {
		return "", nil, err
	}
	if err := errors.Join(l.Write("bottles/asking.md", "---\nextends: idle\nsupervise: true\n---\n"), l.Write("agents/asker.md", "---\nbottle: asking\n---\n")); err != nil {
		return "", nil, err
	}
	started, err := l.Run(ctx, nil, "start", "-y", "--detach", "--rm", "asker")
	if err != nil || started.Code != 0 {
		return "", nil, fmt.Errorf("cannot start an agent that asks: %w\n%s", err, started.Stderr)
	}
	identity := strings.TrimSpace(started.Stdout)
	return identity, func() error {
		_, err := l.Run(context.WithoutCancel(ctx), nil, "stop", identity)
		return err
	}, nil
}

// askFrom asks for a host from inside, and returns when the call went out.
func askFrom(ctx context.Context, l *lab.Lab, identity string, i int) (time.Time, error) {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"request_egress","arguments":{"host":"h%d.example","methods":["GET"],"why":"x"}}}`, i)
	r, err := l.Run(ctx, nil, "exec", identity, "--", "sh", "-c", "date +%s%N; curl -sS -o /dev/null -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '"+body+"' http://127.0.0.1:7717/mcp")
	if err != nil || r.Code != 0 {
		return time.Time{}, fmt.Errorf("cannot ask: %w %s", err, r.Stderr)
	}
	return stamp(r.Stdout)
}

func stamp(s string) (time.Time, error) {
	nanos, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return time.Unix(0, nanos), err
}

// approveFor approves while the agent tries again and again, and returns after how long it
// got through, and how long the command took.
func approveFor(ctx context.Context, l *lab.Lab, identity, id string, i int) (passed, took time.Duration, err error) {
	waiting := l.Command(ctx, "exec", identity, "--", "sh", "-c", fmt.Sprintf("echo ready; until getent hosts h%d.example >/dev/null; do :; done; date +%%s%%N", i))
	waiting.Stderr = os.Stderr
	out, err := waiting.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := waiting.Start(); err != nil {
		return 0, 0, err
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	begun := time.Now()
	r, err := l.Run(ctx, nil, "approve", id, "-y")
	took = time.Since(begun)
	if err != nil || r.Code != 0 {
		return 0, 0, errors.Join(fmt.Errorf("cannot approve: %w %s", err, r.Stderr), waiting.Cancel(), waiting.Wait())
	}
	lines.Scan()
	at, err := stamp(lines.Text())
	return at.Sub(begun), took, errors.Join(err, waiting.Wait())
}
