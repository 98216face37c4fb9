package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/lab"
)

// idle starts an agent that waits.
func idle(ctx context.Context, l *lab.Lab) (identity string, stop func() error, err error) {
	if _, err := stub(ctx, l, "idle", "exec sleep infinity"); err != nil {
		return "", nil, err
	}
	started, err := l.Run(ctx, nil, "start", "-y", "--detach", "--rm", "idle")
	if err != nil || started.Code != 0 {
		return "", nil, fmt.Errorf("cannot start an idle agent: %w\n%s", err, started.Stderr)
	}
	identity = strings.TrimSpace(started.Stdout)
	return identity, func() error {
		_, err := l.Run(context.WithoutCancel(ctx), nil, "stop", identity)
		return err
	}, nil
}

// measureBundle adds up the proportional set sizes of a bundle's processes after a
// hundred requests (proc(5), smaps_rollup). It needs a local engine.
func measureBundle(ctx context.Context, l *lab.Lab) (_ []figure, err error) {
	identity, stop, err := idle(ctx, l)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stop() }()
	warm := `for i in $(seq 100); do curl -sS -o /dev/null https://api.anthropic.com/api/hello || exit 1; done`
	if r, err := l.Run(ctx, nil, "exec", identity, "--", "sh", "-c", warm); err != nil || r.Code != 0 {
		return nil, fmt.Errorf("requests failed: %w %s", err, r.Stderr)
	}
	top, err := l.Engine.ContainerTop(ctx, "bot-bottle-"+identity+"-sidecar", client.ContainerTopOptions{Arguments: []string{"-eo", "pid,args"}})
	if err != nil {
		return nil, err
	}
	var total float64
	for _, process := range top.Processes {
		kib, err := pss(process[0])
		if err != nil {
			return nil, err
		}
		total += kib / 1024
	}
	return []figure{atMost("bundle.pss_mb", total, "MiB", 40)}, nil
}

var pssLine = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`)

func pss(pid string) (float64, error) {
	data, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	match := pssLine.FindSubmatch(data)
	if match == nil {
		return 0, fmt.Errorf("process %s has no PSS", pid)
	}
	return strconv.ParseFloat(string(match[1]), 64)
}
